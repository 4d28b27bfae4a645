# SPDX-License-Identifier: Apache-2.0
"""Nothing that identifies a patient leaves a site, also where a site's data make its tasks fail, each in another way.

A hospital has a cut-off file, one lists a case that it does not have, one has an unknown label among its test cases,
and one no fault, so that there is a result. Their patients, files, folders and the files' headers carry words that must
be found at the sites and nowhere else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from broken_files import file, put, voxels
from cases import save, write_case
from fedpac_me.flare.processes import processes_of
from flare_tools import MARK, run_command
from poc_tools import Federation, free_port
from search import files_with

WARD, DEVICE = "WardSeven", "ScannerOfDrWho"
SECRETS = (MARK, WARD, DEVICE)
SITES = 4


def sign(folder: Path) -> None:
    """Put a word into the headers of a case's images."""
    for path in folder.glob("*.nii.gz"):
        image = nibabel.load(path)
        image.header["descrip"] = DEVICE
        nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header), path)


def cut_off(folder: Path) -> None:
    path = file(folder, "t1ce")
    path.write_bytes(path.read_bytes()[:-200])


def unknown_label(folder: Path) -> None:
    save(file(folder, "seg"), put(7, np.s_[3:6, 3:6, 3:6])(voxels(folder, "seg")))


@pytest.fixture(scope="module")
def troubled(tmp_path_factory) -> Path:
    """The hospitals: all would train, and three have a fault."""
    root = tmp_path_factory.mktemp("clinic") / WARD
    for number in range(1, SITES + 1):
        site = root / f"site-{number}"
        ids = [f"{MARK}_{number}_{index}" for index in range(4)]
        for index, case_id in enumerate(ids):
            sign(write_case(site, case_id, edge=20, seed=10 * number + index))
        listed = [f"{MARK}_2_gone", *ids] if number == 2 else ids
        parts = {"train": listed[:2], "validation": listed[2:3], "test": listed[3:]}
        (site / "splits.json").write_text(json.dumps(parts))
    cut_off(root / "site-1" / f"{MARK}_1_0")
    unknown_label(root / "site-3" / f"{MARK}_3_3")
    return root


@pytest.fixture(scope="module")
def federation(tmp_path_factory, troubled):
    made = Federation(tmp_path_factory.mktemp("leaks"))
    up = made.script("up", str(SITES), "--data", troubled, "--port", str(free_port()))
    try:
        assert up.code == 0, up.out + up.err
        yield made
    finally:
        down = made.script("down")
    assert (down.code, processes_of(made.poc.workspace)) == (0, []), down.out + down.err


@pytest.fixture(scope="module")
def config(tiny_config, tmp_path_factory) -> Path:
    """Enough rounds to look in while it runs, a quorum that two sites with faults cannot break, local models too."""
    content = json.loads(tiny_config.read_text())
    content["federation"] |= {"rounds": 6, "quorum": 1}
    content["evaluation"] |= {"local_models": True}
    path = tmp_path_factory.mktemp("config") / "troubled.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def heard(federation, config) -> dict:
    """What the admin console was told while the job ran, and where the fetched run lies, with its report."""
    job = federation.export(config, "troubled")
    program = Path(__file__).with_name("look_in.py")
    done = run_command(sys.executable, program, federation.poc.admin_kit, job, "fetched", cwd=federation.place)
    assert done.code == 0, done.out + done.err
    told = json.loads(done.out.splitlines()[-1])
    assert told["status"] == "FINISHED:COMPLETED"
    assert federation.script("report", told["run"]).code == 0
    return told


@pytest.fixture(scope="module")
def run(heard, federation) -> Path:
    return federation.place / heard["run"]


def private_logs(federation) -> dict[str, str]:
    """Each site's private log, by site."""
    kits = federation.poc.kits
    return {
        site: "".join(path.read_text() for path in (kits / site).rglob("private.log"))
        for site in (f"site-{number}" for number in range(1, SITES + 1))
    }


def test_every_fault_happened_and_its_site_knows_the_file(federation, run):
    logs = private_logs(federation)
    assert f"{MARK}_1_0_t1ce.nii.gz" in logs["site-1"]
    assert f"{MARK}_2_gone" in logs["site-2"]
    assert f"{MARK}_3_3" in logs["site-3"]
    assert logs["site-4"] == ""
    ledger = json.loads(next(run.rglob("ledger.json")).read_text())
    for entry in ledger["rounds"]:
        assert [line["site"] for line in entry["accepted"]] == ["site-3", "site-4"]
        assert [line["site"] for line in entry["rejected"]] == ["site-1", "site-2"]
    assert set(json.loads((run / "report.json").read_text())["sites"]) == {"site-1", "site-4"}


def test_the_console_was_told_of_rounds_and_faults_and_of_no_patient(heard):
    stats, errors, logs = (json.dumps(heard[name]) for name in ("stats", "errors", "logs"))
    assert "Update of site-1 refused: the site's data" in logs
    assert "FedPAC-ME site" in stats and "mean_dice_mean" in stats
    assert "This task was given up" in errors
    told = json.dumps(heard).lower()
    assert [word for word in SECRETS if word.lower() in told] == []


def test_the_server_has_the_sites_streamed_error_logs_and_no_patient_anywhere(federation, run):
    server = federation.poc.kits / "server"
    for number in (1, 2, 3):
        (streamed,) = server.rglob(f"ERRORLOG_site-{number}")
        assert b"This task was given up" in streamed.read_bytes()
    assert {path.name for path in next(run.rglob("tb_events")).iterdir()} == {"server", "site-3", "site-4"}
    assert list(run.rglob("model_shareables/site-4"))
    assert any((server / "jobs-storage").rglob("*"))
    assert files_with(SECRETS, [server, run]) == []


def test_at_a_site_only_its_settings_and_its_private_log_name_them(federation):
    sites = list(federation.poc.kits.glob("site-*"))
    assert {path.name for path, _ in files_with(SECRETS, sites)} == {"fedpac_me.json", "private.log"}
    logs = [path.read_text() for site in sites for path in site.rglob("log.txt")]
    assert any("Round 1 of 6: received" in log for log in logs)
