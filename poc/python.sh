# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside it: the Python that has this project, and where the project is.

project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$project/.venv/bin/python"
[ -x "$python" ] || python=python3
