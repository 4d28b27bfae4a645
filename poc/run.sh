#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh CONFIG [N] [--data DIR] [--port P]: export, up, submit, watch and down in turn; nothing is left running.
set -euo pipefail
. "$(dirname "$0")/python.sh"
config="$1"
shift
work=build/poc
trap '"$python" "$project/poc/federation.py" down' EXIT
"$python" "$project/jobs/train.py" --config "$config" --name poc --export --export-dir "$work/jobs"
"$project/poc/up.sh" "$@"
"$project/poc/submit.sh" "$work/jobs/poc"
"$project/poc/watch.sh" --run runs/poc
