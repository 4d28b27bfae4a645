# SPDX-License-Identifier: Apache-2.0
"""What a federation costs beside the training: the parts of ``tests/benchmarks/federation.py``."""

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[2]
# What the tests share; pytest has these on its path already, a script has not.
sys.path += [str(folder) for folder in (_TESTS, _TESTS / "flare") if str(folder) not in sys.path]
