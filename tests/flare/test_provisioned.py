# SPDX-License-Identifier: Apache-2.0
"""Provisioned kits, every one checked and started on this machine, and what each role may do: real processes, mTLS."""

from __future__ import annotations

import json
import shutil

import pytest

from fedpac_me.config import load_config
from fedpac_me.data.site_sample import sample_settings
from fedpac_me.engine import run_federation
from fedpac_me.flare.processes import processes_of
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint
from fedpac_me.run_info import weights_hash
from poc_tools import Federation, free_port

HERE = ["--work", "build/poc"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, hospitals):
    """Kits for a server, two hospitals and four people; their data is on this machine."""
    federation = Federation(tmp_path_factory.mktemp("provisioned"))
    done = federation.script("provision", "2", "--data", hospitals, "--port", str(free_port()), *HERE)
    assert done.code == 0, done.out + done.err
    return federation


@pytest.fixture(scope="module")
def rehearsal(made):
    """What ``rehearse.sh`` printed; up while the tests of this file run."""
    done = made.script("rehearse", *HERE)
    yield done
    made.script("down", *HERE)
    assert processes_of(made.poc.workspace) == []


@pytest.fixture(scope="module")
def federation(made, rehearsal):
    assert rehearsal.code == 0, rehearsal.out + rehearsal.err
    return made


@pytest.fixture(scope="module")
def steady_config(tiny_config, tmp_path_factory):
    """Its learning rate does not follow the number of rounds: a run that is made longer is one of more rounds."""
    path = tmp_path_factory.mktemp("config") / "steady.json"
    path.write_text(json.dumps({"extends": str(tiny_config), "learning": {"final_learning_rate": 1.0}}))
    return path


def kit_of(federation, person):
    (kit,) = federation.poc.kits.glob(f"{person}@*")
    return kit


def test_every_kit_passes_flares_check(federation, rehearsal):
    kits = {kit.name for kit in federation.poc.kits.iterdir()}
    assert len(kits) == 7
    passed = [line.removeprefix("Preflight check passed: ") for line in rehearsal.out.splitlines()[:-1]]
    assert sorted(passed) == sorted(kits)
    assert rehearsal.err == ""


def test_flares_check_passes_where_another_python_comes_first(federation, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    federation.poc.nvflare("preflight-check", "-p", str(kit_of(federation, "lead")))


def test_server_and_sites_know_each_other_by_certificate(federation):
    for site in ("site-1", "site-2"):
        config = json.loads((federation.poc.kits / site / "startup/fed_client.json").read_text())
        assert config["client"]["connection_security"] == "mtls"
    (server,) = json.loads((federation.poc.kits / "server/startup/fed_server.json").read_text())["servers"]
    assert server["connection_security"] == "mtls"


def test_the_servers_jobs_stay_in_its_kit_wherever_that_goes(federation, tmp_path):
    moved = shutil.copytree(federation.poc.kits / "server", tmp_path / "server")
    assert federation.script("configure", moved).code == 0
    for kit in (federation.poc.kits.resolve() / "server", moved):
        resources = json.loads((kit / "local/resources.json").read_text())
        (manager,) = [part for part in resources["components"] if part["id"] == "job_manager"]
        assert manager["args"]["uri_root"] == f"{kit}/jobs-storage"
        storage = resources["snapshot_persistor"]["args"]["storage"]
        assert storage["args"]["root_dir"] == f"{kit}/snapshot-storage"
        assert resources["class_allow_list"].count("fedpac_me.") == 1


def test_a_hospitals_kit_holds_a_sample_of_its_settings(federation):
    for kit in federation.poc.kits.iterdir():
        sample = kit / "local/fedpac_me.json.sample"
        assert sample.is_file() == kit.name.startswith("site-"), kit
        assert not sample.is_file() or sample.read_text() == sample_settings()


@pytest.mark.parametrize("person", ["member", "it"])
def test_who_may_not_submit_is_told_so(federation, tiny_config, person):
    job = federation.export(tiny_config, f"by-{person}")
    done = federation.script("submit", job, "--kit", kit_of(federation, person), *HERE)
    assert (done.code, "may not do that" in done.err) == (2, True), done.out + done.err
    assert federation.nvflare("job", "list", "-n", f"by-{person}") == []


def test_a_leads_job_runs_and_gets_its_report(federation, steady_config):
    lead = ["--kit", kit_of(federation, "lead"), *HERE]
    federation.submit(federation.export(steady_config, "by-lead"), *lead)
    watched = federation.script("watch", "--run", "runs/lead", *lead)
    assert watched.code == 0, watched.out + watched.err
    report = json.loads((federation.place / "runs/lead/report.json").read_text())
    assert [len(entry["accepted"]) for entry in report["rounds"]] == [2, 2]
    assert json.loads((federation.place / "runs/lead/run.json").read_text())["hardware"] == {}


def test_a_leads_job_goes_on_in_another(federation, steady_config, hospitals, tmp_path):
    lead = ["--kit", kit_of(federation, "lead"), *HERE]
    federation.submit(federation.export(None, "longer", "--resume", "runs/lead", "--rounds", "3"), *lead)
    watched = federation.script("watch", "--run", "runs/longer", *lead)
    assert watched.code == 0, watched.out + watched.err
    assert [line.split()[1] for line in watched.out.splitlines() if line.startswith("round ")] == ["3"]
    config = load_config(steady_config, {"federation": {"rounds": 3}})
    ours = run_federation(config, hospitals, tmp_path, progress=lambda line: None).weights
    assert weights_hash(read_checkpoint(find_checkpoint(federation.place / "runs/longer"))) == weights_hash(ours)


def test_kits_are_not_made_twice(federation, hospitals):
    again = federation.script("provision", "2", "--data", hospitals, *HERE)
    assert (again.code, "holds kits already" in again.err) == (2, True)


def test_an_engineer_writes_a_kits_settings(federation, tmp_path):
    kit = federation.poc.kits / "site-2"
    before = (kit / "local/fedpac_me.json").read_bytes()
    done = federation.script("configure", kit, "--data", tmp_path, "--role", "evaluate", "--device", "cpu")
    assert done.code == 0, done.err
    settings = json.loads((kit / "local/fedpac_me.json").read_text())
    assert settings == {"data": [str(tmp_path)], "role": "evaluate", "device": "cpu", "ranks": 1}
    (kit / "local/fedpac_me.json").write_bytes(before)
    refused = federation.script("configure", federation.poc.kits / "server", "--data", tmp_path)
    assert (refused.code, "is not the kit of a hospital" in refused.err) == (2, True)
