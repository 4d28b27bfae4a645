# SPDX-License-Identifier: Apache-2.0
"""Whole runs through the FLARE simulator: real server, real client processes, real files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fedpac_me.cli import main
from fedpac_me.model.checkpoint import BEST_MODEL, find_checkpoint, read_checkpoint
from fedpac_me.run_info import weights_hash
from flare_tools import MARK, ROOT, SITES, Command, curves, run_command, run_here
from search import files_with


def model_hash(run: Path, file_name: str = "FL_global_model.pt") -> str:
    return weights_hash(read_checkpoint(find_checkpoint(run, file_name)))


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """Where the runs of this file happen."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="session")
def trained(place, hospitals, tiny_config) -> Command:
    """``python jobs/train.py``, all sites at once."""
    return run_command(
        sys.executable,
        ROOT / "jobs/train.py",
        "--config",
        tiny_config,
        "--data",
        hospitals,
        "--name",
        "tiny",
        cwd=place,
    )


@pytest.fixture(scope="session")
def run(trained, place) -> Path:
    assert trained.code == 0, trained.out + trained.err
    return place / "runs" / "tiny"


def test_the_console_shows_one_line_a_round_a_table_and_where_the_report_is(trained, run):
    lines = trained.out.splitlines()
    rounds = [line for line in lines if line.startswith("round ")]
    assert [line.split("  ")[0] for line in rounds] == ["round 1/2", "round 2/2"]
    assert "2 updates" in rounds[0] and "left" in rounds[0]
    assert [line.split()[0] for line in lines if line.startswith("site-")] == ["site-1", "site-2", "site-3"]
    assert lines[-1] == f"Report: {Path('runs/tiny/report.html')}"
    assert len(lines) < 20
    assert trained.err == ""


def test_no_prepared_scan_is_left_behind(run):
    assert (run / "site-1").is_dir()
    assert not list(run.rglob("scans"))


def test_the_ledger_knows_who_took_part(run):
    ledger = json.loads(next(run.rglob("ledger.json")).read_text())
    assert len(ledger["rounds"]) == 2
    for entry in ledger["rounds"]:
        assert entry["outcome"] == "merged"
        assert [line["site"] for line in entry["accepted"]] == ["site-1", "site-2"]
        assert entry["abstained"] == ["site-3"]
        assert entry["rejected"] == []
        assert {"dice_mean", "train_loss"} <= entry["metrics"]["site-1"].keys()
        assert "dice_mean" in entry["metrics"]["site-3"]


def test_the_model_moved_and_final_and_best_were_evaluated_everywhere(run):
    report = json.loads((run / "report.json").read_text())
    assert {name: site["role"] for name, site in report["sites"].items()} == {
        "site-1": "train",
        "site-2": "train",
        "site-3": "evaluate",
    }
    results = json.loads(next(run.rglob("cross_val_results.json")).read_text())
    for models in results.values():
        assert set(models) == {"SRV_FL_global_model.pt", f"SRV_{BEST_MODEL}"}
    rows = (run / "cases.csv").read_text().splitlines()
    assert len(rows) == 1 + SITES * 2
    assert (run / "report.html").stat().st_size > 10_000


def test_training_changed_the_weights(run, tiny_config):
    from fedpac_me.config import load_config
    from fedpac_me.model.backbone import build_model, get_weights

    config = load_config(tiny_config)
    assert model_hash(run) != weights_hash(get_weights(build_model(config)))
    assert model_hash(run) == json.loads((run / "run.json").read_text())["model_hash"]


def test_flares_own_simulator_command_gives_the_same_bytes_with_fewer_threads_than_sites(
    run, place, hospitals, tiny_config, train_module
):
    words = ["--config", tiny_config, "--export", "--export-dir", "build/jobs"]
    exported = run_here(train_module.main, *words, cwd=place)
    assert exported.out == f"Job written: {Path('build/jobs/tiny')}\n", exported.err
    # The hospitals are found without FEDPAC_ME_DATA, where the phantom would lie.
    (place / "data").mkdir()
    (place / "data" / "phantom").symlink_to(hospitals)
    done = run_command("nvflare", "simulator", "build/jobs/tiny", "-w", "WS", "-n", str(SITES), "-t", "2", cwd=place)
    assert done.code == 0, done.out[-2000:] + done.err[-2000:]
    assert model_hash(place / "WS") == model_hash(run)
    assert model_hash(place / "WS", BEST_MODEL) == model_hash(run, BEST_MODEL)


