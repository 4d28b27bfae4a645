# SPDX-License-Identifier: Apache-2.0
"""``poc/*.sh``: a server and hospitals as processes of their own, one federation for all tests of this file."""

from __future__ import annotations

import json
import os
import socket

import pytest

from fedpac_me.config import load_config
from fedpac_me.engine import run_federation
from fedpac_me.flare.processes import processes_of
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint
from fedpac_me.run_info import weights_hash
from flare_tools import MARK, ROOT, SITES
from poc_tools import Federation, free_port, until


@pytest.fixture(scope="module")
def federation(tmp_path_factory, hospitals):
    """Up while the tests of this file run."""
    made = Federation(tmp_path_factory.mktemp("poc"))
    port = free_port()
    up = made.script("up", str(SITES), "--data", hospitals, "--port", str(port))
    try:
        assert up.code == 0, up.out + up.err
        assert f"a server at port {port} and 3 hospitals (site-1, site-2, site-3)" in up.out
        yield made
    finally:
        down = made.script("down")
    assert (down.code, processes_of(made.poc.workspace)) == (0, []), down.out + down.err
    assert made.script("down").out.startswith("Nothing runs in")


@pytest.fixture(scope="module")
def watched(federation, tiny_config):
    """A finished job, as ``watch.sh`` told of it."""
    federation.submit(federation.export(tiny_config, "first"))
    return federation.script("watch", "--run", "runs/first")


@pytest.fixture(scope="module")
def run(federation, watched):
    assert watched.code == 0, watched.out + watched.err
    return federation.place / "runs" / "first"


def test_up_twice_is_up_once(federation):
    before = {process.pid for process in processes_of(federation.poc.workspace)}
    again = federation.script("up")
    assert (again.code, "Up already" in again.out) == (0, True)
    assert {process.pid for process in processes_of(federation.poc.workspace)} == before


def test_a_job_that_pools_the_hospitals_cases_is_refused(federation):
    done = federation.script("submit", federation.export(ROOT / "app_configs/central.json", "pooled"))
    assert (done.code, "exists in simulations only" in done.err) == (2, True), done.out + done.err
    assert federation.nvflare("job", "list", "-n", "pooled") == []


def test_each_round_is_told_once_with_dice_and_the_accepted_sites(watched, run):
    rounds = [line for line in watched.out.splitlines() if line.startswith("round ")]
    assert [line.split("  ")[0] for line in rounds] == ["round 1/2", "round 2/2"]
    assert all("validation Dice 0." in line and line.endswith("from site-1 site-2") for line in rounds)
    assert watched.out.splitlines()[-1] == "Report: runs/first/report.html"


def test_the_report_is_that_of_any_run(run, tiny_config):
    report = json.loads((run / "report.json").read_text())
    assert {name: site["role"] for name, site in report["sites"].items()} == {
        "site-1": "train",
        "site-2": "train",
        "site-3": "evaluate",
    }
    assert report["config_hash"] == load_config(tiny_config).hash
    assert json.loads((run / "run.json").read_text())["seconds_total"] > 0
    assert "pictures never leave a site" in (run / "report.html").read_text()


def test_the_model_is_that_of_the_same_federation_in_one_process(run, hospitals, tiny_config, tmp_path):
    ours = run_federation(load_config(tiny_config), hospitals, tmp_path, progress=lambda line: None).weights
    assert weights_hash(read_checkpoint(find_checkpoint(run))) == weights_hash(ours)


def test_what_flare_downloads_gets_the_same_report(federation, run, hospitals):
    job_id = json.loads((run / "meta.json").read_text())["job_id"]
    fetched = federation.place / federation.nvflare("job", "download", job_id, "-o", "fetched")["download_path"]
    assert federation.script("report", fetched).code == 0
    for name in ("report.json", "cases.csv"):
        assert (fetched / name).read_bytes() == (run / name).read_bytes()


