# SPDX-License-Identifier: Apache-2.0
"""What a hospital may forbid and need not trust: code, tampered jobs, strangers; and what its privacy filters do
to an update. Provisioned kits, real processes, mutual TLS.
"""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import pytest
from nvflare.lighter.utils import load_private_key_file, sign_folders, verify_folder_signature

from fedpac_me.flare.processes import end_processes, processes_of
from poc_tools import Federation, free_port, start, until
from stored_job import change, release, wait_in_store

HERE = ["--work", "build/poc"]
GAMMA = 1e-6
"""What the filter of site-2 cuts every entry of an update to."""


@pytest.fixture(scope="module")
def port():
    return free_port()


def provisioned(place, hospitals, port):
    federation = Federation(place)
    done = federation.script("provision", "3", "--data", hospitals, "--port", str(port), *HERE)
    assert done.code == 0, done.out + done.err
    return federation


@pytest.fixture(scope="module")
def federation(tmp_path_factory, hospitals, port):
    """Three hospitals and a server that is not strict.

    The second takes no code and filters what leaves it; the third has not said where its data is.
    """
    made = provisioned(tmp_path_factory.mktemp("authorised"), hospitals, port)
    assert made.script("configure", made.kit("site-2"), "--no-code").code == 0
    (made.kit("site-2") / "local/privacy.json").write_text(json.dumps(privacy()))
    (made.kit("site-3") / "local/fedpac_me.json").unlink()
    careless(made.kit("server"))
    try:
        start(made.kit("server"))
        made.wait_for()
        for site in made.poc.sites:
            start(made.kit(site))
        made.wait_for(*made.poc.sites)
        yield made
    finally:
        end_processes(made.poc.workspace)
    assert processes_of(made.poc.workspace) == []


def privacy():
    """One scope for every job that names none, another for jobs that ask for it."""
    cut = {"name": "PercentilePrivacy", "args": {"percentile": 0, "gamma": GAMMA}}
    leave_out = {"name": "ExcludeVars", "args": {"exclude_vars": "conv_final"}}
    scopes = [
        {"name": "usual", "task_result_filters": [cut]},
        {"name": "strict", "task_result_filters": [leave_out]},
    ]
    return {"scopes": scopes, "default_scope": "usual"}


def careless(server):
    """Have a server take jobs that nobody signed, and look at the waiting ones every second."""
    path = server / "startup/fed_server.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"require_signed_jobs": False}))
    resources = json.loads((server / "local/resources.json").read_text())
    (scheduler,) = [part for part in resources["components"] if part["id"] == "job_scheduler"]
    scheduler["args"] |= {"min_schedule_interval": 1.0, "max_schedule_interval": 1.0, "max_schedule_count": 1000}
    (server / "local/resources.json").write_text(json.dumps(resources))


@pytest.fixture(scope="module")
def other(tmp_path_factory, hospitals, port):
    """Another federation with the same names at the same address; its processes are ended."""
    made = provisioned(tmp_path_factory.mktemp("other"), hospitals, port)
    yield made
    end_processes(made.poc.workspace)


@pytest.fixture(scope="module")
def lead(federation):
    return ["--kit", federation.kit("lead"), *HERE]


def export(federation, config, name, *words, **meta):
    job = federation.export(config, name, *words)
    path = job / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | meta))
    return job


def report_of(federation, job_id, run, lead):
    watched = federation.script("watch", job_id, "--run", f"runs/{run}", *lead)
    assert watched.code == 0, watched.out + watched.err
    return json.loads((federation.place / f"runs/{run}/report.json").read_text())


@pytest.fixture(scope="module")
def with_code(federation, tiny_config, lead):
    """What watching says of a lead's job that brings code and needs every hospital."""
    job_id = federation.submit(export(federation, tiny_config, "with-code", min_clients=3), *lead)
    return federation.script("watch", job_id, *lead)


@pytest.fixture(scope="module")
def installed(federation, tiny_config, lead, with_code):
    """The report of the same job without code."""
    return report_of(
        federation, federation.submit(export(federation, tiny_config, "bare", "--installed"), *lead), "bare", lead
    )


def test_where_code_is_forbidden_a_leads_job_with_code_is_refused(with_code):
    assert with_code.code == 1
    assert "site-2: BYOC not permitted" in with_code.err


def test_the_same_job_runs_there_where_the_code_is_installed(installed):
    assert installed["participation"]["site-2"] == {"took_part": [0, 1], "refused": [], "silent": []}


def test_a_sites_own_filter_changes_what_leaves_it_and_the_round_is_merged(installed):
    for entry in installed["rounds"]:
        norms = {line["site"]: line["norm"] for line in entry["accepted"]}
        # Fewer than 10⁶ weights of at most GAMMA each have a norm of less than 1000 GAMMA.
        assert 0 < norms["site-2"] < 1000 * GAMMA < norms["site-1"]


