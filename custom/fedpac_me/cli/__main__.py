# SPDX-License-Identifier: Apache-2.0
"""``python -m fedpac_me.cli``: the command ``fedpac-me`` where it is not installed as one."""

import sys

from fedpac_me.cli import main

sys.exit(main())
