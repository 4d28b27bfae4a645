#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# provision.sh [N] [--data DIR] [--port P] [--work DIR] [--he]: make the kits of poc/project.yml.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" provision "$@"
