# SPDX-License-Identifier: Apache-2.0
"""Nothing that identifies a patient leaves a site, also where a site's data make every task fail in another way.

One federation of real processes: a hospital with a cut-off file, one with a folder in a file's place, one with an
unknown label among its test cases, and one without faults, so that there is a result. Their patients, files, folders and
the files' headers carry words that must be found at the sites and nowhere else.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nvflare.fuel.flare_api.api_spec import InternalError, JobNotRunning, NoReply, TargetType

from broken_files import file, put, voxels
from cases import save, write_case
from fedpac_me.flare.coordinator import coordinator, fetch, submit
from fedpac_me.flare.processes import processes_of
from flare_tools import MARK
from poc_tools import Federation, free_port, until
from search import files_with

WARD, DEVICE = "WardSeven", "ScannerOfDrWho"
SECRETS = (MARK, WARD, DEVICE)
SITES = ("cut-off", "folder", "label", "sound")
SITE_LOGS = ("log.txt", "log_fl.txt", "log.json", "error_log.txt")


def sign(folder: Path) -> None:
    """Put a word into the headers of a case's images."""
    for path in folder.glob("*.nii.gz"):
        image = nibabel.load(path)
        image.header["descrip"] = DEVICE
        nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header), path)


def cut_off(folder: Path) -> None:
    path = file(folder, "t1ce")
    path.write_bytes(path.read_bytes()[:-200])


def folder_instead_of_file(folder: Path) -> None:
    file(folder, "t2").unlink()
    file(folder, "t2").mkdir()


def unknown_label(folder: Path) -> None:
    save(file(folder, "seg"), put(7, np.s_[3:6, 3:6, 3:6])(voxels(folder, "seg")))


@pytest.fixture(scope="module")
def troubled(tmp_path_factory) -> Path:
    """The hospitals: all train, and three have a broken case."""
    root = tmp_path_factory.mktemp("clinic") / WARD
    for number, fault in enumerate((cut_off, folder_instead_of_file, unknown_label, None), start=1):
        site = root / f"site-{number}"
        ids = [f"{MARK}_{number}_{index}" for index in range(4)]
        for index, case_id in enumerate(ids):
            sign(write_case(site, case_id, edge=20, seed=10 * number + index))
        (site / "splits.json").write_text(json.dumps({"train": ids[:2], "validation": ids[2:3], "test": ids[3:]}))
        if fault is not None:
            fault(site / ids[3 if fault is unknown_label else 0])
    return root


@pytest.fixture(scope="module")
def federation(tmp_path_factory, troubled):
    made = Federation(tmp_path_factory.mktemp("leaks"))
    up = made.script("up", str(len(SITES)), "--data", troubled, "--port", str(free_port()))
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
def heard(federation, config):
    """The fetched run, and what the admin console was told while it ran."""
    told: list[str] = []
    with coordinator(federation.poc.admin_kit) as session:
        job_id = submit(session, federation.export(config, "troubled"))

        def look_in(*_) -> bool:
            for ask in (session.show_stats, session.show_errors):
                try:
                    told.append(json.dumps(ask(job_id, TargetType.ALL)))
                except (InternalError, JobNotRunning, NoReply):
                    told.append("")
            return True

        session.monitor_job(job_id, poll_interval=1.0, cb=look_in)
        until(lambda: session.get_job_meta(job_id)["status"] == "FINISHED:COMPLETED", "the job finishing")
        told.append(json.dumps(session.get_job_logs(job_id, "all")))
        run = fetch(session, job_id, federation.place / "fetched")
    assert federation.script("report", run).code == 0
    return run, told


@pytest.fixture(scope="module")
def run(heard) -> Path:
    return heard[0]


def private_logs(federation) -> dict[str, str]:
    """Each site's private log, by site."""
    kits = federation.poc.kits
    return {
        site: "".join(path.read_text() for path in (kits / site).rglob("private.log"))
        for site in ("site-1", "site-2", "site-3", "site-4")
    }


def test_every_fault_happened_and_its_site_knows_the_file(federation, run):
    logs = private_logs(federation)
    assert f"{MARK}_1_0_t1ce.nii.gz" in logs["site-1"]
    assert f"{MARK}_2_0" in logs["site-2"]
    assert f"{MARK}_3_3" in logs["site-3"]
    assert logs["site-4"] == ""
    ledger = json.loads(next(run.rglob("ledger.json")).read_text())
    for entry in ledger["rounds"]:
        assert [line["site"] for line in entry["accepted"]] == ["site-3", "site-4"]
        assert [line["site"] for line in entry["rejected"]] == ["site-1", "site-2"]
    assert set(json.loads((run / "report.json").read_text())["sites"]) == {"site-1", "site-2", "site-4"}


def test_the_console_was_told_of_rounds_and_faults_and_of_no_patient(heard):
    whole = "".join(heard[1])
    assert "FedPAC-ME site" in whole and "mean_dice_mean" in whole
    assert "This task was given up" in whole
    assert [word for word in SECRETS if word.lower() in whole.lower()] == []


def test_the_server_has_the_sites_streamed_error_logs_and_no_patient_anywhere(federation, run):
    server = federation.poc.kits / "server"
    streamed = [path for path in run.rglob("error_log.txt") if "site-1" in str(path)]
    assert any("This task was given up" in path.read_text() for path in streamed)
    assert list(run.rglob("events.out.tfevents*")) and list(run.rglob("model_shareables/site-4"))
    assert any((server / "jobs-storage").rglob("*"))
    assert files_with(SECRETS, [server, run]) == []


def test_what_a_site_logs_could_be_streamed_too(federation, run):
    logs = [path for site in federation.poc.kits.glob("site-*") for path in site.rglob("*") if path.name in SITE_LOGS]
    assert len(logs) > 2 * len(SITES)
    assert any("Round 1 of 6: received" in path.read_text() for path in logs)
    assert files_with(SECRETS, logs) == []
