# SPDX-License-Identifier: Apache-2.0
"""Two published models' predictions on a real BraTS case, against figures computed elsewhere."""

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fedpac_me.evaluation.metrics import case_metrics
from fedpac_me.labels import REGIONS

FOLDER = os.environ.get("FEDPAC_ME_REAL_CASE")
pytestmark = [
    pytest.mark.real_case,
    pytest.mark.skipif(not FOLDER, reason="FEDPAC_ME_REAL_CASE does not name the folder of the real BraTS case"),
]


def labels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


PREDICTIONS = ["prediction_pim", "prediction_consensus"]


def scored(prediction: str, table: str) -> tuple[dict, dict[str, dict]]:
    """Our scores of one prediction, and the rows of a golden table about it, by region."""
    folder = Path(FOLDER)
    golden = json.loads((folder.parent / "golden_metrics.json").read_text(encoding="utf-8"))
    truth = labels(folder / golden["case"] / f"{golden['case']}_seg.nii.gz")
    rows = {row["region"]: row for row in golden[table] if row["prediction"] == prediction}
    assert set(rows) == set(REGIONS)
    scores = case_metrics(labels(folder / f"{prediction}.nii.gz"), truth, golden["spacing_mm"])
    assert scores["null_voxel_accuracy"] == 1 - scores["truth_voxels_WT"] / truth.size
    return scores, rows


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_metrics_of_a_real_case(prediction: str):
    scores, rows = scored(prediction, "legacy")
    for region, row in rows.items():
        assert scores[f"dice_{region}"] == pytest.approx(row["dice"], abs=1e-6)
        assert scores[f"hd95_{region}"] == pytest.approx(row["hd95_monai"], abs=1e-4)
        assert scores[f"truth_voxels_{region}"] == row["n_ref"]
        assert scores[f"predicted_voxels_{region}"] == row["n_pred"]
        assert scores[f"null_dice_{region}"] == 0.0


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_lesion_wise_scores_of_a_real_case(prediction: str):
    """Against the challenge's own script. Its HD95 weighs surfaces by area, ours does not: 0.15 to 0.36 mm more."""
    scores, rows = scored(prediction, "lesionwise_brats2023")
    for region, row in rows.items():
        assert scores[f"lesion_dice_{region}"] == pytest.approx(row["LesionWise_Score_Dice"], abs=1e-9)
        counts = [scores[f"lesion_{kind}_{region}"] for kind in ("tp", "fp", "fn")]
        assert counts == [row["Num_TP"], row["Num_FP"], row["Num_FN"]]
        assert scores[f"sensitivity_{region}"] == pytest.approx(row["Sensitivity"], abs=1e-9)
        assert scores[f"specificity_{region}"] == pytest.approx(row["Specificity"], abs=1e-9)
        assert 0.15 < scores[f"lesion_hd95_{region}"] - row["LesionWise_Score_HD95"] < 0.36
