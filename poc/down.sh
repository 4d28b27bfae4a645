#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# down.sh: stop everything that up.sh started.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" down "$@"
