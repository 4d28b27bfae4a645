# SPDX-License-Identifier: Apache-2.0
"""Finding cases on disk, one folder a case, in any of the layouts in which BraTS has been handed out.

Up to 2022, FeTS included: ``<id>/<id>_{t1,t1ce,t2,flair,seg}``. From 2023 on: ``<id>/<id>-{t1n,t1c,t2w,t2f,seg}``.
All files may be ``.nii.gz`` or ``.nii``. Each case is recognised by itself, so a folder may hold cases of both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fedpac_me.data.label_scheme import ENHANCING_FROM_2023, ENHANCING_UP_TO_2022, DataSetScheme, LabelScheme
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES

ACQUISITION_FILE = "acquisition.json"
SEGMENTATION = "seg"
_ENDINGS = (".nii.gz", ".nii")
_LONGEST_FACT = 32
_MISNAMED_SEGMENTATIONS = {"BraTS20_Training_355": "W39_1998.09.19_Segm"}
"""Published under another name than the layout's: one case of BraTS2020."""


@dataclass(frozen=True)
class Layout:
    """How the files of a case are named: ``key`` in settings, ``suffixes`` in the order of ``MODALITIES``."""

    key: str
    name: str
    separator: str
    suffixes: tuple[str, ...]
    enhancing: int

    @property
    def sentence(self) -> str:
        """What the layout is, for a person."""
        stems = [self.stem("<id>", part) for part in (*MODALITIES, SEGMENTATION)]
        return (
            f"{self.name}: <id>/{', '.join(stems[:-1])} and {stems[-1]} (.nii.gz or .nii); enhancing tumour is label "
            f"{self.enhancing} unless the segmentations say otherwise."
        )

    @property
    def scheme(self) -> LabelScheme:
        """The labels that go with the layout."""
        return LabelScheme(self.enhancing, f"so the layout of {self.name} has it, and no case says otherwise")

    def stem(self, case_id: str, part: str) -> str:
        """File name, without its ending, of a modality or of ``SEGMENTATION``."""
        suffix = part if part == SEGMENTATION else self.suffixes[MODALITIES.index(part)]
        return f"{case_id}{self.separator}{suffix}"


UP_TO_2022 = Layout("up-to-2022", "BraTS up to 2022", "_", ("t1", "t1ce", "t2", "flair"), ENHANCING_UP_TO_2022)
FROM_2023 = Layout("from-2023", "BraTS 2023 and later", "-", ("t1n", "t1c", "t2w", "t2f"), ENHANCING_FROM_2023)
LAYOUTS = (UP_TO_2022, FROM_2023)
LayoutKey = Literal["up-to-2022", "from-2023"]
"""What a user names a layout by, where it is not to be detected."""


def layout_named(key: LayoutKey | None) -> Layout | None:
    """The layout of that key; ``None`` stands for detecting it case by case."""
    return next((layout for layout in LAYOUTS if layout.key == key), None)


@dataclass(frozen=True)
class Case:
    """One patient's scan. ``id`` and the paths stay at the site."""

    id: str
    images: dict[str, Path]
    seg: Path | None
    layout: Layout
    data_set: DataSetScheme = field(compare=False, repr=False)

    @property
    def present(self) -> tuple[bool, ...]:
        """Which modalities exist, in the order of ``MODALITIES``."""
        return tuple(modality in self.images for modality in MODALITIES)

    @property
    def scheme(self) -> LabelScheme:
        """How the case's data set writes its labels. Reads segmentations when it is asked for the first time."""
        return self.data_set.scheme


