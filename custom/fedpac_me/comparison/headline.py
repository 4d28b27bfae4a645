# SPDX-License-Identifier: Apache-2.0
"""The few figures of a comparison that people quote, as Markdown, and their place in a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedpac_me.comparison.figures import SEEN, UNSEEN
from fedpac_me.comparison.spread import spread_words
from fedpac_me.comparison.tables import SCHEMA
from fedpac_me.errors import InputError
from fedpac_me.evaluation.participation import ABSENT
from fedpac_me.storage import read_json, write_text

BEGIN = "<!-- headline: begin, written by `fedpac-me headline`, not by hand -->"
END = "<!-- headline: end -->"
_COLUMNS = {
    "validation": "validation cases",
    SEEN: "hospitals that trained",
    "worst": "the worst of them",
    UNSEEN: "a hospital that never trained",
}


def read_comparison(path: Path) -> dict[str, Any]:
    """A ``comparison.json``. Raises ``InputError`` unless it is one of this version."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}. `fedpac-me compare` writes one.") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "methods" not in content:
        raise InputError(f"{path} is no comparison.json of this version. Write it again with `fedpac-me compare`.")
    return content


def headline(comparison: Mapping[str, Any]) -> str:
    """Mean Dice of every method as a Markdown table, with lines below it that say of what, and what is significant.

    Each kind of federation has its rows: a mean over kinds is no federation's figure.
    """
    kinds = comparison["kinds"]
    head = ["kind of hospitals", "", *_COLUMNS.values()]
    rows = [[kind, *cells] for kind, found in kinds.items() for cells in _rows(comparison, found["methods"])]
    table = [head, ["---"] * len(head), *rows, ["", *_of_nothing(comparison["nothing"])]]
    tested = [f"- {kind}: {' '.join(found['sentences'])}" for kind, found in kinds.items()]
    return "\n".join([*map(_row, table), "", _of_what(comparison), "", *tested])


def _of_nothing(nothing: Mapping[str, Any]) -> list[str]:
    null = {SEEN: _of(nothing[SEEN]), "worst": nothing["worst"], UNSEEN: _of(nothing[UNSEEN])}
    return ["predicting no tumour at all", *(_plain(null.get(column)) for column in _COLUMNS)]


def _rows(comparison: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Cells of each method, the reference's in bold."""
    rows = []
    for name, method in comparison["methods"].items():
        cells = [_label(name, method)]
        cells += [spread_words(scores[name]["dice"][column], ABSENT) for column in _COLUMNS]
        rows.append([f"**{cell}**" for cell in cells] if name == comparison["reference"] else cells)
    return rows


def put_between_markers(text: str, block: str) -> str:
    """``text`` with ``block`` between ``BEGIN`` and ``END``, which must each stand there once, in this order.

    Raises:
        InputError: they do not.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"Expected one line {BEGIN} and below it one line {END}; put them where the table shall be.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


def between_markers(text: str) -> str | None:
    """What stands between the markers, or ``None`` where there are none."""
    return text.split(f"{BEGIN}\n")[1].split(f"\n{END}")[0] if BEGIN in text and END in text else None


def write_headline(comparison: Path, page: Path) -> None:
    """Put the headline of a ``comparison.json`` into ``page``. Raises ``InputError``; see above."""
    block = headline(read_comparison(comparison))
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{page} cannot be read: {error}. Name a Markdown page with the two markers.") from None
    write_text(page, put_between_markers(text, block))


def _of_what(comparison: Mapping[str, Any]) -> str:
    alike: dict[str, list[str]] = {}
    for name, one in comparison["data"].items():
        alike.setdefault(_data_words(one), []).append(name)
    data = "; ".join(
        f"{', '.join(names)} ({'each ' if len(names) > 1 else ''}{words})" for words, names in alike.items()
    )
    seeds = ", ".join(map(str, comparison["seeds"]))
    return (
        "Mean Dice over TC, WT and ET, BraTS 2020's convention, ± standard deviation over runs; on test cases, but for "
        f"the first column, by which settings may be chosen. Data: {data}; training seeds {seeds}."
    )


def _data_words(data: Mapping[str, Any]) -> str:
    cases = sum(site[part] for site in data["sites"].values() for part in ("train", "validation", "test"))
    what = "synthetic, " if "phantom" in data else ""
    return f"{what}{len(data['sites'])} sites, {cases} cases"


def _label(name: str, method: Mapping[str, Any]) -> str:
    """A title says after its colon what the method is; a bar would end the table's cell."""
    label = method["title"].split(":")[0].replace("|", "/") or name
    incomplete = f" ({len(method['failed'])} runs failed)" if method["failed"] else ""
    return f"{label} (`{name}`){incomplete}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _of(null: Mapping[str, Any] | None) -> float | None:
    return null["dice"]["mean"] if null else None