def test_a_site_that_did_not_say_where_its_data_is_says_that_and_the_others_go_on(installed):
    assert installed["participation"]["site-3"] == {"took_part": [], "refused": [0, 1], "silent": []}
    assert installed["participation"]["site-1"] == {"took_part": [0, 1], "refused": [], "silent": []}
    (reason,) = {line["reason"] for entry in installed["rounds"] for line in entry["rejected"]}
    assert reason.startswith("Site site-3 does not say where its data is. Put fedpac_me.json")
    assert list(installed["sites"]) == ["site-1", "site-2"]


@pytest.fixture(scope="module")
def stranger(other, federation):
    """The log of a client with another federation's certificate for the same name, and what our server noted then."""
    log, its_own = federation.kit("server") / "log.txt", other.kit("site-1") / "log.txt"
    begun = len(log.read_text())
    start(other.kit("site-1"))
    until(lambda: its_own.is_file() and "Cannot connect" in its_own.read_text(), "the stranger's failing", 300)
    end_processes(other.poc.workspace)
    return its_own.read_text(), log.read_text()[begun:]


def test_a_client_of_another_federation_cannot_connect(stranger):
    its_own, servers = stranger
    assert "CERTIFICATE_VERIFY_FAILED" in its_own
    assert "site-1" not in servers


@pytest.mark.parametrize(("whose", "welcome"), [("federation", True), ("other", False)])
def test_the_server_ends_the_connection_of_a_certificate_that_is_not_its_federations(
    request, port, federation, whose, welcome
):
    """As a client that does not care whom it speaks with, so that only the server's check is left."""
    startup = request.getfixturevalue(whose).kit("site-1") / "startup"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(startup / "client.crt", startup / "client.key")
    with socket.create_connection(("localhost", port)) as plain, context.wrap_socket(plain) as secured:
        try:
            # By TLS 1.3 a client learns what the server thinks of it when it first reads.
            secured.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = secured.recv(16)
        except OSError:
            answer = b""
    assert answer.startswith(b"HTTP/1.1") == welcome


@pytest.fixture(scope="module")
def strict(federation, tiny_config, lead, stranger):
    """The report of a job that asks for the hospital's strict scope, after the stranger was turned away."""
    job = export(federation, tiny_config, "strict", "--installed", scope="strict", min_clients=1)
    return report_of(federation, federation.submit(job, *lead), "strict", lead)


def test_an_update_whose_layers_a_filter_left_out_is_refused_with_the_name_of_one(strict):
    assert strict["participation"]["site-2"]["refused"] == [0, 1]
    (reason,) = {line["reason"] for entry in strict["rounds"] for line in entry["rejected"] if line["site"] == "site-2"}
    assert reason.startswith("Every shared tensor must come, ")
    assert "conv_final" in reason


@pytest.fixture(scope="module")
def tampered(federation, tiny_config, lead, other):
    """What watching says of jobs that were changed in the server's store after a lead had signed them."""
    harms = {"changed": change_a_file, "added": add_a_file, "forged": forge_with(other.kit("lead")), "bared": unsign}
    told = {}
    for name, harm in harms.items():
        job_id = federation.submit(wait_in_store(export(federation, tiny_config, name, "--installed")), *lead)
        stored = federation.kit("server") / "jobs-storage" / job_id
        change(stored, harm)
        until(lambda stored=stored: release(stored), f"the job {name} taken up")
        told[name] = federation.script("watch", job_id, *lead)
    return told


def change_a_file(app: Path) -> None:
    path = app / "config/config_fed_client.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 2, "more": 1'))


def add_a_file(app: Path) -> None:
    (app / "config/more.txt").write_text("not there when the job was signed")


def forge_with(kit: Path):
    def forge(app: Path) -> None:
        change_a_file(app)
        sign_folders(str(app), load_private_key_file(str(kit / "startup/client.key")), str(kit / "startup/client.crt"))

    return forge


def resign(app: Path, name: str, other: Path) -> None:
    """Put another signed folder's file into a folder, with that file's signature, as whoever stores both can."""
    signatures = [json.loads((folder / ".__nvfl_sig.json").read_text()) for folder in (app, other)]
    (app / name).write_bytes((other / name).read_bytes())
    (app / ".__nvfl_sig.json").write_text(json.dumps(signatures[0] | {name: signatures[1][name]}))


def unsign(app: Path) -> None:
    for path in app.rglob(".__nvfl_*"):
        path.unlink()


@pytest.mark.parametrize("harm", ["changed", "added", "forged"])
def test_a_job_that_is_not_as_it_was_signed_is_refused_by_the_server(tampered, harm):
    assert tampered[harm].code == 1
    assert "server: app app does not pass signature verification" in tampered[harm].err


def test_a_job_without_signature_is_refused_by_the_sites_though_the_server_takes_it(tampered):
    assert tampered["bared"].code == 1, tampered["bared"].out
    assert "site-1: unsigned job rejected" in tampered["bared"].err


def test_a_signature_does_not_say_to_which_job_a_file_belongs(tmp_path, federation):
    """What FLARE's signature leaves open, as docs/security.md says."""
    kit = federation.kit("lead") / "startup"
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "config.json").write_text(folder.name)
        sign_folders(str(folder), load_private_key_file(str(kit / "client.key")), str(kit / "client.crt"))
    resign(one, "config.json", two)
    assert verify_folder_signature(str(one), str(kit / "rootCA.pem"))
