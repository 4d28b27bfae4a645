# SPDX-License-Identifier: Apache-2.0
"""An exported job in which the server's part is not sent to the sites.

FLARE exports one app for everybody. Where the server's holds what the sites shall not have, such as a ledger with the
figures of all of them, it becomes an app of its own; then the sites must be named, since FLARE's ``@ALL`` cannot leave
out the server.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from nvflare.apis.fl_constant import SiteType
from nvflare.apis.job_def import JobMetaKey

from fedpac_me.flare.job_config import SERVER_FILE
from fedpac_me.storage import read_json, write_json

_CLIENT_FILE = "config_fed_client.json"


def separate_server(job: Path, sites: Iterable[str], only_server: Iterable[str]) -> None:
    """Split the app of the job folder ``job``; of its configuration the files ``only_server`` stay at the server."""
    (app,) = [path.parent.parent for path in job.glob(f"*/config/{SERVER_FILE}")]
    for_server, for_sites = job / "app_server", job / "app_sites"
    shutil.copytree(app, for_server)
    (for_server / "config" / _CLIENT_FILE).unlink()
    app.rename(for_sites)
    for name in (SERVER_FILE, *only_server):
        (for_sites / "config" / name).unlink()
    meta = read_json(job / "meta.json")
    deploy_map = {for_server.name: [SiteType.SERVER], for_sites.name: sorted(sites)}
    write_json(job / "meta.json", {**meta, JobMetaKey.DEPLOY_MAP.value: deploy_map})
