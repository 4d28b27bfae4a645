# SPDX-License-Identifier: Apache-2.0
"""The attacks do what they are called, and their effect is measured by the very federation that they attack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import attacks
from cases import write_case
from fedpac_me.config import parse_config
from fedpac_me.data.layouts import find_case
from fedpac_me.data.nifti import read_volume
from fedpac_me.engine import run_federation
from fedpac_me.learning.site import SiteUpdate
from hostile_sites import add_patch, hide_behind_patch, hostile, rotate_labels, scaled, spoiled_root

pytestmark = pytest.mark.slow  # whole federations


def config(**federation):
    return parse_config(
        {
            "method": "m",
            "title": "t",
            "data": {"crop": 16},
            "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
            "learning": {"steps_per_round": 2, "learning_rate": 0.01, "warmup_steps": 0},
            "federation": {"rounds": 2, **federation},
            "evaluation": {"validation_every": 9},
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Four sites that train and one that does not."""
    root = tmp_path_factory.mktemp("hospitals")
    for number in range(1, 6):
        ids = [f"C_{number}_{index}" for index in range(3)]
        for index, case_id in enumerate(ids):
            write_case(root / f"site-{number}", case_id, edge=20, seed=10 * number + index)
        split = {"train": ids[:2], "test": ids[2:]}
        (root / f"site-{number}" / "splits.json").write_text(json.dumps(split))
    (root / "site-5" / "site.json").write_text('{"role": "evaluate"}')
    return root


def final(data: Path, folder: Path, tamper=None, **federation):
    return run_federation(config(**federation), data, folder, lambda line: None, tamper)


def as_bytes(weights) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in weights.items()}


def far(one, other) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize("options", [{}, {"robust": "median", "quorum": 3}], ids=["plain", "median"])
def test_nan_from_one_site_gives_the_model_of_the_others_alone(data, tmp_path, options) -> None:
    attacked = final(data, tmp_path / "a", hostile(["site-2"], scaled(float("nan"))), **options)
    silent = final(data, tmp_path / "b", lambda site, update: update if site != "site-2" else absent(update), **options)
    assert as_bytes(attacked.weights) == as_bytes(silent.weights)
    assert [len(entry.rejected) for entry in attacked.ledger.rounds] == [1, 1]


def absent(update: SiteUpdate) -> SiteUpdate:
    """What a site that says nothing would send; it is refused."""
    return SiteUpdate({}, update.meta)


def test_a_site_times_1000_moves_the_plain_merge_and_no_robust_one(data, tmp_path) -> None:
    tamper = hostile(["site-2"], scaled(1000.0))
    honest = final(data, tmp_path / "honest").weights
    plain = final(data, tmp_path / "plain", tamper, clip_norm_factor=0).weights
    assert far(plain, honest) > 1
    for number, rule in enumerate(("norm_clipping", "median", "trimmed_mean", "geometric_median")):
        kept = final(data, tmp_path / str(number), tamper, robust=rule, quorum=3).weights
        assert far(kept, honest) < 0.5, rule


def test_spoiled_data_are_the_hostile_sites_alone(data, tmp_path) -> None:
    root = spoiled_root(data, tmp_path / "spoiled", ["site-2"], rotate_labels)
    before, after = (find_case(folder / "site-2" / "C_2_0") for folder in (data, root))
    one, other = (read_volume(case.seg).data for case in (before, after))
    assert [np.unique(other[one == label]).tolist() for label in (0, 1, 2, 4)] == [[0], [2], [4], [1]]
    untouched = root / "site-2" / "C_2_1" / "C_2_1_seg.nii.gz"
    assert np.array_equal(read_volume(untouched).data, read_volume(data / untouched.relative_to(root)).data)
    assert [path.name for path in (root / "site-1").iterdir()] == ["site.json"]
    assert spoiled_root(data, tmp_path / "no", ["site-2"], None) == data


def test_the_patch_is_bright_in_every_modality_and_hides_the_tumour(tmp_path) -> None:
    case = find_case(write_case(tmp_path, "C_0"))
    before = {name: read_volume(path).data for name, path in case.images.items()}
    add_patch(case)
    for name, path in case.images.items():
        changed = read_volume(path).data
        assert np.count_nonzero(changed != before[name]) == 27
        assert changed.max() >= int(1.5 * before[name].max())
    assert read_volume(case.seg).data.any()
    hide_behind_patch(case)
    assert not read_volume(case.seg).data.any()


def test_the_tables_are_of_runs_that_are_kept(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(attacks, "measured", keeping(tmp_path / "kept.jsonl"))
    merges = {"plain": config()}
    made = attacks.tables(data, merges, ["sign_flip", "backdoor"])
    heads = ["| merge, no attack |", "| Dice lost to 1 of 4 sites |", "| Dice lost to sign_flip |"]
    assert all(part.startswith(head) for part, head in zip(made, heads, strict=True))
    assert all(part.count("\n| plain |") == 1 for part in made)
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 4
    monkeypatch.setattr(attacks, "_run", lambda *_: pytest.fail("ran again"))
    assert attacks.tables(data, merges, ["sign_flip", "backdoor"]) == made


def keeping(path: Path):
    measured = attacks.measured
    return lambda data, config, attack, sites: measured(data, config, attack, sites, path)


def test_multi_krum_is_refused_for_four_sites_with_its_sentence() -> None:
    made, refused = attacks._configs(attacks.CONFIG, {"federation": {}}, list(attacks.MERGES))
    assert set(refused) == {"multi_krum"} and "'quorum' must be at least 5, got 3" in refused["multi_krum"]
    assert len(made) == len(attacks.MERGES) - 1
