# SPDX-License-Identifier: Apache-2.0
"""What a result was computed with: versions and machine, for the report and the tables."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import fedpac_me

_PACKAGES = ("nvflare", "torch", "monai", "nibabel", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Versions of Python, this project and what it stands on."""
    found = {"fedpac-me": fedpac_me.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str]:
    """Processor, cores and accelerator in words; no host name."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": _cpu_name(), "cores": str(os.cpu_count()), "accelerator": accelerator, "system": platform.system()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
