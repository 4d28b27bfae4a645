#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# allow.sh KIT: let jobs without code of their own use the installed package in a kit, or in a simulator's workspace.
set -euo pipefail
. "$(dirname "$0")/python.sh"
exec "$python" "$project/poc/federation.py" allow "$@"
