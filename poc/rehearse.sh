#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# rehearse.sh [--work DIR]: check all kits and start them on this machine; down.sh --work DIR stops them.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" rehearse "$@"
