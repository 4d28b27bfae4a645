# SPDX-License-Identifier: Apache-2.0
"""Arrays on disk: numbers in, the same numbers out, and nothing else."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from fedpac_me.array_file import read_arrays, write_arrays


def test_what_is_read_is_what_was_written(tmp_path):
    arrays = {"a/b.c": np.float32([[1, np.nan]]), "scalar": np.array(2.5), "empty": np.zeros((0, 3), np.int64)}
    # Names that NumPy's own writer would take for its keywords.
    arrays |= {name: np.ones(1) for name in ("file", "x.npy", *inspect.signature(np.savez).parameters)}
    write_arrays(tmp_path / "file.npz", arrays)
    read = read_arrays(tmp_path / "file.npz")
    assert {name: (v.dtype, v.shape, v.tobytes()) for name, v in read.items()} == {
        name: (v.dtype, v.shape, v.tobytes()) for name, v in arrays.items()
    }


def test_objects_are_not_written_and_what_lay_there_stays(tmp_path):
    path = tmp_path / "file.npz"
    write_arrays(path, {"a": np.ones(2)})
    with pytest.raises(ValueError, match="The array 'b' holds objects"):
        write_arrays(path, {"a": np.zeros(2), "b": np.array([{}], dtype=object)})
    assert read_arrays(path)["a"].tolist() == [1, 1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.npz"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", None], ids=range(4))
def test_anything_else_is_told(tmp_path, content):
    path = tmp_path / "file.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^\w+: "):
        read_arrays(path)


def test_objects_are_not_read(tmp_path):
    path = tmp_path / "file.npz"
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        read_arrays(path)
