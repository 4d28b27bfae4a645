# SPDX-License-Identifier: Apache-2.0
"""The README's commands are run in a copy of the project, and what they print is what the README says.

Numbers are masked: times differ from run to run, and the last digits of Dice from one kind of CPU to the next.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flare_tools import ROOT

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_TIME_LEFT = re.compile(r"about .* left")
_BY_CIRCUMSTANCE = ("Installing into", "The simulator has lost a site's process")
"""Lines that depend on what is installed already, or on whether another program took a port that FLARE's simulator had
picked (``test_lost_site.py``), and so are left out on both sides. What comes after a restart must be the same."""


def blocks() -> list[tuple[str, str]]:
    """Command and expected output, in the order of the README."""
    found = []
    for block in _BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project as a new clone would have it, with this Python's environment as its ``.venv``."""
    place = tmp_path_factory.mktemp("readme") / "project"
    place.mkdir()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, listed):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    environment = Path(sys.prefix)
    (place / ".venv").symlink_to(environment)
    return place


def masked(output: str) -> list[str]:
    lines = [line for line in output.splitlines() if line and not line.startswith(_BY_CIRCUMSTANCE)]
    return [" ".join(_NUMBER.sub("N", _TIME_LEFT.sub("about … left", line)).split()) for line in lines]


def test_every_command_prints_what_the_readme_says(copy):
    path = f"{copy / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    # A make below another make announces its folder, which is not what a person sees.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment = {**inherited, "PATH": path, "PWD": str(copy)}
    environment.pop("FEDPAC_ME_DATA", None)
    for command, expected in blocks():
        done = subprocess.run(
            command, shell=True, cwd=copy, env=environment, text=True, timeout=1200,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert masked(done.stdout) == masked(expected), f"$ {command}\n{done.stdout}"


def test_the_readme_shows_each_entry_point():
    commands = " ".join(command for command, _ in blocks())
    for word in (
        "make demo",
        "fedpac-me phantom",
        "fedpac-me report",
        "fedpac-me predict",
        "--export",
        "nvflare simulator",
    ):
        assert word in commands
