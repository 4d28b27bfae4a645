# SPDX-License-Identifier: Apache-2.0
"""A page of the documentation whose console blocks are run: its commands in order, in one shell, in a copy of the
project; what they print is what the page says, but for what no two runs have in common.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from nvflare.lighter.utils import load_yaml

from fedpac_me.flare.processes import end_processes
from fedpac_me.flare.project_file import server_port
from flare_tools import ROOT
from poc_tools import free_port

NOT_RUN = "not run: "
"""A comment before a block, with the reason why the tests cannot run it."""

_BLOCK = re.compile(rf"(?:<!-- {NOT_RUN}(?P<reason>[^\n]+) -->\n+)?```console\n(?P<text>.*?)```", re.DOTALL)
_COMMAND = re.compile(r"^\$ ", re.MULTILINE)
_PORT, _ANOTHER_PORT = "8002", "8012"
"""Those that the pages name: of ``poc/project.yml``, and one that the system does not keep from whoever comes next."""

_PLACE_ON_THE_PAGE = "/home/me/fedpac-me"
_END = "--- the command has ended"
_LONGEST_SECONDS = 1200

_MASKS = (
    (re.compile(r"\[\s*([\"']?[\w-]+[\"']?(,\s*|\s*(?=\])))*\]"), "[…]"),  # who is asked at this moment
    (re.compile(r"\{[\"']train[\"']: \[…\]\}"), "{}"),  # between two rounds nobody is
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|(?<=/poc-)[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"(?<=ID name: )(\S+).*"), r"\1"),  # what `nvflare job monitor` says of the moment when it began
    (re.compile(r"(, )?[\"'](mean_)?(dice_\w+|train_loss)[\"']: [\d.]+"), ""),  # known once a round has been heard
    (re.compile(r"about .* left"), "about … left"),
    (re.compile(r"-{9,}"), "---"),
    (re.compile(r"[+-]?\d+(\.\d+)?"), "N"),
)
_BY_CIRCUMSTANCE = (
    "Installing into",
    "The simulator has lost a site's process",
    "status: RUNNING",
    "round N so far",
)
"""Lines that depend on what is installed already, on whether another program took a port that FLARE's simulator had
picked (``test_lost_site.py``), or on when somebody looked; they are left out on both sides.
"""


@dataclass(frozen=True)
class Step:
    """A command of a page and what the page says that it prints."""

    command: str
    output: str


def steps(page: Path) -> list[Step]:
    """The commands that are run, in the order of the page."""
    found = []
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["reason"] is None:
            for part in _COMMAND.split(block["text"])[1:]:
                command, _, output = part.partition("\n")
                found.append(Step(command, output))
    return found


def reasons_not_run(page: Path) -> list[str]:
    """Why the other blocks are not run, one reason a block."""
    return [block["reason"] for block in _BLOCK.finditer(page.read_text(encoding="utf-8")) if block["reason"]]


def copy_of_project(place: Path) -> Path:
    """The project as a new clone has it, with this Python's environment as its ``.venv`` and a port of its own."""
    place.mkdir()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\n")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    (place / ".venv").symlink_to(Path(sys.prefix))
    project = place / "poc/project.yml"
    project.write_text(project.read_text().replace(_PORT, str(free_port())))
    return place


def check_page(page: Path, place: Path) -> None:
    """Run every command of ``page`` in ``place``; fails at the first that prints something else. Leaves nothing up."""
    shell = Shell(place)
    try:
        for step in steps(page):
            printed = shell.run(step.command)
            assert masked(printed, place) == masked(step.output, place), f"$ {step.command}\n{printed}"
    finally:
        shell.close()
        end_processes(place)


def masked(output: str, place: Path) -> list[str]:
    """The lines of an output without what differs from run to run, such as times and the last digits of Dice."""
    text = output.replace(str(place), _PLACE_ON_THE_PAGE)
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    lines = (" ".join(line.split()).rstrip(",") for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(_BY_CIRCUMSTANCE)]


class Shell:
    """A person's shell, which remembers variables from one command to the next."""

    def __init__(self, place: Path) -> None:
        # A make below another make announces its folder, which is not what a person sees.
        foreign = ("MAKE", "MFLAGS", "NVFLARE", "FEDPAC_ME_DATA")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        port = server_port(load_yaml(str(place / "poc/project.yml")))
        self._ports = {_PORT: str(port), _ANOTHER_PORT: str(free_port())}
        path = f"{place / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["bash"], cwd=place, env={**inherited, "PATH": path, "PWD": str(place), "HOME": str(place)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str) -> str:
        """What ``command`` prints; a port that it names is one of the copy's own."""
        command = re.sub("|".join(self._ports), lambda port: self._ports[port[0]], command)
        self._process.stdin.write(f"{{ {command}\n}} < /dev/null\nprintf '\\n%s\\n' '{_END}'\n")
        self._process.stdin.flush()
        too_long = threading.Timer(_LONGEST_SECONDS, self._process.kill)
        too_long.daemon = True  # or Ctrl-C would wait for it
        too_long.start()
        lines = []
        for line in self._process.stdout:
            if line.rstrip("\n") == _END:
                break
            lines.append(line)
        else:
            lines.append(f"The shell ended, perhaps after {_LONGEST_SECONDS} s.\n")
        too_long.cancel()
        return "".join(lines)

    def close(self) -> None:
        """End the shell and what it runs in the background."""
        if self._process.poll() is None:
            self.run("kill $(jobs -p)")
        self._process.stdin.close()
        self._process.wait(timeout=60)
