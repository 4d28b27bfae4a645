# SPDX-License-Identifier: Apache-2.0
"""Which code this is: the version that people name, and a hash that also tells two states of one version apart."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

import fedpac_me

_SOURCES = (".py", ".html")
_DIGITS = 12
"""Enough to tell states of one project apart; FLARE takes a longer one in a job for a secret and warns."""


@cache
def this_code() -> dict[str, str]:
    """``version`` and ``hash`` of the package that is really imported, wherever it came from."""
    return {"version": fedpac_me.__version__, "hash": hash_of(Path(fedpac_me.__file__).parent)}


def skew(where: str, job: Mapping[str, str]) -> str | None:
    """A sentence when the code ``where`` is not the code that wrote the job; ``None`` when it is."""
    here = this_code()
    if here == dict(job):
        return None
    return (
        f"The code differs: {where} runs {_named(here)}, the job was written by {_named(job)}. "
        "An installed package comes before the one in a job: install the job's version there, or write the job again."
    )


def hash_of(package: Path, without: Collection[str] = ()) -> str:
    """Hash of a package's sources. What FLARE or Python puts beside them, such as signatures, does not count.

    ``without`` names folders of the package that do not count either.
    """
    digest = hashlib.sha256()
    sources = [
        path
        for path in package.rglob("*")
        if path.suffix in _SOURCES and path.is_file() and path.relative_to(package).parts[0] not in without
    ]
    for path in sorted(sources, key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:_DIGITS]


def _named(code: Mapping[str, str]) -> str:
    return f"fedpac-me {code.get('version', 'without a version')} (code {code.get('hash', 'unknown')})"
