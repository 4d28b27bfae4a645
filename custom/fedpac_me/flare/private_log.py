# SPDX-License-Identifier: Apache-2.0
"""A site's private log: what may name patients and files, and so is never streamed or sent."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path

PRIVATE_LOG = "private.log"
"""Its name, in the site's folder of a job."""


def append_private_log(path: Path, text: str, error: Exception | None = None) -> None:
    """Append one dated entry; with ``error``, its traceback too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    details = "".join(traceback.format_exception(error)) if error is not None else ""
    with open(path, "a", encoding="utf-8") as log:
        log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n{details}")
