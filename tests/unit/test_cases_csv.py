# SPDX-License-Identifier: Apache-2.0
"""``cases.csv`` alone gives every figure of the report's tables: each is worked out here again, by other code."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_run import write_run

from fedpac_me.errors import InputError
from fedpac_me.evaluation.report import write_report
from fedpac_me.evaluation.run_record import BEST_MODEL, FINAL_MODEL
from fedpac_me.labels import REGIONS
from fedpac_me.storage import read_json

SITES = {"site-1": "train", "site-2": "train", "site-10": "train", "site-5": "evaluate", "site-6": "evaluate"}
COLUMNS = {
    "dice": "dice", "hd95": "hd95", "lesionwise_dice": "lesion_dice", "lesionwise_hd95": "lesion_hd95",
    "sensitivity": "sensitivity", "specificity": "specificity", "volume_error": "volume_error", "ece": "ece",
    "null_ece": "null_ece",
}  # fmt: skip
Rows = list[dict[str, str]]


def rows_of(run: Path) -> Rows:
    with open(run / "cases.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(rows: Rows, column: str) -> np.ndarray:
    return np.array([float(row.get(column) or "nan") for row in rows])


def mean(values) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def known_mean(values) -> float:
    values = np.asarray(list(values))
    return mean(values[~np.isnan(values)])


def by_region(of_region: Callable[[str], float]) -> dict[str, float]:
    found = {region: of_region(region) for region in REGIONS}
    return found | {"mean": known_mean(found.values())}


def site_figures(rows: Rows) -> dict[str, float]:
    """A site's summary from its rows, see ``flat``."""

    def where_it_is(column: str, region: str) -> np.ndarray:
        return numbers(rows, f"{column}_{region}")[numbers(rows, f"truth_voxels_{region}") > 0]

    found = {
        figure: by_region(lambda region, column=column: mean(numbers(rows, f"{column}_{region}")))
        for figure, column in COLUMNS.items()
    }
    found |= {
        "dice_nonempty": by_region(lambda region: mean(where_it_is("dice", region))),
        "hd95_nonempty": by_region(lambda region: mean(where_it_is("hd95", region))),
        "absolute_volume_error": by_region(lambda region: mean(abs(numbers(rows, f"volume_error_{region}")))),
        "voxel_accuracy": mean(numbers(rows, "voxel_accuracy")),
        "pair_matching_accuracy": mean(numbers(rows, "pair_matching_accuracy")),
        "null_predictor": {
            "dice": by_region(lambda region: mean(numbers(rows, f"null_dice_{region}"))),
            "voxel_accuracy": mean(numbers(rows, "null_voxel_accuracy")),
        },
    }
    return dict(flat(found))


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Names of nested figures and their values, NaN for ``None``; what is no figure is left out."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif name not in ("role", "cases", "sites"):
            yield prefix + name, float("nan") if value is None else value


def mean_of(sites: list[dict[str, float]]) -> dict[str, float]:
    return {name: known_mean(site[name] for site in sites) for name in sites[0]}


def same(found: dict[str, float]) -> Any:
    return pytest.approx(found, abs=1e-12, nan_ok=True)


def check(report: Mapping[str, Any], sites: dict[str, dict[str, float]]) -> None:
    """``report``, of a run or of one model, against the figures of ``sites``."""
    assert set(report["sites"]) == set(sites)
    for site, figures in sites.items():
        assert dict(flat(report["sites"][site])) == same(figures), site
    for role, headline in (("train", "mean"), ("evaluate", "unseen")):
        group = [figures for site, figures in sites.items() if SITES[site] == role]
        assert dict(flat(report[headline])) == same(mean_of(group))
    dice = {site: figures["dice.mean"] for site, figures in sites.items() if SITES[site] == "train"}
    worst = min(dice, key=dice.__getitem__)
    assert report["worst_site"]["site"] == worst
    assert report["worst_site"]["dice"]["mean"] == pytest.approx(dice[worst])
    assert report["spread"] > 0
    assert report["spread"] == pytest.approx(max(dice.values()) - dice[worst])


def of_model(rows: Rows, model: str) -> dict[str, dict[str, float]]:
    chosen = [row for row in rows if row["model"] == model]
    assert {row["site"]: row["role"] for row in chosen} == SITES
    return {site: site_figures([row for row in chosen if row["site"] == site]) for site in SITES}


