# SPDX-License-Identifier: Apache-2.0
"""The commented sample of a site's settings says all of them, and a copy of it is a settings file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedpac_me.data.site import SiteSettings, read_settings
from fedpac_me.data.site_sample import sample_settings
from fedpac_me.errors import InputError

DATA_PAGE = Path(__file__).parents[2] / "docs/data.md"


def test_a_copy_of_the_sample_means_what_leaving_everything_out_means(tmp_path):
    path = tmp_path / "fedpac_me.json"
    path.write_text(sample_settings())
    assert read_settings(path) == SiteSettings(data=(Path("/path/to/cases"),))


def test_every_setting_has_its_explanation_above_it():
    for name, field in SiteSettings.model_fields.items():
        assert field.description, name
    assert len(re.findall(r'  // .*\n  "\w+": ', sample_settings())) == len(SiteSettings.model_fields)


def test_an_edited_sample_keeps_its_comments_and_slashes_in_values_are_none(tmp_path):
    path = tmp_path / "fedpac_me.json"
    path.write_text(sample_settings().replace('"/path/to/cases"', '["//share/a", "b"]').replace("auto", "cpu"))
    settings = read_settings(path)
    assert (settings.data, settings.device) == ((Path("//share/a"), tmp_path / "b"), "cpu")


def test_a_comment_behind_a_value_is_refused(tmp_path):
    path = tmp_path / "fedpac_me.json"
    path.write_text('{\n  "data": "a" // here\n}')
    with pytest.raises(InputError, match="is not a valid site settings file"):
        read_settings(path)


def test_the_page_on_data_lists_the_same_settings():
    listed = re.findall(r"^\| `(\w+)` \|", DATA_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(SiteSettings.model_fields)
