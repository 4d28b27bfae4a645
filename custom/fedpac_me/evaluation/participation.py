# SPDX-License-Identifier: Apache-2.0
"""Which rounds each site took part in, from the server's ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from fedpac_me.evaluation.summary import site_order
from fedpac_me.federation.ledger import SERVER

ABSENT = "–"  # noqa: RUF001  an en dash is what a table shows for no round


def participation(rounds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """Of every site that the ledger names, the numbers of the rounds, each in one of three lists.

    Returns:
        ``took_part``: its update was accepted, or it abstained as a site that never trains does; ``refused``: it
        answered, but with nothing that could be used; ``silent``: the round closed without an answer of its.
    """
    good = {entry["round"]: {*_sites(entry["accepted"]), *entry["abstained"]} for entry in rounds}
    refused = {entry["round"]: _sites(entry["rejected"]) - good[entry["round"]] for entry in rounds}
    known = set().union(*good.values(), *refused.values())
    return {
        site: {
            "took_part": [number for number in good if site in good[number]],
            "refused": [number for number in good if site in refused[number]],
            "silent": [number for number in good if site not in good[number] | refused[number]],
        }
        for site in sorted((site for site in known if site != SERVER), key=site_order)
    }


def as_ranges(numbers: Iterable[int]) -> str:
    """Ascending round numbers in words: ``0-4, 7``."""
    found = list(numbers)
    starts = found[:1] + [after for before, after in pairwise(found) if after != before + 1]
    ends = [before for before, after in pairwise(found) if after != before + 1] + found[-1:]
    spans = [str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]
    return ", ".join(spans) or ABSENT


def _sites(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    return {line["site"] for line in lines}
