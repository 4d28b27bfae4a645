# SPDX-License-Identifier: Apache-2.0
"""The package inside a job: what server and sites run is what the job was made with."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from nvflare.job_config.api import FedJob

import fedpac_me


def bundle_package(job: FedJob, installed: bool = False) -> tempfile.TemporaryDirectory | None:
    """Put this package into ``job``, or nothing of it where server and sites have it ``installed``.

    What is returned must live until the job is exported or run.
    """
    # As a folder: FLARE's own tracing of imports would lose its sub-packages.
    job.job.set_app_packages([Path(fedpac_me.__file__).parent.name])
    if installed:
        return None
    code = _staged_package()
    job.to_server(code.name)
    job.to_clients(code.name)
    return code


def _staged_package() -> tempfile.TemporaryDirectory:
    """A folder with nothing but the package: FLARE copies folders whole, caches and build leftovers included."""
    stage = tempfile.TemporaryDirectory(prefix="fedpac_me_job_")
    package = Path(fedpac_me.__file__).parent
    shutil.copytree(package, Path(stage.name) / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return stage
