# SPDX-License-Identifier: Apache-2.0
"""The table of faults: what goes wrong, what must happen then, and the tests that show it."""

from __future__ import annotations

from faults.row import Row
from faults.rows_of_sites import ROWS_OF_SITES
from faults.rows_of_updates import ROWS_OF_UPDATES

ROWS: tuple[Row, ...] = (*ROWS_OF_UPDATES, *ROWS_OF_SITES)