def test_a_job_folder_carries_the_package_and_nothing_of_a_site(run, place, hospitals, tiny_config, train_module):
    run_here(train_module.main, "--config", tiny_config, "--export", "--name", "carry", cwd=place)
    job = place / "build/jobs/carry"
    package = job / "app/custom/fedpac_me"
    shipped = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    source = ROOT / "custom/fedpac_me"
    assert shipped == {p.relative_to(source) for p in source.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert not [path for path in job.rglob("*") if path.suffix in (".pyc", ".json", ".yml") and "custom" in path.parts]
    for path in job.rglob("*.json"):
        assert str(hospitals) not in path.read_text()


def test_no_patient_and_no_path_reaches_what_the_server_holds(run, hospitals):
    reached = [*(path for path in run.iterdir() if path.is_file()), run / "server"]
    assert {"report.html", "report.json", "cases.csv", "run.json"} <= {path.name for path in reached}
    assert files_with([MARK, str(hospitals)], reached) == []


def test_tensorboard_has_a_writer_for_every_site_and_the_server_and_every_step_is_a_round(run):
    found = curves(run)
    assert found.keys() == {"site-1", "site-2", "site-3", "server"}
    dice = {"dice_TC", "dice_WT", "dice_ET", "dice_mean"}
    cost = {"seconds", "bytes_up", "bytes_down"}
    assert found["site-1"].keys() == found["site-2"].keys() == {"train_loss", *dice, *cost}
    assert found["site-3"].keys() == {*dice, *cost}
    means = {f"mean_{name}" for name in ("train_loss", *dice)}
    assert found["server"].keys() == {"accepted", "rejected", "abstained", *means, *cost}
    assert {tuple(steps) for tags in found.values() for steps in tags.values()} == {(0, 1)}


@pytest.mark.parametrize(
    ("site", "words"), [(1, "trained 2 steps, loss 1."), (2, "trained 2 steps"), (3, "no weights")]
)
def test_a_sites_log_says_in_words_what_it_did(run, site, words):
    told = [line.rpartition("] - ")[2] for line in (run / f"site-{site}" / "log.txt").read_text().splitlines()]
    role = "evaluate" if site == SITES else "train"
    assert f"Ready: role {role}; cases: 2 training, 1 validation, 1 test; device cpu." in told
    for number in (1, 2):
        (line,) = [line for line in told if line.startswith(f"Round {number} of 2: received 0.")]
        assert words in line and "validated, mean Dice 0." in line
    assert len([line for line in told if line.startswith("Model SRV_")]) == 2


def test_an_existing_run_is_not_overwritten(run, place, hospitals, tiny_config, train_module, monkeypatch, capsys):
    monkeypatch.chdir(place)
    before = (run / "report.json").read_bytes()
    assert train_module.main(["--config", str(tiny_config), "--data", str(hospitals), "--name", "tiny"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (run / "report.json").read_bytes() == before


def test_a_report_can_be_written_again_and_is_the_same(run, place):
    before = {name: (run / name).read_bytes() for name in ("report.html", "report.json", "cases.csv")}
    again = run_command("fedpac-me", "report", "runs/tiny", cwd=place)
    assert again.code == 0, again.err
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_prediction_lies_on_the_inputs_grid(run, place, hospitals):
    import nibabel
    import numpy as np

    case = hospitals / "site-2" / f"{MARK}_2_0"
    words = ["predict", "--run", "runs/tiny", "--case", case, "--out", "p.nii.gz"]
    done = run_here(main, *words, cwd=place)
    assert done.code == 0, done.err
    made, given = nibabel.load(place / "p.nii.gz"), nibabel.load(case / f"{case.name}_t1.nii.gz")
    assert made.shape == given.shape
    assert np.array_equal(made.affine, given.affine)
    assert made.get_data_dtype() == np.uint8
    again = run_here(main, *words, cwd=place)
    assert (again.code, "exists already" in again.err) == (2, True)


@pytest.mark.parametrize("method", ["local", "central"])
def test_local_and_central_go_through_the_same_code(place, hospitals, tiny_config, train_module, method):
    content = json.loads(tiny_config.read_text())
    changes = {"local": {"share": "nothing", "quorum": 0}, "central": {"quorum": 1}}[method]
    content["federation"] = {**content["federation"], **changes, "rounds": 1}
    content.update(method=method, pooled=method == "central")
    config = place / f"{method}.json"
    config.write_text(json.dumps(content))
    done = run_here(train_module.main, "--config", config, "--data", hospitals, cwd=place)
    assert done.code == 0, done.out + done.err
    report = json.loads((place / "runs" / method / "report.json").read_text())
    assert set(report["sites"]) == {"site-1", "site-2", "site-3"}
    results = json.loads(next((place / "runs" / method).rglob("cross_val_results.json")).read_text())
    if method == "local":
        assert {"site-1", "site-2"} <= set(results["site-3"])
    else:
        ledger = json.loads(next((place / "runs" / method).rglob("ledger.json")).read_text())
        accepted = ledger["rounds"][0]["accepted"]
        assert [(line["site"], line["cases"]) for line in accepted] == [("pooled", 4)]