def find_case(folder: Path, layout: Layout | None = None) -> Case | None:
    """The case in one folder, a data set of its own, or ``None`` when the folder holds no image of a layout.

    With ``layout`` files of others are not looked at. Of one volume's ``.nii.gz`` and ``.nii`` the former is read.

    Raises:
        InputError: the folder holds files of two layouts.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    found = {one: files for one in ([layout] if layout else LAYOUTS) if (files := _files(folder, one, names))}
    if len(found) > 1:
        one, other = (next(iter(files.values())) for files in found.values())
        raise InputError(
            f"Case {folder.name} holds files of two layouts: {one.name} is named as in {UP_TO_2022.name}, {other.name} "
            f"as in {FROM_2023.name}. Keep the files of one of them in {folder}, or say which to read: 'layout' in the "
            "site's settings, --layout of check-data and split."
        )
    for one, files in found.items():
        seg = files.pop(SEGMENTATION, None)
        return Case(folder.name, files, seg, one, _scheme_of([(folder.name, seg)], one)) if files else None
    return None


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


def find_cases(folders: Sequence[Path], layout: Layout | None = None) -> list[Case]:
    """All cases directly below ``folders``, sorted by id; with ``layout`` only those that are named so.

    Each folder is a data set with one label scheme: a pooled site may have hospitals of either. No volume is read.

    Raises:
        InputError: a folder is missing or holds no case, two folders hold the same id, or a case has two layouts.
    """
    cases: dict[str, Case] = {}
    for folder in folders:
        for case in _cases_below(folder, layout):
            if case.id in cases:
                raise InputError(
                    f"Case {case.id} lies in two of the site's data folders. Each case may be listed once."
                )
            cases[case.id] = case
    return [cases[id_] for id_ in sorted(cases)]


def layout_sentence(cases: Sequence[Case]) -> str:
    """Which layouts ``cases`` (at least one) are in, and how many in each where they are mixed."""
    counts = Counter(case.layout for case in cases)
    if len(counts) == 1:
        return f"Layout of {_most_common(cases).sentence}"
    parts = [f"{counts[layout]} cases as in {layout.sentence}" for layout in LAYOUTS]
    return f"Two layouts, told apart case by case. {' '.join(parts)}"


def require_complete(case: Case, max_missing: int, need_seg: bool = True) -> None:
    """Raise ``InputError`` when ``case`` lacks its segmentation or more than ``max_missing`` modalities."""
    if need_seg and case.seg is None:
        raise InputError(
            f"Case {case.id} has no segmentation: expected {case.layout.stem(case.id, SEGMENTATION)}.nii.gz (or .nii) "
            "beside its images. Add the file or move the case out of the data folder."
        )
    missing = [modality for modality in MODALITIES if modality not in case.images]
    if len(missing) > max_missing:
        raise InputError(
            f"Case {case.id} lacks {' and '.join(missing)}; at most {max_missing} of the four may be missing. "
            "Add the files, move the case out of the data folder, or raise data.max_missing_modalities."
        )


def _cases_below(folder: Path, layout: Layout | None) -> list[Case]:
    if not folder.is_dir():
        raise InputError(
            f"There is no data folder {folder}. Name an existing one; `fedpac-me phantom --out DIR` writes an example."
        )
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    found = [case for child in children if (case := find_case(child, layout))]
    if not found:
        expected = " Or ".join(one.sentence for one in ([layout] if layout else LAYOUTS))
        raise InputError(f"{folder} holds no cases. Expected one folder a case, named as in {expected}")
    data_set = _scheme_of([(case.id, case.seg) for case in found], _most_common(found))
    return [replace(case, data_set=data_set) for case in found]


def _scheme_of(segmentations: Sequence[tuple[str, Path | None]], layout: Layout) -> DataSetScheme:
    return DataSetScheme([(id_, seg) for id_, seg in segmentations if seg is not None], layout.scheme)


def _most_common(cases: Sequence[Case]) -> Layout:
    """The layout of most cases; of equally common ones the older."""
    return max(LAYOUTS, key=[case.layout for case in cases].count)


def _files(folder: Path, layout: Layout, names: set[str]) -> dict[str, Path]:
    """The files of ``layout`` among ``names``, by modality or ``SEGMENTATION``."""
    stems = {part: [layout.stem(folder.name, part)] for part in (*MODALITIES, SEGMENTATION)}
    if layout is UP_TO_2022 and folder.name in _MISNAMED_SEGMENTATIONS:
        stems[SEGMENTATION].append(_MISNAMED_SEGMENTATIONS[folder.name])
    places = {part: [stem + ending for stem in given for ending in _ENDINGS] for part, given in stems.items()}
    return {
        part: folder / name
        for part, given in places.items()
        if (name := next((name for name in given if name in names), None))
    }
