# SPDX-License-Identifier: Apache-2.0
"""Anyone's predictions, as label files, against a reference: the figures of this project without a run of it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from fedpac_me.data.label_scheme import ENHANCING_UP_TO_2022, DataSetScheme, LabelScheme
from fedpac_me.data.nifti import Volume, grid_difference, read_volume
from fedpac_me.errors import InputError
from fedpac_me.evaluation.lesions import LESION_DEFINITION
from fedpac_me.evaluation.metrics import CONVENTION, METRICS, case_metrics
from fedpac_me.evaluation.summary import LABEL_FIGURES, summarise_site
from fedpac_me.evaluation.surface import HD95_DEFINITION
from fedpac_me.labels import REGIONS
from fedpac_me.storage import atomic_path

_FILE = re.compile(r"(?P<stem>.+?)(?P<seg>[_-]segm?)?\.nii(\.gz)?", re.IGNORECASE)
_MOST_NAMED = 5
_ABSENT = "-"


def evaluate_files(
    predictions: Path, references: Path, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Score label files against references, each a file or a folder; see ``label_files`` and ``pair_files``.

    Labels are those of BraTS; enhancing tumour is 3 or 4, found for each of the two by its files. Files are turned to
    one orientation, never resampled.

    Returns:
        ``cases``, how many; the means ``LABEL_FIGURES`` over them, see ``summarise_site``; ``notes``, sentences on
        files that have no counterpart; ``definitions`` of the figures; ``rows``, per case its id as ``case`` and
        ``METRICS``. No calibration: a label file does not say how sure it was.

    Raises:
        InputError: no file has a counterpart, one cannot be read or has unknown labels, or two do not share a grid.
    """
    pairs, notes = pair_files(predictions, references)
    schemes = [
        _scheme([(f"{case} ({side})", pair[at]) for case, pair in pairs.items()])
        for at, side in enumerate(("prediction", "reference"))
    ]
    rows = []
    for number, (case, pair) in enumerate(pairs.items(), start=1):
        rows.append({"case": case, **_score(case, pair, schemes)})
        progress(f"{number} of {len(pairs)}: {case}")
    summary = summarise_site("evaluate", rows)
    return {
        "cases": len(rows),
        **{figure: summary[figure] for figure in LABEL_FIGURES},
        "notes": notes,
        "definitions": [CONVENTION, HD95_DEFINITION, LESION_DEFINITION],
        "rows": rows,
    }


def label_files(place: Path) -> dict[str, Path]:
    """The label files of a file or a folder by case id, sorted: ``<id>``, ``<id>_seg`` or ``<id>-seg``, as NIfTI.

    A folder may instead hold one folder a case, in it a file that ends in ``seg``; the folder's name is the id then.
    Where some of a folder's own files end in ``seg``, the others are taken for images.

    Raises:
        InputError: there is no such place, no label file in it, or two of one case.
    """
    if place.is_file():
        return {_case_id(place): place}
    if not place.is_dir():
        raise InputError(
            f"There is no file or folder {place}. Name a label file (.nii or .nii.gz) or a folder of them."
        )
    own = [(_case_id(path), path) for path in _niftis(place)]
    marked = [(case, path) for case, path in own if _is_marked(path)]
    below = [(path.parent.name, path) for path in _niftis(place, "*/*") if _is_marked(path)]
    found = _once([*(marked or own), *below])
    if not found:
        raise InputError(
            f"{place} holds no label file. Expected <id>.nii.gz, <id>_seg.nii.gz or <id>-seg.nii.gz, or one folder a "
            "case with such a file."
        )
    return found


