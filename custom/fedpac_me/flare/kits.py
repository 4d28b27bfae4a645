# SPDX-License-Identifier: Apache-2.0
"""What this project puts into a FLARE kit: where a site's data is, what jobs may bring or use, what keeps a job up.

``job_keeper``, ``returning_sites`` and ``freed_memory`` say what FLARE does without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.widgets.component_path_authorizer import CLASS_ALLOW_LIST
from nvflare.lighter.utils import update_storage_locations

from fedpac_me.data.site import SETTINGS_FILE, SiteSettings, folder_settings
from fedpac_me.data.site_sample import SAMPLE_FILE, sample_settings
from fedpac_me.flare.freed_memory import FreedMemory
from fedpac_me.flare.job_keeper import JobKeeper
from fedpac_me.flare.returning_sites import ReturningSites
from fedpac_me.storage import read_json, write_json, write_text

PACKAGE = "fedpac_me."
"""FLARE reads an entry that ends in a dot as everything below."""

_RESOURCES = "resources.json"
_POLICY = "authorization.json"
_BRING_CODE = "byoc"
_LAUNCHERS = ("docker_launcher", "k8s_launcher", "slurm_launcher")
"""Components by which `nvflare deploy prepare` has a kit's jobs started."""


def is_server(kit: Path) -> bool:
    """Whether the kit is a server's."""
    return (kit / "startup" / "fed_server.json").is_file()


def is_site(kit: Path) -> bool:
    """Whether the kit is a hospital's."""
    return (kit / "startup" / "fed_client.json").is_file()


def is_prepared(kit: Path) -> bool:
    """Whether `nvflare deploy prepare` made the kit, for Docker, Kubernetes or Slurm."""
    return any(part.get("id") in _LAUNCHERS for part in _resources(kit / "local").get("components", []))


def configure_kit(kit: Path) -> None:
    """What a kit needs on the machine where it will run: the package allowed, a server's jobs kept in the kit, and for
    a site's engineer a sample of the settings.

    FLARE's own place for them is ``/tmp/nvflare``, where two servers would meet and a restart of the machine forgets.
    A server also takes back sites that come back and gives back memory, and a site keeps its jobs' processes up. Again
    on another machine, this puts right what was written here. An admin's kit needs nothing. In a prepared kit FLARE has
    placed the jobs, and has deleted the ``resources.json`` in which the package was allowed.
    """
    if is_server(kit):
        allow_installed_package(kit)
        if not is_prepared(kit):
            update_storage_locations(str(kit / "local"), str(kit.resolve()), default_resource_name=_RESOURCES)
        _change_components(kit, _with_servers_own)
    elif is_site(kit):
        allow_installed_package(kit)
        _change_components(kit, _with_job_keeper)
        write_text(kit / "local" / SAMPLE_FILE, sample_settings())


def allow_installed_package(kit: Path) -> None:
    """Add this package to the classes that a job without code of its own may use at the kit's site or server.

    A ``resources.json`` replaces FLARE's ``resources.json.default``, so it starts as a copy of that.
    """
    resources = _resources(kit / "local")
    allowed = resources.setdefault(CLASS_ALLOW_LIST, list(DEFAULT_CLASS_ALLOW_LIST))
    if PACKAGE not in allowed:
        allowed.append(PACKAGE)
    write_json(kit / "local" / _RESOURCES, resources)


def forbid_code(kit: Path) -> None:
    """Write the kit's ``authorization.json``: FLARE's own policy, but nobody's job may bring code."""
    local = kit / "local"
    policy = read_json(local / (_POLICY if (local / _POLICY).is_file() else f"{_POLICY}.default"))
    rights = {right for granted in policy["permissions"].values() if isinstance(granted, dict) for right in granted}
    for role, granted in policy["permissions"].items():
        spelled_out = granted if isinstance(granted, dict) else dict.fromkeys(sorted(rights), granted)
        policy["permissions"][role] = {**spelled_out, _BRING_CODE: "none"}
    write_json(local / _POLICY, policy)


def write_settings(kit: Path, settings: SiteSettings) -> None:
    """Write ``fedpac_me.json`` into the kit's ``local`` folder, every key spelled out so that it can be edited."""
    write_json(kit / "local" / SETTINGS_FILE, settings.model_dump(mode="json", exclude_none=True))


def write_settings_of_all(kits: Path, sites: Iterable[str], data: Path) -> None:
    """Point the kit of each site to the folder of its name below ``data``, on one machine that has them all."""
    for site in sites:
        write_settings(kits / site, folder_settings(data.resolve() / site))


def _change_components(kit: Path, change: Callable[[list[dict]], list[dict]]) -> None:
    resources = _resources(kit / "local")
    write_json(kit / "local" / _RESOURCES, {**resources, "components": change(resources.get("components", []))})


def _with_servers_own(components: list[dict]) -> list[dict]:
    known = {component.get("path") for component in components}
    own = {"returning_sites": _path(ReturningSites), "freed_memory": _path(FreedMemory)}
    added = [{"id": name, "path": path, "args": {}} for name, path in own.items() if path not in known]
    return [*components, *added]


def _with_job_keeper(components: list[dict]) -> list[dict]:
    """In place of FLARE's launcher of processes; one for Docker, Kubernetes or Slurm stays."""
    usual, keeper = _path(ClientProcessJobLauncher), {"path": _path(JobKeeper), "args": {}}
    return [component | keeper if component.get("path") == usual else component for component in components]


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _resources(local: Path) -> dict:
    for name in (_RESOURCES, f"{_RESOURCES}.default"):
        if (local / name).is_file():
            return read_json(local / name)
    return {"format_version": 2}
