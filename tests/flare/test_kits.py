# SPDX-License-Identifier: Apache-2.0
"""What is put into a FLARE kit."""

from __future__ import annotations

import json

import pytest
from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST

from fedpac_me.data.site import SiteSettings, find_settings
from fedpac_me.flare.kits import allow_installed_package, configure_kit, forbid_code, write_settings


def written(kit):
    return json.loads((kit / "local/resources.json").read_text())


@pytest.mark.parametrize("name", ["resources.json.default", "resources.json"])
def test_the_package_is_added_to_what_a_kit_allows_and_the_rest_stays(tmp_path, name):
    content = {"format_version": 2, "client": {"retry_timeout": 30}, "class_allow_list": ["nvflare.only.This"]}
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / name).write_text(json.dumps(content))
    allow_installed_package(tmp_path)
    allow_installed_package(tmp_path)
    assert written(tmp_path) == {**content, "class_allow_list": ["nvflare.only.This", "fedpac_me."]}


def test_where_nothing_is_listed_flares_own_list_is_extended(tmp_path):
    allow_installed_package(tmp_path)
    assert written(tmp_path)["class_allow_list"] == [*DEFAULT_CLASS_ALLOW_LIST, "fedpac_me."]


def test_settings_are_read_as_they_were_written(tmp_path):
    settings = SiteSettings(data=(tmp_path / "cases",), role="evaluate", splits=tmp_path / "splits.json")
    write_settings(tmp_path, settings)
    assert find_settings("site-1", kit=tmp_path / "local", environment={}) == settings


PROCESSES = {
    "id": "process_launcher",
    "path": "nvflare.app_common.job_launcher.client_process_launcher.ClientProcessJobLauncher",
    "args": {},
}
DOCKER = {"id": "docker", "path": "nvflare.app_opt.job_launcher.docker_launcher.ClientDockerJobLauncher", "args": {}}


def kit_of(folder, kind, components):
    for name in ("local", "startup"):
        (folder / name).mkdir()
    (folder / f"startup/fed_{kind}.json").write_text("{}")
    (folder / "local/resources.json.default").write_text(json.dumps({"format_version": 2, "components": components}))
    return folder


def test_a_site_keeps_its_jobs_processes_and_a_launcher_of_containers_stays(tmp_path):
    kit = kit_of(tmp_path, "client", [PROCESSES, DOCKER])
    configure_kit(kit)
    configure_kit(kit)
    keeper = {"id": "process_launcher", "path": "fedpac_me.flare.job_keeper.JobKeeper", "args": {}}
    assert written(kit)["components"] == [keeper, DOCKER]


def test_a_server_takes_sites_back_and_gives_memory_back_once(tmp_path):
    store = {"path": "nvflare.app_common.state_persistors.storage_state_persistor.StorageStatePersistor"}
    manager = {"id": "job_manager", "args": {"uri_root": "/tmp/nvflare/jobs-storage"}}
    kit = kit_of(tmp_path, "server", [manager])
    path = kit / "local/resources.json.default"
    snapshot = store | {"args": {"uri_root": "/", "storage": {"args": {"root_dir": "/tmp/nvflare"}}}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"snapshot_persistor": snapshot}))
    configure_kit(kit)
    configure_kit(kit)
    back = {"id": "returning_sites", "path": "fedpac_me.flare.returning_sites.ReturningSites", "args": {}}
    free = {"id": "freed_memory", "path": "fedpac_me.flare.freed_memory.FreedMemory", "args": {}}
    assert written(kit)["components"][1:] == [back, free]


def test_a_kit_that_takes_no_code_leaves_everything_else_as_flare_has_it(tmp_path):
    kit = kit_of(tmp_path, "client", [])
    lead = {"submit_job": "any", "byoc": "any"}
    usual = {"format_version": "1.0", "permissions": {"project_admin": "any", "lead": lead, "member": {"view": "any"}}}
    (kit / "local/authorization.json.default").write_text(json.dumps(usual))
    forbid_code(kit)
    forbid_code(kit)
    everything = {"submit_job": "any", "view": "any", "byoc": "none"}
    assert json.loads((kit / "local/authorization.json").read_text()) == {
        "format_version": "1.0",
        "permissions": {
            "project_admin": everything,
            "lead": {"submit_job": "any", "byoc": "none"},
            "member": {"view": "any", "byoc": "none"},
        },
    }
