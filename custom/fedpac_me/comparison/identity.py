# SPDX-License-Identifier: Apache-2.0
"""What a result follows from: the configuration, the data by content, and the code. Two of a kind are one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import fedpac_me
from fedpac_me.code_version import hash_of
from fedpac_me.data.layouts import ACQUISITION_FILE, SEGMENTATION, Case
from fedpac_me.data.site import SiteSettings
from fedpac_me.data.splits import Split
from fedpac_me.errors import InputError
from fedpac_me.hardware import versions

RUN_FORMAT = 1
"""Raised whenever the folder of a run would hold something else."""

_WITHOUT_INFLUENCE = ("cli", "comparison", "data_stats", "flare", "page")
"""Parts of the package that no figure of a run in one process comes from."""

_OTHER_PACKAGES = ("fedpac-me", "nvflare")
"""Their versions say nothing here: the code has a hash, and FLARE takes no part."""

_DIGITS = 12


@cache
def run_code() -> dict[str, str]:
    """Everything of the code that a run's figures may depend on, to the last bit."""
    package = Path(fedpac_me.__file__).parent
    code = hash_of(package, without=_WITHOUT_INFLUENCE)
    packages = {name: version for name, version in versions().items() if name not in _OTHER_PACKAGES}
    return {"format": str(RUN_FORMAT), "code": code, **packages}


def data_hash(sites: Mapping[str, tuple[SiteSettings, Split]]) -> str:
    """Hash of a federation's data: names and roles of its sites, and each part's files by content, in order.

    Neither folders nor the ids of cases enter it.

    Raises:
        InputError: a file cannot be read.
    """
    cases = [case for _, split in sites.values() for part in split.parts().values() for case in part]
    # Threads suffice: hashing lets go of the interpreter.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = iter(list(pool.map(_case_hash, cases)))
    content = {
        name: {"role": settings.role, **{part: [next(hashes) for _ in of] for part, of in split.parts().items()}}
        for name, (settings, split) in sites.items()
    }
    return digest(content)


def digest(content: Any) -> str:
    """First 12 hex digits of the SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _case_hash(case: Case) -> str:
    files = {**case.images, **({SEGMENTATION: case.seg} if case.seg is not None else {})}
    acquisition = next(iter(files.values())).parent / ACQUISITION_FILE
    if acquisition.is_file():
        files["acquisition"] = acquisition
    found = {"layout": case.layout.key}
    for part, path in files.items():
        try:
            with open(path, "rb") as file:
                found[part] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}. Make it readable, or take the case away.") from None
    return digest(found)
