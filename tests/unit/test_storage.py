# SPDX-License-Identifier: Apache-2.0
"""Files are whole or they are the old ones, however full the disk is."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fedpac_me import storage
from fedpac_me.learning.site_state import SiteState


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB, where this user may make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.json"
    storage.write_json(path, {"round": 1})
    for step in ("fsync", "chmod", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, step, refuse)
            with pytest.raises(OSError, match="No space left"):
                storage.write_json(path, {"round": 2})
        assert storage.read_json(path) == {"round": 1}
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="Out of range float"):
        storage.write_json(path, float("nan"))
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_what_was_saved(small_disk: Path) -> None:
    path = small_disk / "ledger.json"
    storage.write_text(path, "a" * 50_000)
    with pytest.raises(OSError, match="No space left on device"):
        storage.write_text(path, "b" * 300_000)
    assert path.read_text() == "a" * 50_000
    assert list(small_disk.iterdir()) == [path]
    storage.write_text(path, "c" * 50_000)
    assert path.read_text() == "c" * 50_000


def test_a_full_disk_keeps_the_state_that_a_site_has(small_disk: Path) -> None:
    small, large = torch.ones(1000), torch.ones(100_000)
    SiteState({}, {"w": small}).save(small_disk, 3)
    with pytest.raises((OSError, RuntimeError)):
        SiteState({}, {"w": large}).save(small_disk, 4)
    assert torch.equal(SiteState.load(small_disk, torch.device("cpu")).weights["w"], small)
    assert [entry.name for entry in small_disk.iterdir()] == ["state-3.pt"]


def test_the_mode_of_a_file_is_what_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        storage.write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
