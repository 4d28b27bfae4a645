# SPDX-License-Identifier: Apache-2.0
"""Which of a site's cases train, which validate, which test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedpac_me.data.layouts import Case, Layout, find_cases, layout_named
from fedpac_me.data.site import SiteSettings
from fedpac_me.errors import InputError

SPLITS_FILE = "splits.json"
VALIDATION_SHARE, TEST_SHARE = 0.15, 0.25
"""Of the cases that no list assigns; the rest trains."""


@dataclass
class Split:
    """Nothing is tuned or selected on ``test``."""

    train: list[Case] = field(default_factory=list)
    validation: list[Case] = field(default_factory=list)
    test: list[Case] = field(default_factory=list)

    def parts(self) -> dict[str, list[Case]]:
        """The three lists by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def site_cases(settings: SiteSettings) -> Split:
    """All cases of the site with ``settings``. Raises ``InputError`` as ``split_cases`` does."""
    return split_cases(settings.data, settings.splits, layout_named(settings.layout))


def split_cases(folders: Sequence[Path], listed: Path | None = None, layout: Layout | None = None) -> Split:
    """All cases below ``folders``, each folder split by its ``splits.json`` or else by a hash of the id.

    The hash keeps a case in its part when others are added. Where ``listed`` names a split file it stands for all the
    folders, and cases that it does not list are not the site's. With ``layout`` files of others are not looked at.

    Raises:
        InputError: no cases, or a split file that names unknown cases or one case twice.
    """
    whole = Split()
    found = find_cases(folders, layout)  # one id in two folders is refused before anything is split
    if listed is not None:
        return _listed_split(listed, found)
    for folder in folders:
        cases = find_cases([folder], layout)
        path = folder / SPLITS_FILE
        part = _listed_split(path, cases) if path.is_file() else _hashed_split(cases)
        for name, members in part.parts().items():
            getattr(whole, name).extend(members)
    return whole


def require_plain_ids(source: Path, ids: Iterable[object]) -> None:
    """Raise ``InputError`` when one of the ids listed in ``source`` is no plain name: a split points into no folder."""
    odd = [id_ for id_ in ids if not isinstance(id_, str) or id_ in ("", ".", "..") or set(id_) & set("/\\\0")]
    if odd:
        raise InputError(
            f"{source} names {', '.join(repr(id_) for id_ in odd[:5])} as cases. Expected plain ids, which are the "
            "names of the cases' folders, and no paths."
        )


def _listed_split(path: Path, cases: list[Case]) -> Split:
    by_id = {case.id: case for case in cases}
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: list(listed.get(name, [])) for name in Split().parts()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a valid split file: {error}.") from None
    if "sites" in listed:
        raise InputError(
            f"{path} splits the cases of several sites; a site needs its own, with the ids of its cases under 'train', "
            "'validation' and 'test'. To simulate the sites of that file, name it in --splits of jobs/train.py."
        )
    named = [id_ for ids in parts.values() for id_ in ids]
    require_plain_ids(path, named)
    unknown = sorted(set(named) - by_id.keys())
    if unknown:
        raise InputError(f"{path} names cases that are not in its folder: {', '.join(unknown[:5])}.")
    twice = sorted({id_ for id_ in named if named.count(id_) > 1})
    if twice:
        raise InputError(f"{path} names cases more than once: {', '.join(twice[:5])}. A case belongs to one part.")
    return Split(**{name: [by_id[id_] for id_ in ids] for name, ids in parts.items()})


def _hashed_split(cases: list[Case]) -> Split:
    split = Split()
    for case in cases:
        position = int.from_bytes(hashlib.sha256(case.id.encode()).digest()[:8], "big") / 2**64
        if position < TEST_SHARE:
            split.test.append(case)
        elif position < TEST_SHARE + VALIDATION_SHARE:
            split.validation.append(case)
        else:
            split.train.append(case)
    return split
