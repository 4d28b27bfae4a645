# SPDX-License-Identifier: Apache-2.0
"""Jobs without code, and jobs whose code is not what server or site really import: real processes, two hospitals."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import fedpac_me
from fedpac_me.code_version import hash_of, this_code
from fedpac_me.flare.processes import end_processes
from flare_tools import run_command
from poc_tools import Federation, free_port

OTHER_VERSION = "9.8.7"


@pytest.fixture(scope="module")
def federation(tmp_path_factory, hospitals):
    """Up while the tests of this file run."""
    made = Federation(tmp_path_factory.mktemp("delivery"))
    up = made.script("up", "2", "--data", hospitals, "--port", str(free_port()))
    try:
        assert up.code == 0, up.out + up.err
        yield made
    finally:
        end_processes(made.poc.workspace)


@pytest.fixture(scope="module")
def other_code(tmp_path_factory) -> Path:
    """A folder for PYTHONPATH with another version of the package."""
    folder = tmp_path_factory.mktemp("other")
    package = shutil.copytree(
        Path(fedpac_me.__file__).parent, folder / "fedpac_me", ignore=shutil.ignore_patterns("__pycache__")
    )
    first = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text(first.replace(f'"{fedpac_me.__version__}"', f'"{OTHER_VERSION}"'))
    return folder


def named(version: str, code: str) -> str:
    return f"fedpac-me {version} (code {code})"


def test_a_job_without_code_runs_on_the_installed_package(federation, tiny_config):
    job = federation.export(tiny_config, "bare", "--installed")
    assert not list(job.rglob("*.py"))
    job_id = federation.submit(job)
    watched = federation.script("watch", "--run", "runs/bare")
    assert watched.code == 0, watched.out + watched.err
    assert "byoc" not in federation.nvflare("job", "meta", job_id)
    ledger = json.loads(next((federation.place / "runs/bare").rglob("ledger.json")).read_text())
    assert [[line["site"] for line in entry["accepted"]] for entry in ledger["rounds"]] == [["site-1", "site-2"]] * 2


def test_a_job_that_brings_another_version_is_stopped_by_the_server(federation, tiny_config, other_code):
    federation.submit(federation.export(tiny_config, "other", PYTHONPATH=str(other_code)))
    watched = federation.script("watch")
    assert watched.code == 1, watched.out + watched.err
    here, there = this_code(), named(OTHER_VERSION, hash_of(other_code / "fedpac_me"))
    assert f"the server runs {named(here['version'], here['hash'])}, the job was written by {there}" in watched.err
    assert "round 1" not in watched.out


def test_a_site_with_another_version_is_refused_and_the_others_go_on(federation, tiny_config, other_code):
    workspace = {"NVFLARE_POC_WORKSPACE": str(federation.poc.workspace), "HOME": str(federation.place)}
    for words, environment in ((["stop"], {}), (["start", "--timeout", "120"], {"PYTHONPATH": str(other_code)})):
        command = [sys.executable, "-m", "nvflare.cli", "poc", *words, "-p", "site-2"]
        done = run_command(*command, cwd=federation.place, **workspace, **environment)
        assert done.code == 0, done.out + done.err
    federation.submit(federation.export(tiny_config, "skewed"))
    watched = federation.script("watch", "--run", "runs/skewed")
    assert watched.code == 0, watched.out + watched.err
    here, there = this_code(), named(OTHER_VERSION, hash_of(other_code / "fedpac_me"))
    sentence = f"site-2 runs {there}, the job was written by {named(here['version'], here['hash'])}"
    assert f"Update of site-2 refused: The code differs: {sentence}" in watched.out
    ledger = json.loads(next((federation.place / "runs/skewed").rglob("ledger.json")).read_text())
    for entry in ledger["rounds"]:
        assert [line["site"] for line in entry["accepted"]] == ["site-1"]
        assert [(line["site"], sentence in line["reason"]) for line in entry["rejected"]] == [("site-2", True)]
