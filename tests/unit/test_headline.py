# SPDX-License-Identifier: Apache-2.0
"""The table that the README quotes: rendered from a comparison.json, put between markers, and still what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_comparison import data_set, finish, method

from fedpac_me.cli import main
from fedpac_me.comparison.headline import BEGIN, END, between_markers, headline, put_between_markers, read_comparison
from fedpac_me.comparison.plan import plan_runs
from fedpac_me.comparison.write import write_comparison
from fedpac_me.errors import InputError

ROOT = Path(__file__).parents[2]
README, COMPARISON = ROOT / "README.md", ROOT / "docs/results/comparison.json"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("headline")
    runs = plan_runs([method(out, "one"), method(out, "two")], [data_set()], [0, 1], out)
    for run in runs:
        finish(run, int(run.method.name == "two"), 0.5 + 0.1 * run.seed)
    write_comparison(out, runs, {}, "two")
    return out / "comparison.json"


def test_a_row_has_the_figures_of_its_method(comparison):
    found = read_comparison(comparison)
    lines = headline(found).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:5]] == [
        "Method one (`one`)", "**Method two (`two`)**", "predicting no tumour at all",
    ]  # fmt: skip
    dice = found["methods"]["one"]["dice"]
    assert lines[2].split(" | ")[2:4] == ["0.550 ± 0.050", f"{dice['seen']['mean']:.3f} ± 0.000"]
    assert f"**{found['methods']['two']['dice']['unseen']['mean']:.3f} ± 0.000** |" in lines[3]
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert lines[6].endswith("Data: houses (3 sites, 31 cases); training seeds 0, 1.")
    assert lines[8:] == [f"- houses: {' '.join(found['kinds']['houses']['sentences'])}"]


def test_only_what_is_between_the_markers_changes(comparison, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["headline", str(comparison), "--into", str(page)]) == 0
    once = page.read_text()
    assert once == f"before\n{BEGIN}\n{headline(read_comparison(comparison))}\n{END}\nafter\n"
    assert between_markers(once) == headline(read_comparison(comparison))
    assert main(["headline", str(comparison), "--into", str(page)]) == 0
    assert page.read_text() == once
    capsys.readouterr()
    assert main(["headline", str(comparison)]) == 0
    assert capsys.readouterr().out == headline(read_comparison(comparison)) + "\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_a_page_without_its_two_markers_is_refused(text):
    with pytest.raises(InputError, match="Expected one line"):
        put_between_markers(text, "table")
    assert between_markers("") is None


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 0, "methods": {}}'])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match="`fedpac-me compare`"):
        read_comparison(tmp_path / "c.json")


def test_the_readme_says_what_the_kept_comparison_says():
    """There is a kept comparison and its table in the README, the same to the last character, or neither."""
    kept = headline(read_comparison(COMPARISON)) if COMPARISON.exists() else None
    assert between_markers(README.read_text(encoding="utf-8")) == kept
