# SPDX-License-Identifier: Apache-2.0
"""The search that the leak tests trust finds a word wherever one could hide."""

from __future__ import annotations

import gzip
import io
import zipfile
from base64 import b64encode

import numpy as np
import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind
from torch.utils.tensorboard import SummaryWriter

from search import files_with

WORD = "PatientZero"


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def file_with(content: bytes):
    return lambda folder: (folder / "file").write_bytes(content)


TEXT = f"a scan of {WORD}_1_0".encode() + bytes(range(256)) * 8


@pytest.mark.parametrize(
    "hide",
    [
        file_with(TEXT),
        file_with(TEXT.lower()),
        file_with(gzip.compress(TEXT)),
        file_with(gzip.compress(TEXT)[:-40]),
        file_with(zipped("log.txt", TEXT)),
        file_with(zipped(f"{WORD}.txt", b"")),
        file_with(zipped("job.zip", zipped("log.gz", gzip.compress(TEXT)))),
        file_with(b'<img src="data:image/png;base64,' + b64encode(TEXT) + b'">'),
        lambda folder: (folder / f"{WORD}.png").write_bytes(b""),
        lambda folder: torch.save({"model": {WORD: torch.zeros(1)}}, folder / "model.pt"),
        lambda folder: DXO(DataKind.METRICS, data={"a": 1}, meta={"case": WORD}).to_file(str(folder / "result")),
        lambda folder: np.savez_compressed(folder / "model.npz", a=np.frombuffer(TEXT[: len(TEXT) - 8], np.uint8)),
    ],
)
def test_the_word_is_found(tmp_path, hide):
    (tmp_path / "other").write_bytes(b"nothing here")
    hide(tmp_path)
    assert [word for _, word in files_with([WORD, "Nobody"], [tmp_path])] == [WORD]


@pytest.mark.parametrize("write", ["tag", "text"])
def test_the_word_is_found_in_tensorboards_records(tmp_path, write):
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar(WORD, 1.0, 0) if write == "tag" else writer.add_text("note", WORD, 0)
    assert files_with([WORD], [tmp_path])


def test_nothing_is_found_where_nothing_is(tmp_path):
    (tmp_path / "file").write_bytes(gzip.compress(b"some patient"))
    assert files_with([WORD], [tmp_path]) == []
