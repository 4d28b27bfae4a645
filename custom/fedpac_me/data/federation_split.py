# SPDX-License-Identifier: Apache-2.0
"""Which case trains, validates or tests at which site of a simulated federation, and the file that says so.

A case's part follows from its id and the seed, and from nothing else. No rule by which a case keeps its part whatever
cases come or go can look at the other cases, so none can count out exact shares. This one comes close where ids are
numbered: each case has a place on a circle, and from one number of a series (``BraTS20_Training_``) to the next it
moves on by the golden ratio, which spreads any run of numbers evenly; the seed turns the circle. BraTS2020 numbers its
cases by grade and source, so that a site's cases of one grade are such a run: eight of them always have all three
parts, and no part is more than three cases off its share. Elsewhere the shares hold as they would by chance.

It also follows that a case tests under every way to make up sites, so that the results of all of them can be compared,
and that the scans of one patient have one part.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from fedpac_me.data.layouts import LayoutKey, find_cases, layout_named
from fedpac_me.data.partition import Sites, patient_of
from fedpac_me.data.pooling import POOLED_SITE
from fedpac_me.data.splits import SPLITS_FILE, TEST_SHARE, VALIDATION_SHARE, require_plain_ids
from fedpac_me.errors import InputError, why_invalid
from fedpac_me.storage import read_json, write_json

PARTS = ("train", "validation", "test")
_CIRCLE = 2**64
_STEP = 0x9E3779B97F4A7C15  # the circle over the golden ratio
_SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TAKEN = ("server", POOLED_SITE)
_SHOWN = 5


class SiteCases(BaseModel):
    """One site's role and the ids of its cases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["train", "evaluate"] = "train"
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The three lists by name."""
        return {part: getattr(self, part) for part in PARTS}

    def ids(self) -> list[str]:
        """All cases."""
        return [id_ for ids in self.parts().values() for id_ in ids]


class FederationSplit(BaseModel):
    """What ``splits.json`` holds: ids only. It names patients' cases and stays where they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    data: Path
    """Folder of all cases, absolute or relative to the file."""
    layout: LayoutKey | None = None
    """How the files are named, where the user said so."""
    sites: dict[str, SiteCases]
    how: dict[str, Any] = {}
    """What the split was asked for with."""


def part_of(case_id: str, seed: int) -> str:
    """``train``, ``validation`` or ``test``."""
    patient = patient_of(case_id)
    match = re.search(r"[0-9]+$", patient)
    series, number = (patient[: match.start()], int(match[0])) if match else (patient, 0)
    start = int.from_bytes(hashlib.sha256(f"{seed}/{series}".encode()).digest()[:8], "big")
    place = (start + number * _STEP) % _CIRCLE / _CIRCLE
    if place < TEST_SHARE:
        return "test"
    return "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def split_sites(sites: Sites, seed: int, left_out: Collection[str] = ()) -> dict[str, SiteCases]:
    """Split the cases within each site; a site ``left_out`` never trains, and all its cases test.

    Raises:
        InputError: a site left out does not exist, no site is left to train, or one has no case to train with.
    """
    unknown = sorted(set(left_out) - sites.keys())
    if unknown:
        raise InputError(f"There is no site {unknown[0]} to leave out. The sites are {', '.join(sites)}.")
    split = {name: _left_out(ids) if name in left_out else _parted(ids, seed) for name, ids in sites.items()}
    if all(cases.role == "evaluate" for cases in split.values()):
        raise InputError("Every site is left out and none would train. Leave out fewer.")
    without = [name for name, cases in split.items() if cases.role == "train" and not cases.train]
    if without:
        raise InputError(
            f"No case of {', '.join(without[:_SHOWN])} would train: there are too few. Put small sites into one with "
            "--min-cases 8, leave one out of training with --leave-out, or try another --seed."
        )
    return split


def write_split(path: Path, split: FederationSplit) -> None:
    """Write ``splits.json`` atomically. A relative data folder is written as seen from the file.

    Raises:
        InputError: a site's name would not do as a FLARE client and a folder, or the file cannot be written.
    """
    _require_names(split.sites, path)
    data = split.data if split.data.is_absolute() else Path(os.path.relpath(split.data, path.parent))
    try:
        write_json(path, split.model_copy(update={"data": data}).model_dump(mode="json"))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}. Name a file that you may write.") from None


