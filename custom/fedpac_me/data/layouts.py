# SPDX-License-Identifier: Apache-2.0
"""Finding cases on disk: BraTS2020's layout, ``<folder>/<id>/<id>_{t1,t1ce,t2,flair,seg}.nii[.gz]``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES

ACQUISITION_FILE = "acquisition.json"
_ENDINGS = (".nii.gz", ".nii")
_LONGEST_FACT = 32


@dataclass(frozen=True)
class Case:
    """One patient's scan. ``id`` and the paths stay at the site."""

    id: str
    images: dict[str, Path]
    seg: Path | None

    @property
    def present(self) -> tuple[bool, ...]:
        """Which modalities exist, in the order of ``MODALITIES``."""
        return tuple(modality in self.images for modality in MODALITIES)


def find_case(folder: Path) -> Case | None:
    """The case in one folder, or ``None`` when the folder holds no image of the layout."""
    images = {m: path for m in MODALITIES if (path := _volume(folder, m)) is not None}
    return Case(folder.name, images, _volume(folder, "seg")) if images else None


def acquisition_facts(case: Case) -> dict[str, str]:
    """``protocol`` and ``grade`` of a case where its ``acquisition.json`` says so: for evaluation only.

    Nothing else of that file is passed on. The phantom writes one; a site may write its own.
    """
    path = next(iter(case.images.values())).parent / ACQUISITION_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(content[name])[:_LONGEST_FACT] for name in ("protocol", "grade") if name in content}
    except (OSError, ValueError, TypeError):
        return {}


def find_cases(folders: Sequence[Path]) -> list[Case]:
    """All cases directly below ``folders``, sorted by id.

    Raises:
        InputError: a folder is missing or holds no case, or two folders hold the same id.
    """
    cases: dict[str, Case] = {}
    for folder in folders:
        for case in _cases_below(folder):
            if case.id in cases:
                raise InputError(
                    f"Case {case.id} lies in two of the site's data folders. Each case may be listed once."
                )
            cases[case.id] = case
    return [cases[id_] for id_ in sorted(cases)]


def require_complete(case: Case, max_missing: int, need_seg: bool = True) -> None:
    """Raise ``InputError`` when ``case`` lacks its segmentation or more than ``max_missing`` modalities."""
    if need_seg and case.seg is None:
        raise InputError(
            f"Case {case.id} has no segmentation: expected {case.id}_seg.nii.gz (or .nii) beside its images. "
            "Add the file or move the case out of the data folder."
        )
    missing = [modality for modality in MODALITIES if modality not in case.images]
    if len(missing) > max_missing:
        raise InputError(
            f"Case {case.id} lacks {' and '.join(missing)}; at most {max_missing} of the four may be missing. "
            "Add the files, move the case out of the data folder, or raise data.max_missing_modalities."
        )


def _cases_below(folder: Path) -> list[Case]:
    if not folder.is_dir():
        raise InputError(
            f"There is no data folder {folder}. Name an existing one; `fedpac-me phantom --out DIR` writes an example."
        )
    found = [case for child in sorted(folder.iterdir()) if child.is_dir() and (case := find_case(child))]
    if not found:
        raise InputError(
            f"{folder} holds no cases. Expected one folder a case with files such as "
            "<id>/<id>_t1.nii.gz, <id>_t1ce, <id>_t2, <id>_flair and <id>_seg."
        )
    return found


def _volume(folder: Path, suffix: str) -> Path | None:
    for ending in _ENDINGS:
        path = folder / f"{folder.name}_{suffix}{ending}"
        if path.is_file():
            return path
    return None
