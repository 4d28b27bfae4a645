# SPDX-License-Identifier: Apache-2.0
"""Looks for words in files and in what is packed into them."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from base64 import b64decode
from collections.abc import Iterable, Iterator
from pathlib import Path

_INLINE = re.compile(rb"base64,([A-Za-z0-9+/]+={0,2})")


def files_with(words: Iterable[str], places: Iterable[Path]) -> list[tuple[Path, str]]:
    """The files at or below ``places`` that hold one of ``words`` in any case, with the word; packed content too."""
    wanted = [(word, word.lower().encode()) for word in words]
    found = []
    for path in sorted({path for place in places for path in (place, *place.rglob("*")) if path.is_file()}):
        layers = [path.name.encode(), *unpacked(path.read_bytes())]
        found += [(path, word) for word, code in wanted if any(code in layer.lower() for layer in layers)]
    return found


def unpacked(content: bytes) -> Iterator[bytes]:
    """The content itself and everything in it that is a zip archive, gzip or inline base64, however deep.

    What is left as it is holds text in the open: FLARE's message files, TensorBoard's records, weights, logs.
    """
    yield content
    parts = [b64decode(code + b"=" * (-len(code) % 4)) for code in _INLINE.findall(content)]
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts += [part for entry in archive.infolist() for part in (entry.filename.encode(), archive.read(entry))]
    if content[:2] == b"\x1f\x8b":
        parts.append(_as_far_as_it_goes(content))
    for part in parts:
        yield from unpacked(part)


def _as_far_as_it_goes(content: bytes) -> bytes:
    """What a gzip stream holds, cut off or not."""
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error):
        return zlib.decompressobj(wbits=31).decompress(content)
