#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# configure.sh KIT [--data DIR] [--role evaluate] [--device cpu] [--no-code]: write into a kit what it needs.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" configure "$@"
