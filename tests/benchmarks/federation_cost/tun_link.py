# SPDX-License-Identifier: Apache-2.0
"""A slow, far link between this network namespace and a new one, of two TUN devices and a thread that carries packets.

Where a kernel has netem, ``tc qdisc add dev … root netem delay 100ms rate 10mbit`` does the same. This needs the TUN
driver only, which more kernels have, and the rights of root. Everything is gone with this process.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SERVER_ADDRESS = "10.77.0.1"
"""Of this side, whatever the link."""

_DEVICE = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST_PACKET = 65536
QUEUE_SECONDS = 0.2
"""What does not leave within this time is dropped, as a full router does, and TCP slows down."""


@dataclass
class Lane:
    """One direction. ``carried`` and ``dropped`` count bytes of IP packets."""

    source: int
    sink: int
    bits_per_second: float
    delay: float
    carried: int = 0
    dropped: int = 0
    _free_at: float = 0.0
    _under_way: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, now: float) -> None:
        """Read one packet, and decide when it arrives."""
        packet = os.read(self.source, _LARGEST_PACKET)
        if self._free_at - now > QUEUE_SECONDS:
            self.dropped += len(packet)
            return
        self._free_at = max(self._free_at, now) + 8 * len(packet) / self.bits_per_second
        self._under_way.append((self._free_at + self.delay, packet))

    def give(self, now: float) -> float:
        """Deliver what has arrived; returns when the next packet will, or infinity."""
        while self._under_way and self._under_way[0][0] <= now:
            packet = self._under_way.popleft()[1]
            with suppress(OSError):  # the device is down, as in the moment when a namespace ends
                os.write(self.sink, packet)
                self.carried += len(packet)
        return self._under_way[0][0] if self._under_way else float("inf")


class TunLink:
    """While entered, a network namespace that reaches this one, and nothing else, over a link of its own.

    Args:
        number: 1 to 254, another one for each link.
        bits_per_second, delay: of each direction; ``delay`` in seconds, so a round trip takes twice that.
    """

    def __init__(self, number: int, bits_per_second: float, delay: float) -> None:
        self._address = f"10.77.{number}.2"
        self._near, self._far = f"near{number}", f"far{number}"
        self._rate, self._delay = bits_per_second, delay

    def __enter__(self) -> TunLink:
        # The namespace lives as long as a process in it; an echo shows that it is there.
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.write(self._holder.stdin.fileno(), b"?")
        if os.read(self._holder.stdout.fileno(), 1) != b"?":
            raise OSError("`unshare --net` made no network namespace. It needs the rights of root.")
        near, far = _open_tun(self._near), _open_tun(self._far)
        _ip("link", "set", self._far, "netns", str(self._holder.pid))
        _bring_up([], self._near, SERVER_ADDRESS, self._address)
        _ip("link", "set", "lo", "up", through=self.through)
        _bring_up(self.through, self._far, self._address, SERVER_ADDRESS)
        self.down = Lane(near, far, self._rate, self._delay)
        self.up = Lane(far, near, self._rate, self._delay)
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._woken)
        self._thread.join()
        for descriptor in (self._wake, self.down.source, self.up.source):
            os.close(descriptor)
        self._holder.communicate()

    @property
    def through(self) -> list[str]:
        """The command in front of another that makes it run at the far side."""
        return ["nsenter", "--target", str(self._holder.pid), "--net"]

    def _carry(self) -> None:
        lanes = {lane.source: lane for lane in (self.down, self.up)}
        due = float("inf")
        while True:
            wait = None if due == float("inf") else max(0.0, due - time.monotonic())
            ready, _, _ = select.select([self._wake, *lanes], [], [], wait)
            if self._wake in ready:
                return
            now = time.monotonic()
            for descriptor in ready:
                lanes[descriptor].take(now)
            due = min(lane.give(now) for lane in lanes.values())


def why_not() -> str:
    """Why this machine cannot have such a link, as a sentence; empty where it can."""
    if os.geteuid() != 0:
        return "A network namespace with a slow link needs the rights of root."
    if not _DEVICE.exists():
        return f"A slow link needs the kernel's TUN driver; there is no {_DEVICE}."
    words = ["unshare", "--net", "ip", "tuntap", "add", "dev", "probe", "mode", "tun"]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError as error:
        return f"A slow link needs the commands `unshare` and `ip` (util-linux, iproute2): {error}."
    return f"A slow link cannot be made here: {done.stderr.strip()}" if done.returncode else ""


def _open_tun(name: str) -> int:
    descriptor = os.open(_DEVICE, os.O_RDWR)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


def _bring_up(through: list[str], device: str, here: str, there: str) -> None:
    """Give a device its two ends' addresses. Without IPv6 it carries nothing of its own accord."""
    _ip("link", "set", device, "addrgenmode", "none", through=through)
    _ip("address", "add", here, "peer", there, "dev", device, through=through)
    _ip("link", "set", device, "up", through=through)


def _ip(*words: str, through: list[str] | None = None) -> None:
    subprocess.run([*(through or []), "ip", *words], check=True)
