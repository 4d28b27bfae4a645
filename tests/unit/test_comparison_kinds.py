# SPDX-License-Identifier: Apache-2.0
"""One comparison on federations of several kinds: named in runs, told kind by kind, each as if it were alone."""

from __future__ import annotations

import json

import pytest
from made_up_comparison import data_set, finish, method

from fedpac_me.cli import main
from fedpac_me.comparison.datasets import Phantom, opened
from fedpac_me.comparison.headline import headline
from fedpac_me.comparison.plan import PlannedRun, plan_runs
from fedpac_me.comparison.write import text_table, write_comparison
from fedpac_me.data.phantom.hospitals import plan_cases
from fedpac_me.data.phantom.kinds import KINDS

DATA = {"phantom-0": "demo", "phantom-1": "demo", "phantom-conflicting-0": "conflicting"}
SHIFTS = {"ours": {"demo": 1, "conflicting": 0}, "theirs": {"demo": 0, "conflicting": 2}}
"""By how many voxels predictions miss: on one kind theirs is better, on the other ours."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[PlannedRun]:
    out = tmp_path_factory.mktemp("kinds")
    data = [data_set(name, kind=kind) for name, kind in DATA.items()]
    planned = plan_runs([method(out, name) for name in SHIFTS], data, [0, 1], out)
    return [finish(run, SHIFTS[run.method.name][run.data.kind]) for run in planned]


@pytest.fixture(scope="module")
def comparison(runs):
    write_comparison(runs[0].out, runs, {}, "ours")
    return json.loads((runs[0].out / "comparison.json").read_text())


def test_each_kind_has_the_figures_of_its_own_data_sets(runs, comparison):
    kinds = comparison["kinds"]
    assert {kind: found["data"] for kind, found in kinds.items()} == {
        "demo": ["phantom-0", "phantom-1"], "conflicting": ["phantom-conflicting-0"],
    }  # fmt: skip
    assert [kinds[kind]["methods"]["ours"]["runs"] for kind in kinds] == [4, 2]
    for kind, better, worse in (("demo", "theirs", "ours"), ("conflicting", "ours", "theirs")):
        dice = {name: found["dice"]["seen"]["mean"] for name, found in kinds[kind]["methods"].items()}
        assert dice[better] > dice[worse]
    alone = write_comparison(runs[0].out / "alone", [run for run in runs if run.data.kind == "demo"], {}, "ours")
    assert alone["kinds"].keys() == {"demo"}
    assert kinds["demo"]["methods"]["ours"]["dice"] == alone["methods"]["ours"]["dice"]
    assert kinds["demo"]["tests"] == json.loads(json.dumps(alone["tests"]))


def test_the_page_and_the_terminal_tell_them_apart(runs, comparison):
    page = (runs[0].out / "comparison.html").read_text(encoding="utf-8")
    assert "<h2>Kind by kind</h2>" in page and "synthetic phantom data of the kind conflicting, not patients" in page
    lines = text_table(comparison).splitlines()
    assert "demo (phantom-0, phantom-1):" in lines
    below = lines[lines.index("conflicting (phantom-conflicting-0):") :]
    assert [line.split()[:2] for line in below[2:4]] == [["ours", "2"], ["theirs", "2"]]
    assert below[4:] == comparison["kinds"]["conflicting"]["sentences"] and "theirs (-" in below[4]


def test_the_headline_has_rows_of_each_kind(comparison):
    lines = headline(comparison).splitlines()
    rows = [line.split("|")[1:3] for line in lines if line.startswith("| demo") or line.startswith("| conflicting")]
    ours, theirs = " **Method ours (`ours`)** ", " Method theirs (`theirs`) "
    assert rows == [[f" {kind} ", method] for kind in ("demo", "conflicting") for method in (ours, theirs)]
    found = comparison["kinds"]["conflicting"]["methods"]["ours"]["dice"]["seen"]
    assert f"| **{found['mean']:.3f} ± {found['sd']:.3f}** |" in lines[4]
    assert len({line.count("|") for line in lines[:7]}) == 1 and "predicting no tumour" in lines[6]
    assert "phantom-conflicting-0 (each synthetic, 3 sites, 31 cases); training seeds" in lines[8]
    assert lines[-1] == f"- conflicting: {' '.join(comparison['kinds']['conflicting']['sentences'])}"


def test_one_kind_alone_is_not_told_twice(tmp_path):
    planned = plan_runs([method(tmp_path, "only")], [data_set(kind="demo")], [0], tmp_path)
    found = write_comparison(tmp_path, [finish(run, 1) for run in planned], {}, "only")
    assert "Kind by kind" not in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "houses (houses)" not in text_table(found) and headline(found).count("Method only") == 1


def test_a_dry_run_names_the_kind_of_every_run(tmp_path, capsys):
    words = ["--methods", "fedavg", "fedbn_nearest", "--seeds", "0", "--phantom-seeds", "0", "--phantom-kinds", *KINDS]
    assert main(["compare", *words, "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    for name in ("phantom-0", "phantom-conflicting-0", "phantom-one-scanner-0"):
        assert f"{name}: 145 cases of 5 sites (data not written yet)" in printed
        assert f"\nto do  fedbn_nearest, {name}, seed 0\n" in printed
    assert printed.endswith("6 runs, 0 done, 6 to do.\n") and not list(tmp_path.iterdir())


def test_an_unknown_kind_is_a_sentence(tmp_path, capsys):
    words = ["--methods", "fedavg", "--phantom-kinds", "demo", "easy", "--out", str(tmp_path / "out")]
    assert main(["compare", *words, "--dry-run"]) == 2
    assert "no phantom of the kind easy" in capsys.readouterr().err


def test_a_phantom_is_written_as_the_kind_that_it_is_called(tmp_path, monkeypatch):
    few = [plan for plan in plan_cases(1, KINDS["one-scanner"].hospitals) if plan.rng_key[2] == 0]
    monkeypatch.setattr("fedpac_me.data.phantom.writer.plan_cases", lambda seed, hospitals: few)
    phantom, lines = Phantom(tmp_path, 1, 24, "one-scanner"), []
    assert not phantom.written
    phantom.write(lines.append)
    assert phantom.written and phantom.folder.name == "phantom-one-scanner-1-size-24"
    assert "Writing the one-scanner phantom of seed 1 to" in lines[0]
    with opened([phantom.folder]) as (found,):
        assert (found.name, found.kind) == (phantom.folder.name, "one-scanner")
        assert found.facts["phantom"] == {"kind": "one-scanner", "version": 1, "seed": 1, "size": [24, 24, 24]}