def pair_files(predictions: Path, references: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Pairs of prediction and reference by case id, and a sentence on each side's files without a counterpart.

    Two files are a pair whatever their names. A file against a folder is looked up there and the rest left alone.

    Raises:
        InputError: as ``label_files``, or nothing pairs.
    """
    sides = label_files(predictions), label_files(references)
    files = predictions.is_file(), references.is_file()
    if all(files):
        case, other = next(iter(sides[0])), next(iter(sides[1].values()))
        return {case: (sides[0][case], other)}, []
    pairs = {case: (path, sides[1][case]) for case, path in sides[0].items() if case in sides[1]}
    if not pairs:
        raise InputError(
            f"No prediction of {predictions} has a reference in {references}. Predictions: {_named(sides[0])}; "
            f"references: {_named(sides[1])}. Name both by case id: <id>.nii.gz, <id>_seg.nii.gz or <id>-seg.nii.gz."
        )
    if any(files):
        return pairs, []
    return pairs, [
        _left_out([case for case in side if case not in pairs], noun, other)
        for side, noun, other in zip(sides, ("prediction", "reference"), ("reference", "prediction"), strict=True)
        if len(side) > len(pairs)
    ]


def means_table(result: Mapping[str, Any]) -> str:
    """The means of ``evaluate_files`` as plain text, one row a figure, with their definitions and the notes below."""
    keys = (*REGIONS, "mean")
    rows = [
        ("Dice", result["dice"], 3),
        ("Dice, cases with the region", result["dice_nonempty"], 3),
        ("HD95 (mm)", result["hd95"], 2),
        ("Lesion-wise Dice", result["lesionwise_dice"], 3),
        ("Dice of predicting no tumour", result["null_predictor"]["dice"], 3),
    ]
    head = f"{result['cases']} case" + ("" if result["cases"] == 1 else "s")
    width = max(len(head), *(len(name) for name, _, _ in rows))
    lines = [_line(head, keys, width)]
    lines += [_line(name, [_figure(means[key], digits) for key in keys], width) for name, means, digits in rows]
    return "\n".join([*lines, "", *(f"{sentence}." for sentence in result["definitions"]), *result["notes"]])


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One CSV row per case, atomically: ``case`` and ``METRICS``."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=("case", *METRICS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _score(case: str, pair: tuple[Path, Path], schemes: Sequence[LabelScheme]) -> dict[str, float | int]:
    volumes = [read_volume(path) for path in pair]
    _require_same_grid(case, *volumes)
    sides = zip(volumes, schemes, ("prediction", "reference"), strict=True)
    prediction, truth = (scheme.to_internal(volume.data, f"{case} ({side})") for volume, scheme, side in sides)
    spacing = nibabel.affines.voxel_sizes(volumes[1].affine).tolist()
    return case_metrics(np.ascontiguousarray(prediction), np.ascontiguousarray(truth), spacing)


def _require_same_grid(case: str, prediction: Volume, reference: Volume) -> None:
    difference = grid_difference(prediction, reference)
    if difference == "shape":
        facts = f"the prediction has shape {prediction.data.shape}, the reference {reference.data.shape}"
    elif difference:
        facts = "prediction and reference have different affines (origin, voxel size or direction)"
    else:
        return
    raise InputError(
        f"Case {case}: {facts}. They must lie on one grid; predict on the input's grid, or resample the "
        "prediction with nearest neighbours."
    )


def _scheme(files: Sequence[tuple[str, Path]]) -> LabelScheme:
    default = LabelScheme(ENHANCING_UP_TO_2022, "no file holds 3 or 4, or one holds both")
    return DataSetScheme(files, default).scheme


def _niftis(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file() and _FILE.fullmatch(path.name))


def _is_marked(path: Path) -> bool:
    return _FILE.fullmatch(path.name)["seg"] is not None


def _case_id(path: Path) -> str:
    name = _FILE.fullmatch(path.name)
    if name is None:
        raise InputError(f"{path} is not NIfTI by its name; expected .nii or .nii.gz.")
    return name["stem"]


def _once(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for case, path in files:
        if case in found:
            raise InputError(f"Case {case} has two label files: {found[case]} and {path}. Keep one of them.")
        found[case] = path
    return dict(sorted(found.items()))


def _left_out(cases: Sequence[str], noun: str, other: str) -> str:
    left = f"1 {noun} has no {other} and is" if len(cases) == 1 else f"{len(cases)} {noun}s have no {other} and are"
    return f"{left} left out of the means: {_named(cases)}."


def _named(cases: Iterable[str]) -> str:
    names = list(cases)
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _figure(value: float | None, digits: int) -> str:
    return _ABSENT if value is None else f"{value:.{digits}f}"


def _line(name: str, cells: Iterable[str], width: int) -> str:
    return name.ljust(width) + "".join(cell.rjust(8) for cell in cells)
