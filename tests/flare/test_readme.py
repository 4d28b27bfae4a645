# SPDX-License-Identifier: Apache-2.0
"""The commands of the README and of docs/poc.md are run, and print what the pages say (``console_page.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from console_page import check_page, copy_of_project, reasons_not_run, steps
from flare_tools import ROOT

README, POC = ROOT / "README.md", ROOT / "docs/poc.md"


@pytest.mark.parametrize("page", [README, POC], ids=lambda page: page.name)
def test_every_command_prints_what_the_page_says(page, tmp_path):
    check_page(page, copy_of_project(tmp_path / "project"))


def test_the_readme_names_the_job_of_every_configuration():
    listed = next(step.output for step in steps(README) if step.command == "make jobs")
    configs = {path.stem for path in (ROOT / "app_configs").glob("*.json")} - {"base"}
    assert {Path(line).name for line in listed.split()[2::3]} == configs


def test_few_blocks_are_not_run_and_each_says_why():
    assert reasons_not_run(README) == []
    assert len(reasons_not_run(POC)) == 2


def test_the_readme_shows_each_entry_point():
    commands = " ".join(step.command for step in steps(README))
    for word in (
        "make demo",
        "fedpac-me phantom",
        "fedpac-me report",
        "fedpac-me predict",
        "--export",
        "nvflare simulator",
        *(f"poc/{script}.sh" for script in ("up", "submit", "watch", "down")),
        *(f"nvflare job {verb}" for verb in ("submit", "list", "monitor", "stats", "logs", "download", "abort")),
        *("list_jobs", "show_stats", "show_errors", "abort_job"),
    ):
        assert word in commands
    on_poc_page = " ".join(step.command for step in steps(POC))
    for word in ("nvflare poc prepare", "nvflare poc start", "nvflare poc stop", "poc/provision.sh", "poc/rehearse.sh"):
        assert word in on_poc_page


def test_no_command_is_shown_on_both_pages():
    shown = [{step.command for step in steps(page)} for page in (README, POC)]
    assert not shown[0] & shown[1]
