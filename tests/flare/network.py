# SPDX-License-Identifier: Apache-2.0
"""A network of its own for one site, joined to the others' by a cable that a test can pull out."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

_SUBNETS = IPv4Network("10.77.0.0/16")


class Cable:
    """A network namespace and the pair of interfaces that joins it to this one. Needs root and ``ip``."""

    def __init__(self) -> None:
        # By this process, so that two test runs on one machine do not meet.
        self.namespace, self._here, self._there = (f"{letter}me{os.getpid()}" for letter in "nht")
        first = 4 * (os.getpid() % (_SUBNETS.num_addresses // 4))
        self._ours, self._theirs = str(_SUBNETS[first + 1]), str(_SUBNETS[first + 2])

    def lay(self) -> Cable:
        """Make namespace and cable. Raises ``OSError`` or ``CalledProcessError`` where that is not allowed."""
        _ip("netns", "add", self.namespace)
        _ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self.namespace)
        _ip("address", "add", f"{self._ours}/30", "dev", self._here)
        _ip("link", "set", self._here, "up")
        _ip("-n", self.namespace, "address", "add", f"{self._theirs}/30", "dev", self._there)
        for interface in (self._there, "lo"):
            _ip("-n", self.namespace, "link", "set", interface, "up")
        return self

    def lead(self, kit: Path) -> None:
        """Have a site's kit look for the server at this end of the cable."""
        path = kit / "startup" / "fed_client.json"
        content = json.loads(path.read_text())
        service = content["servers"][0]["service"]
        service["target"] = f"{self._ours}:{service['target'].rpartition(':')[2]}"
        path.write_text(json.dumps(content))

    def cut(self) -> None:
        """Pull it out: packets are lost, and no connection is told."""
        _ip("link", "set", self._here, "down")

    def mend(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self._here, "up")

    def remove(self) -> None:
        """Delete both, whatever of them there is."""
        with suppress(OSError, subprocess.CalledProcessError):
            _ip("netns", "delete", self.namespace)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