def read_split(path: Path, data: Path | None = None) -> FederationSplit:
    """Read and check ``splits.json``; ``data`` stands for the folder that it names.

    Raises:
        InputError: not such a file, a site's name or an id that is none, a case that does not exist or is listed twice,
            a site without cases or a training one without cases that train.
    """
    try:
        split = FederationSplit.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a valid split of a federation: {why_invalid(error)}.") from None
    _require_names(split.sites, path)
    named = [id_ for cases in split.sites.values() for id_ in cases.ids()]
    require_plain_ids(path, named)
    _require_once(path, split.sites)
    for name, cases in split.sites.items():
        if not (cases.train if cases.role == "train" else cases.ids()):
            raise InputError(f"{path} gives the site {name} no cases to {cases.role} with. Add some or drop the site.")
    folder = data if data is not None else path.parent / split.data
    missing = sorted(set(named) - {case.id for case in find_cases([folder], layout_named(split.layout))})
    if missing:
        raise InputError(
            f"{path} names cases that are not in {folder}: {_first(missing)}. Name the folder that the split was made "
            "from with --data, or make the split again with `fedpac-me split`."
        )
    return split.model_copy(update={"data": folder})


def split_facts(path: Path) -> dict[str, Any]:
    """What may be told of a split: how it was made, the cases of each site and part by number, a hash of the file."""
    content = path.read_bytes()
    split = FederationSplit.model_validate_json(content)
    sites = {
        name: {"role": cases.role, **{part: len(ids) for part, ids in cases.parts().items()}}
        for name, cases in split.sites.items()
    }
    return {"how": split.how, "sites": sites, "sha256": hashlib.sha256(content).hexdigest()}


@contextmanager
def site_root(data: Path | None, splits: Path | None) -> Iterator[Path]:
    """A data root with one folder a site: ``data`` itself, or a temporary one made from the split of its cases.

    Nothing is copied: the temporary folders hold only settings that point at the data, and lists of ids. A split
    without ``data`` says itself where they are.

    Raises:
        InputError: see ``read_split``.
    """
    if splits is None:
        if data is None:
            raise InputError("Nothing says where the cases are. Name a data folder or a split.")
        yield data
        return
    split = read_split(splits, data)
    with tempfile.TemporaryDirectory(prefix="fedpac_me_split_") as folder:
        for name, cases in split.sites.items():
            settings = {"data": str(split.data.resolve()), "role": cases.role, "splits": SPLITS_FILE}
            if split.layout is not None:
                settings["layout"] = split.layout
            write_json(Path(folder) / name / "site.json", settings)
            write_json(Path(folder) / name / SPLITS_FILE, cases.parts())
        yield Path(folder)


def _left_out(ids: list[str]) -> SiteCases:
    return SiteCases(role="evaluate", test=tuple(sorted(ids)))


def _parted(ids: list[str], seed: int) -> SiteCases:
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for id_ in sorted(ids):
        parts[part_of(id_, seed)].append(id_)
    return SiteCases(**parts)


def _require_names(sites: Mapping[str, SiteCases], path: Path) -> None:
    """A name becomes a folder and a FLARE client, so it must not lead elsewhere or take another's place."""
    odd = [name for name in sites if not _SITE_NAME.fullmatch(name) or name.lower() in _TAKEN]
    if odd or not sites:
        raise InputError(
            f"{path} cannot hold the site {odd[0]!r}: expected a name of letters, digits, '-' and '_' that begins with "
            f"none of the last two and is not {' or '.join(_TAKEN)}."
            if odd
            else f"{path} has no sites. Make it with `fedpac-me split`."
        )


def _require_once(path: Path, sites: Mapping[str, SiteCases]) -> None:
    places: dict[str, str] = {}
    twice: dict[str, str] = {}
    for name, cases in sites.items():
        for part, ids in cases.parts().items():
            for id_ in ids:
                place = f"{part} of {name}"
                if id_ in places:
                    twice[id_] = f"{id_} ({places[id_]} and {place})"
                places[id_] = place
    if twice:
        raise InputError(
            f"{path} lists cases more than once: {_first(list(twice.values()))}. "
            "A case belongs to one part of one site."
        )


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
