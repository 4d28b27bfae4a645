# SPDX-License-Identifier: Apache-2.0
"""Compare methods on the same federations, in one process each and without FLARE: ``fedpac-me compare``.

python jobs/compare.py --methods fedavg fedbn fedpac_me
"""

from __future__ import annotations

import sys

from fedpac_me.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