def test_no_patient_and_no_path_of_a_site_reaches_the_server(federation, run, hospitals):
    server = federation.poc.kits / "server"
    assert any((server / "jobs-storage").rglob("*"))
    files = [path for place in (server, run) for path in place.rglob("*") if path.is_file()]
    assert len(files) > 50
    for secret in (MARK.encode(), str(hospitals).encode()):
        assert [path for path in files if secret in path.read_bytes()] == []


def test_every_kit_says_where_its_data_is_and_what_its_role(federation, hospitals):
    for number in range(1, SITES + 1):
        settings = json.loads((federation.poc.kits / f"site-{number}/local/fedpac_me.json").read_text())
        role = "evaluate" if number == SITES else "train"
        data = [str(hospitals / f"site-{number}")]
        assert settings == {"data": data, "role": role, "device": "auto", "ranks": 1}


def test_the_users_own_flare_settings_are_left_alone(federation):
    assert not (federation.place / ".nvflare/config.conf").exists()


def test_an_aborted_job_is_a_failure_with_its_status(federation, tiny_config):
    job_id = federation.submit(federation.export(tiny_config, "endless", "--rounds", "500"))
    until(lambda: federation.nvflare("job", "meta", job_id)["status"] == "RUNNING", "the job running")
    federation.nvflare("job", "abort", job_id, "--force")
    watched = federation.script("watch", job_id)
    assert (watched.code, "ended as FINISHED:ABORTED" in watched.err) == (1, True), watched.out + watched.err


def test_a_job_whose_server_process_was_killed_goes_on_and_ends_with_the_bytes_of_one_left_alone(
    federation, whole_method, hospitals, tmp_path
):
    rounds = ["--rounds", "6"]
    job_id = federation.submit(federation.export(whole_method, "killed", *rounds))
    kit = federation.poc.kits / "server"
    until(lambda: any((kit / job_id).rglob("state-1.npz")), "two finished rounds")
    (of_job,) = [process for process in processes_of(kit) if job_id in " ".join(process.cmdline())]
    of_job.kill()
    watched = federation.script("watch", job_id, "--run", "runs/killed")
    assert watched.code == 1, watched.out + watched.err
    assert "python jobs/train.py --resume runs/killed --export" in watched.err

    job = federation.export(None, "resumed", "--resume", "runs/killed")
    federation.submit(job)
    watched = federation.script("watch", "--run", "runs/resumed")
    assert watched.code == 0, watched.out + watched.err
    assert [path for kit in federation.poc.kits.glob("site-*") for path in kit.rglob("state-*.npz")] == []
    told = [line for line in watched.out.splitlines() if line.startswith("round ")]
    report = json.loads((federation.place / "runs/resumed/report.json").read_text())
    assert len(told) < len(report["rounds"]) == 6
    config = load_config(whole_method, {"federation": {"rounds": 6}})
    ours = run_federation(config, hospitals, tmp_path, progress=lambda line: None).weights
    assert weights_hash(read_checkpoint(find_checkpoint(federation.place / "runs/resumed"))) == weights_hash(ours)


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("submit", ["nowhere"], "is not a job folder"),
        ("watch", ["00000000-0000-0000-0000-000000000000"], "knows no job"),
        ("submit", ["nowhere", "--kit", "nowhere"], "is not the kit of an admin"),
        ("report", ["."], "as `nvflare job download`"),
    ],
)
def test_bad_input_is_a_sentence(federation, name, words, sentence):
    done = federation.script(name, *words)
    assert (done.code, sentence in done.err, "Traceback" in done.err) == (2, True, False), done.err


def test_a_taken_port_is_named_with_its_holder_and_nothing_is_written(tmp_path, hospitals):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        up = Federation(tmp_path).script("up", "2", "--data", hospitals, "--port", str(port))
    assert (up.code, f"Port {port}" in up.err, f"process {os.getpid()} (" in up.err) == (2, True, True), up.err
    assert not (tmp_path / "build").exists()


def test_more_hospitals_than_there_are_is_refused(tmp_path, hospitals):
    up = Federation(tmp_path).script("up", "7", "--data", hospitals, "--port", str(free_port()))
    assert (up.code, "holds 3 hospitals; a federation of 7 cannot be made" in up.err) == (2, True)
    assert not (tmp_path / "build").exists()
