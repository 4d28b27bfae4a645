# SPDX-License-Identifier: Apache-2.0
"""The phantom on disk: all of it or nothing."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from fedpac_me.data.layouts import ACQUISITION_FILE
from fedpac_me.data.phantom.case import make_case
from fedpac_me.data.phantom.hospitals import PARTS, CasePlan, Hospital, plan_cases
from fedpac_me.data.phantom.kinds import DEMO, Kind, kind_named
from fedpac_me.errors import InputError
from fedpac_me.storage import read_json, write_json

VERSION = 1
"""Raised whenever the same seed would give other voxels."""
SETTINGS_FILE = "phantom.json"
SMALLEST_EDGE = 24
_PROGRESS_LINES = 5


def write_phantom(
    out: Path,
    size: int | tuple[int, int, int] = 48,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[str], None] | None = None,
    kind: str = DEMO,
) -> None:
    """Write five synthetic hospitals, ``out/site-1`` to ``out/site-5``, and ``out/phantom.json``.

    The same ``kind``, ``size`` and ``seed`` give the same bytes, whatever the number of workers.

    Args:
        out: folder that does not exist yet, or is empty; it appears only when complete.
        size: edge of every volume in voxels, or three of them (left-right, front-back, bottom-top).
        seed: not negative.
        workers: processes to use; as many as there are processors when ``None``.
        progress: told a line now and then.
        kind: which federation, one of ``kinds.KINDS``.

    Raises:
        InputError: ``out`` has content or cannot be written, or an argument is out of range.
    """
    shape = _checked_shape(size)
    workers = _checked_count("workers", os.cpu_count() or 1 if workers is None else workers, 1)
    wanted = kind_named(kind)
    plans = plan_cases(_checked_count("seed", seed, 0), wanted.hospitals)
    with _complete_or_absent(Path(out)) as folder:
        for number, case_id in enumerate(_write_cases(folder, plans, shape, seed, workers), start=1):
            if progress and (number * _PROGRESS_LINES) % len(plans) < _PROGRESS_LINES:
                progress(f"Phantom: {number} of {len(plans)} cases written (up to {case_id}).")
        for hospital in wanted.hospitals:
            _write_site_files(folder / hospital.name, hospital, plans)
        write_json(folder / SETTINGS_FILE, _settings(wanted, plans, shape, seed))


def read_phantom_settings(out: Path) -> dict[str, Any] | None:
    """What ``out/phantom.json`` says (version, seed, size, sites), or ``None`` when there is no complete phantom."""
    try:
        settings = read_json(Path(out) / SETTINGS_FILE)
    except (OSError, ValueError):
        return None
    return settings if isinstance(settings, dict) and {"version", "seed", "size", "sites"} <= settings.keys() else None


def phantom_facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What tells two phantoms apart, from what ``phantom.json`` says: version, kind, seed and size."""
    return {"kind": DEMO, **{key: settings[key] for key in ("version", "kind", "seed", "size") if key in settings}}


def brats_affine(shape: tuple[int, int, int]) -> np.ndarray:
    """BraTS' affine (4x4, mm): 1 mm voxels, axes to the left, back and up, origin as in SRI24 space."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[1, 3] = shape[1] - 1
    return affine


def _checked_shape(size: int | tuple[int, int, int]) -> tuple[int, int, int]:
    shape = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(shape) != 3 or any(not isinstance(edge, int) or edge < SMALLEST_EDGE for edge in shape):
        raise InputError(
            f"A phantom of size {size} cannot be drawn: expected one edge or three of them, each a whole number of at "
            f"least {SMALLEST_EDGE} voxels, such as 48 or 240x240x155."
        )
    return shape


def _checked_count(name: str, value: int, smallest: int) -> int:
    if value < smallest:
        raise InputError(f"The phantom's {name} cannot be {value}; expected {smallest} or more.")
    return value


@contextmanager
def _complete_or_absent(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes ``out`` when the block ends, and vanishes when it fails."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} already exists and is not an empty folder. Name another one, or remove it first.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-partial-", dir=out.parent))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error}. Name a folder that you may write to.") from None
    folder = temporary / out.name  # mkdtemp's own folder is closed to others
    try:
        folder.mkdir()
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_cases(
    folder: Path, plans: list[CasePlan], shape: tuple[int, int, int], seed: int, workers: int
) -> Iterator[str]:
    write = partial(_write_case, folder=folder, shape=shape, seed=seed)
    if workers == 1:
        yield from map(write, plans)
        return
    # Spawned, not forked: the caller may hold threads of torch or FLARE.
    pool = ProcessPoolExecutor(min(workers, len(plans)), mp_context=get_context("spawn"))
    try:
        yield from pool.map(write, plans)
    finally:
        # No case may still be written while the folder is being renamed or removed.
        pool.shutdown(wait=True, cancel_futures=True)


def _write_case(plan: CasePlan, folder: Path, shape: tuple[int, int, int], seed: int) -> str:
    case = make_case(plan, shape, seed)
    place = folder / plan.hospital.name / plan.id
    place.mkdir(parents=True)
    for name, volume in {**case.images, "seg": case.labels}.items():
        _write_volume(place / f"{plan.id}_{name}.nii.gz", volume)
    acquisition = json.dumps({"protocol": plan.protocol, "grade": plan.grade})
    # Plain, not atomic: the whole folder appears at once or not at all.
    (place / ACQUISITION_FILE).write_text(acquisition + "\n", encoding="utf-8")
    return plan.id


def _write_volume(path: Path, volume: np.ndarray) -> None:
    image = nibabel.Nifti1Image(volume, brats_affine(volume.shape))
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    # gzip's header has room for a file name and a time; without them the same voxels are the same bytes.
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _write_site_files(folder: Path, hospital: Hospital, plans: list[CasePlan]) -> None:
    own = [plan for plan in plans if plan.hospital is hospital]
    write_json(folder / "site.json", {"role": hospital.role})
    write_json(folder / "splits.json", {part: [plan.id for plan in own if plan.part == part] for part in PARTS})


def _settings(kind: Kind, plans: list[CasePlan], shape: tuple[int, int, int], seed: int) -> dict[str, Any]:
    return {
        **({} if kind.name == DEMO else {"kind": kind.name}),  # older than kinds, the demo's names none
        "version": VERSION,
        "seed": seed,
        "size": list(shape),
        "protocols": {name: protocol.description for name, protocol in kind.protocols.items()},
        "sites": {hospital.name: _site_facts(hospital, plans) for hospital in kind.hospitals},
    }


def _site_facts(hospital: Hospital, plans: list[CasePlan]) -> dict[str, Any]:
    own = [plan for plan in plans if plan.hospital is hospital]
    return {
        "description": hospital.description,
        "role": hospital.role,
        "cases": dict(zip(PARTS, hospital.cases, strict=True)),
        "modalities": list(hospital.modalities),
        "grades": dict(sorted(Counter(plan.grade for plan in own).items())),
        "protocol_shares": hospital.protocols,
        "protocol_cases": dict(sorted(Counter(plan.protocol for plan in own).items())),
    }
