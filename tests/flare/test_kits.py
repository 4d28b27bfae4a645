# SPDX-License-Identifier: Apache-2.0
"""What is put into a FLARE kit."""

from __future__ import annotations

import json

import pytest
from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST

from fedpac_me.data.site import SiteSettings, find_settings
from fedpac_me.flare.kits import allow_installed_package, write_settings


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
