# SPDX-License-Identifier: Apache-2.0
"""How long a case of BraTS' size takes to score, beside MONAI's Dice and HD95 alone.

python tests/benchmarks/scoring.py            about a minute
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

from fedpac_me.data.layouts import find_cases
from fedpac_me.evaluation.evaluate_files import evaluate_files
from fedpac_me.labels import regions_from_labels
from full_size_cases import write_full_size_cases

HEAD = "| what | processor s a case |\n|---|---|"
REPEATS = 3


def measure(folder: Path) -> list[str]:
    """Rows of the table; ``folder`` is filled with one case. The fastest of a few turns, on one thread."""
    torch.set_num_threads(1)
    write_full_size_cases(folder, drawn=1)
    (case,) = find_cases([folder])
    truth = nibabel.load(case.seg)
    moved = np.roll(np.asarray(truth.dataobj), 3, axis=0)  # as good a prediction as any for its size
    prediction = folder / "prediction.nii.gz"
    nibabel.save(nibabel.Nifti1Image(moved, truth.affine), prediction)
    volumes = [torch.from_numpy(regions_from_labels(each))[None] for each in (moved, np.asarray(truth.dataobj))]
    ours = _fastest(lambda: evaluate_files(prediction, case.seg))
    theirs = _fastest(lambda: (compute_dice(*volumes), compute_hausdorff_distance(*volumes, percentile=95)))
    return [
        f"| `fedpac-me evaluate`, files read, every figure, lesion by lesion too | {ours:.2f} |",
        f"| MONAI's Dice and HD95 of the same pair, in memory | {theirs:.2f} |",
    ]


def _fastest(call: Callable[[], object]) -> float:
    return min(_timed(call) for _ in range(REPEATS))


def _timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fedpac_me_scoring_") as scratch:
        print(HEAD, *measure(Path(scratch)), sep="\n")
