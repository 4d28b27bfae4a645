# SPDX-License-Identifier: Apache-2.0
"""What a waiting person wants to know of a job's log at the server."""

from __future__ import annotations

import re

_LINE = re.compile(r"^\S+ \S+ - (?P<name>\S+) - (?P<level>[A-Z]+) - (?:\[.*?\] - )?(?P<text>.*)$")
_ACCEPTED = re.compile(r"Contribution from (\S+) ACCEPTED")
_PROGRESS = "progress"


def told_by(log: str) -> list[str]:
    """One line a round with the sites whose update was accepted, and one for every refusal, in order."""
    told: list[str] = []
    accepted: set[str] = set()
    for line in filter(None, map(_LINE.match, log.splitlines())):
        found = _ACCEPTED.match(line["text"])
        if found:
            accepted.add(found[1])
        elif line["name"].rpartition(".")[2] == _PROGRESS:
            told.append("  ".join([line["text"], *([f"from {' '.join(sorted(accepted))}"] if accepted else [])]))
            accepted.clear()
        elif line["level"] == "WARNING" and " refused: " in line["text"]:
            told.append(line["text"])
    return told


def last_error(log: str) -> str | None:
    """The last line that was logged as an error."""
    errors = [line["text"] for line in map(_LINE.match, log.splitlines()) if line and line["level"] == "ERROR"]
    return errors[-1] if errors else None
