# SPDX-License-Identifier: Apache-2.0
"""Reading every case once before anything starts, so that bad data stops a run before it, not in round 7."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from fedpac_me.config import DataConfig
from fedpac_me.data.layouts import Case
from fedpac_me.data.pooling import site_folders
from fedpac_me.data.scan import load_scan
from fedpac_me.data.site import folder_settings
from fedpac_me.data.splits import site_cases
from fedpac_me.errors import InputError

_FINDINGS_SHOWN = 5


def check_root(root: Path, config: DataConfig, progress: Callable[[str], None] = print) -> dict[str, int]:
    """Number of cases of each site below ``root``, every one of them read and found usable.

    Raises:
        InputError: there is no such folder, it holds no site, or cases are unusable (the first few are named).
    """
    sites = {folder.name: _cases_of(folder) for folder in require_sites(root)}
    cases = [case for members in sites.values() for case in members]
    progress(f"Reading {len(cases)} cases of {len(sites)} sites once to check them ...")
    findings = _find_faults(cases, config)
    if findings:
        more = f" (and {len(findings) - _FINDINGS_SHOWN} more)" if len(findings) > _FINDINGS_SHOWN else ""
        raise InputError("\n".join(findings[:_FINDINGS_SHOWN]) + more)
    return {site: len(members) for site, members in sites.items()}


def require_sites(root: Path) -> list[Path]:
    """The site folders below ``root``, by name; no case is read.

    Raises:
        InputError: there is no such folder, or it holds no site.
    """
    if not root.is_dir():
        raise InputError(
            f"There is no data folder {root}. Name an existing one; `fedpac-me phantom --out DIR` writes an example."
        )
    folders = site_folders(root)
    if not folders:
        raise InputError(f"{root} holds no site folders. Expected one folder a hospital, each with one folder a case.")
    return folders


def _cases_of(folder: Path) -> list[Case]:
    settings = folder_settings(folder)
    parts = site_cases(settings).parts()
    return [case for members in parts.values() for case in members]


def _find_faults(cases: Sequence[Case], config: DataConfig) -> list[str]:
    # Threads suffice: unpacking and arithmetic, where the time goes, let go of the interpreter.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [fault for fault in pool.map(partial(_fault, config=config), cases) if fault]


def _fault(case: Case, config: DataConfig) -> str | None:
    try:
        load_scan(case, config.max_missing_modalities, resample=config.resample)
    except InputError as error:
        return str(error)
    return None
