#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# watch.sh [ID] [--run DIR]: follow a job, fetch it, write its report.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" watch "$@"
