#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# up.sh [N] [--data DIR] [--port P]: prepare and start a server and N hospitals on this machine.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" up "$@"
