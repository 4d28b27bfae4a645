#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# report.sh DIR: write the report of a folder that `nvflare job download` wrote.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" report "$@"
