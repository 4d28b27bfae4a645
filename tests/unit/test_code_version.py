# SPDX-License-Identifier: Apache-2.0
"""Two states of the code have two hashes, and a difference is a sentence that names both."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import fedpac_me
from fedpac_me.code_version import hash_of, skew, this_code

PACKAGE = Path(fedpac_me.__file__).parent


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(PACKAGE, tmp_path / "fedpac_me", ignore=shutil.ignore_patterns("__pycache__"))


def test_a_copy_with_what_flare_and_python_add_is_the_same_code(copy):
    (copy / "data" / ".__nvfl_sig.json").write_text("{}")
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "cli.cpython-311.pyc").write_bytes(b"compiled")
    assert hash_of(copy) == this_code()["hash"]


@pytest.mark.parametrize(
    "change",
    [
        lambda package: (package / "config.py").write_text("# another line\n" + (package / "config.py").read_text()),
        lambda package: (package / "labels.py").rename(package / "labels2.py"),
        lambda package: (package / "evaluation" / "report.html").unlink(),
        lambda package: (package / "more.py").write_text(""),
    ],
    ids=["edited", "renamed", "removed", "added"],
)
def test_any_change_of_a_source_is_another_code(copy, change):
    change(copy)
    assert hash_of(copy) != this_code()["hash"]


def test_a_difference_names_both_and_where(copy):
    assert skew("site-1", this_code()) is None
    here = this_code()
    sentence = skew("site-1", {"version": "9.8.7", "hash": "0123456789ab"})
    assert f"site-1 runs fedpac-me {here['version']} (code {here['hash']})" in sentence
    assert "written by fedpac-me 9.8.7 (code 0123456789ab)" in sentence
    assert skew("site-1", {**here, "hash": "0123456789ab"}) is not None
    assert "fedpac-me without a version (code unknown)" in skew("site-1", {})