def test_a_federated_run(tmp_path):
    run = write_run(tmp_path / "run", SITES, {FINAL_MODEL: 1, BEST_MODEL: 2}, pictures=False)
    write_report(run)
    report, rows = read_json(run / "report.json"), rows_of(run)
    check(report, of_model(rows, "final"))
    for model in ("final", "best"):
        check(report["models"][model], of_model(rows, model))
    means = report["mean"]
    assert means["dice"]["TC"] != means["dice_nonempty"]["TC"] and means["hd95"]["TC"] != means["hd95_nonempty"]["TC"]
    assert means["lesionwise_dice"]["WT"] < means["dice"]["WT"]
    assert 0 < means["ece"]["WT"] != means["null_ece"]["WT"] > 0


def test_a_run_in_which_nothing_was_shared(tmp_path):
    models = {"site-1": 0, "site-2": 1, "site-10": 2}
    run = write_run(tmp_path / "run", SITES, models, share="nothing", pictures=False)
    write_report(run)
    by_model = {model: of_model(rows_of(run), model) for model in models}
    sites = {site: by_model[site][site] for site in models}
    sites |= {site: mean_of([by_model[model][site] for model in models]) for site in ("site-5", "site-6")}
    check(read_json(run / "report.json"), sites)


def change_cases(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change every case of site-1 in what the sites sent."""
    (path,) = run.rglob("cross_val_results.json")
    content = json.loads(path.read_text())
    for case in content["site-1"][FINAL_MODEL]["cases"]:
        change(case)
    path.write_text(json.dumps(content))


@pytest.fixture
def run(tmp_path) -> Path:
    return write_run(tmp_path / "run", SITES, {FINAL_MODEL: 1}, pictures=False)


def test_a_calibration_that_one_site_does_not_know_is_a_gap_and_left_out_of_the_mean(run):
    change_cases(run, lambda case: case.update(ece_WT=None, ece_TC=float("nan")))
    text, report = write_report(run).read_text(), read_json(run / "report.json")
    assert report["sites"]["site-1"]["ece"]["WT"] is report["sites"]["site-1"]["ece"]["TC"] is None
    assert report["sites"]["site-1"]["ece"]["ET"] == report["sites"]["site-1"]["ece"]["mean"]
    others = [report["sites"][site]["ece"]["WT"] for site in ("site-2", "site-10")]
    assert report["mean"]["ece"]["WT"] == pytest.approx(np.mean(others))
    check(report, of_model(rows_of(run), "final"))
    assert "nan" not in text.lower().replace("nan in conv", "")


def test_a_run_of_before_there_was_calibration(run):
    path = next(run.rglob("cross_val_results.json"))
    path.write_text(path.read_text().replace('"ece_', '"other_').replace('"null_ece_', '"null_other_'))
    write_report(run)
    assert read_json(run / "report.json")["mean"]["ece"] == dict.fromkeys((*REGIONS, "mean"))
    check(read_json(run / "report.json"), of_model(rows_of(run), "final"))


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("another_figure", 0.25, True),
        ("another_figure", None, True),
        ("comment", "BraTS20_Training_001", False),
        ("pixels", [[1, 2], [3, 4]], False),
        ("nested", {"a": {"b": 1}}, False),
        ("flag", True, False),
        ("site/BraTS20_Training_001_seg.nii.gz", 0.5, False),
        ("=HYPERLINK(1)", 1.0, False),
        ("huge", 10**400, False),
    ],
)
def test_columns_that_nobody_knows_break_nothing_and_carry_no_text(run, name, value, kept):
    write_report(run)
    before = (run / "report.html").read_bytes()
    change_cases(run, lambda case: case.update({name: value}))
    write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert (name in rows_of(run)[0]) is kept
    assert "BraTS20" not in (run / "cases.csv").read_text() + (run / "report.json").read_text()


def test_no_figure_of_a_site_passes_for_another_sites(run):
    change_cases(run, lambda case: case.update(site=7, model=8, role=9, case=10))
    write_report(run)
    assert of_model(rows_of(run), "final")
    assert [row["case"] for row in rows_of(run) if row["site"] == "site-1"] == ["1", "2"]


@pytest.mark.parametrize("value", ["0.1", True, [0.1], 10**400])
@pytest.mark.parametrize("name", ["dice_WT", "lesion_hd95_TC", "ece_ET"])
def test_a_figure_that_is_no_number_is_refused(run, name, value):
    change_cases(run, lambda case: case.update({name: value}))
    with pytest.raises(InputError, match=f"case 1 of site-1 under {FINAL_MODEL} has .*number.* for {name}"):
        write_report(run)
