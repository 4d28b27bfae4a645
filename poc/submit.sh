#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# submit.sh JOB: hand in a job folder.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" submit "$@"
