# SPDX-License-Identifier: Apache-2.0
"""A truncated file costs its case, and too many of them cost the site its turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cases import write_case
from fedpac_me.config import parse_config
from fedpac_me.data.site import folder_settings
from fedpac_me.errors import InputError
from fedpac_me.learning.readable_cases import ReadableCases
from fedpac_me.learning.site import Site
from fedpac_me.model.backbone import build_model, get_weights

CONFIG = parse_config(
    {
        "method": "m",
        "title": "t",
        "data": {"crop": 16, "max_unusable": 0.3},
        "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
        "learning": {"steps_per_round": 2},
        "evaluation": {"validation_every": 1},
    }
)
WEIGHTS = get_weights(build_model(CONFIG))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four cases for each part."""
    ids = [f"Case_{number}" for number in range(12)]
    for number, case_id in enumerate(ids):
        write_case(tmp_path / "data", case_id, edge=20, seed=number)
    split = {"train": ids[:4], "validation": ids[4:8], "test": ids[8:]}
    (tmp_path / "data" / "splits.json").write_text(json.dumps(split))
    return tmp_path / "data"


def truncate(folder: Path, *numbers: int) -> None:
    for number in numbers:
        path = folder / f"Case_{number}" / f"Case_{number}_t1ce.nii.gz"
        path.write_bytes(path.read_bytes()[:2000])


def site(folder: Path) -> Site:
    return Site("site-1", CONFIG, folder_settings(folder), folder.parent / "state")


def test_a_truncated_case_of_each_part_is_left_out_and_counted(folder: Path) -> None:
    truncate(folder, 1, 6, 8)
    made = site(folder)
    meta = made.train(WEIGHTS, 0).meta
    assert (meta["cases"], meta["metrics"]["unusable_cases"]) == (3, 2.0)
    assert 0 <= meta["metrics"]["dice_mean"] <= 1
    rows = made.evaluate(WEIGHTS, "final")["cases"]
    assert [row["case"] for row in rows] == [2, 3, 4]
    assert (folder.parent / "state" / "pictures" / "final.png").is_file()
    assert list(made.readable.unusable) == ["Case_6", "Case_1", "Case_8"]
    assert "Case_1_t1ce.nii.gz" in made.readable.unusable["Case_1"]
    assert "Case_" not in json.dumps(meta)


def test_without_a_fault_there_is_no_such_figure(folder: Path) -> None:
    assert "unusable_cases" not in site(folder).train(WEIGHTS, 0).meta["metrics"]


@pytest.mark.parametrize("numbers", [(1, 2), (4, 5)], ids=["training", "validation"])
def test_too_many_in_one_part_are_refused_with_their_reasons(folder: Path, numbers: tuple[int, ...]) -> None:
    truncate(folder, *numbers)
    with pytest.raises(
        InputError, match=r"Case_.* 2 of 4 cases cannot be used; data\.max_unusable .* 0\.3\.$"
    ) as error:
        site(folder).train(WEIGHTS, 0)
    assert all(f"Case_{number}_t1ce" in str(error.value) for number in numbers)


def test_too_many_test_cases_are_refused(folder: Path) -> None:
    truncate(folder, 9, 10)
    with pytest.raises(InputError, match="2 of 4 cases cannot be used"):
        site(folder).evaluate(WEIGHTS, "final")


def test_a_case_that_is_asked_for_again_counts_once(folder: Path) -> None:
    truncate(folder, 1)
    made = site(folder)
    for _ in range(3):
        assert made.readable.among(made.split.train, made._load) != made.split.train
    assert made.readable.figures == {"unusable_cases": 1.0}


def test_a_share_of_nothing_refuses_the_first() -> None:
    def damaged(case: object) -> None:
        raise InputError("damaged.")

    with pytest.raises(InputError, match=r"^damaged\. 1 of 1 cases cannot be used; .* 0\.$"):
        case = type("Case", (), {"id": "a"})()
        ReadableCases(0.0).load(case, [case], damaged)
