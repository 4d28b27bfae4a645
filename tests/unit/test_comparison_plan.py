# SPDX-License-Identifier: Apache-2.0
"""Which runs a comparison consists of: methods by name, data by content, results by what they follow from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from made_up_comparison import data_set, method

from brats2020 import SOURCES, case_id, write_name_mapping
from cases import write_case
from fedpac_me.cli import main
from fedpac_me.comparison import identity
from fedpac_me.comparison.datasets import opened
from fedpac_me.comparison.methods import compute_of, load_methods
from fedpac_me.comparison.plan import IDENTITY_FILE, plan_runs, stale_lines
from fedpac_me.config import load_config
from fedpac_me.errors import InputError

VARIANTS = Path(__file__).parents[1] / "benchmarks/variants"


def test_methods_are_files_of_app_configs_ablations_and_paths(tmp_path):
    own = method(tmp_path, "mine").path
    methods = load_methods(["fedavg", "without_mpa", "ablations/without_own", str(own)], rounds=3)
    assert [found.name for found in methods] == ["fedavg", "without_mpa", "without_own", "mine"]
    assert {found.config.federation.rounds for found in methods} == {3}
    assert methods[0].with_seed(7).seed == 7 and methods[0].with_seed(7).federation.rounds == 3


def test_the_variants_that_were_measured_are_methods():
    files = sorted(VARIANTS.rglob("*.json"))
    assert [method.name for method in load_methods(list(map(str, files)))] == [path.stem for path in files] != []


def test_a_budget_is_times_a_methods_own_rounds():
    (half,) = load_methods(["fedavg"], budget=0.5)
    (little,) = load_methods(["fedavg"], budget=0.001)
    assert (half.config.federation.rounds, little.config.federation.rounds) == (14, 1)


def test_an_unknown_method_and_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no method fedavgg.*fedbn"):
        load_methods(["fedavgg"])
    with pytest.raises(InputError, match="Two of the methods call themselves fedavg"):
        load_methods(["fedavg", str(method(tmp_path, "fedavg").path)])


def test_compute_counts_all_sites_and_one_where_cases_are_pooled():
    fedavg, central = (load_config(f"app_configs/{name}.json") for name in ("fedavg", "central"))
    assert compute_of(fedavg, 4).voxels == compute_of(central, 4).voxels == 20 * 2 * 28 * 4 * 32**3
    assert compute_of(fedavg, 5).voxels > compute_of(central, 5).voxels
    assert compute_of(central, 4).sentence == "80 steps × batch 2 × 28 rounds at 1 site = 4480 crops of 32³ voxels"


@pytest.fixture
def hospitals(tmp_path):
    root = tmp_path / "first" / "hospitals"
    for site in ("a", "b"):
        ids = [f"{site}_{number}" for number in range(4)]
        for number, case in enumerate(ids):
            write_case(root / site, case, edge=16, seed=number)
        split = {"train": ids[:2], "validation": ids[2:3], "test": ids[3:]}
        (root / site / "splits.json").write_text(json.dumps(split))
    return root


def hash_at(root) -> str:
    with opened([root]) as (found,):
        return found.hash


def test_data_is_known_by_content_wherever_it_lies(hospitals, tmp_path):
    before = hash_at(hospitals)
    moved = shutil.copytree(hospitals, tmp_path / "second" / "other")
    assert hash_at(moved) == before
    (moved / "b" / "site.json").write_text('{"role": "evaluate"}')
    as_unseen = hash_at(moved)
    shutil.copy(moved / "a" / "a_0" / "a_0_t1.nii.gz", moved / "a" / "a_0" / "a_0_t2.nii.gz")
    assert len({before, as_unseen, hash_at(moved)}) == 3


def test_sites_and_their_cases_are_counted(hospitals):
    with opened([hospitals]) as (found,):
        assert found.name == "hospitals" and found.training_sites == 2
        assert found.facts["sites"]["a"] == {"role": "train", "train": 2, "validation": 1, "test": 1}


def test_sites_may_train_on_fewer_cases_and_that_is_other_data(hospitals):
    with opened([hospitals], train_cases=1) as (few,):
        assert [site["train"] for site in few.sites.values()] == [1, 1]
        assert [site["test"] for site in few.sites.values()] == [1, 1]
        assert few.hash != hash_at(hospitals)
    with opened([hospitals], train_cases=9) as (all_of_them,):
        assert all_of_them.hash == hash_at(hospitals)


def test_data_that_cannot_be_compared_on_is_refused(hospitals, tmp_path):
    for site in ("a", "b"):
        (hospitals / site / "site.json").write_text('{"role": "evaluate"}')
    with pytest.raises(InputError, match="No site of hospitals trains"), opened([hospitals]):
        pass
    with pytest.raises(InputError, match="Two data sets are called hospitals"), opened([hospitals, hospitals]):
        pass
    with pytest.raises(InputError, match="no data folder"), opened([tmp_path / "none"]):
        pass


def test_a_run_is_its_configuration_data_and_code(tmp_path, monkeypatch):
    one, other = method(tmp_path, "one"), method(tmp_path, "other")
    data, elsewhere = data_set(), data_set("elsewhere")
    runs = plan_runs([one, other], [data, elsewhere], [0, 1], tmp_path)
    assert len({run.folder for run in runs}) == 8
    assert [run.title for run in runs[:3]] == ["one, houses, seed 0", "other, houses, seed 0", "one, elsewhere, seed 0"]
    before = runs[0].folder
    monkeypatch.setattr("fedpac_me.comparison.plan.run_code", lambda: {"code": "changed"})
    changed = plan_runs([one], [data], [0], tmp_path)[0].folder
    monkeypatch.setattr("fedpac_me.comparison.plan.machine", lambda: {"accelerator": "another"})
    assert len({before, changed, plan_runs([one], [data], [0], tmp_path)[0].folder}) == 3


def test_what_no_longer_holds_is_not_reused_and_said(tmp_path):
    (run,) = plan_runs([method(tmp_path, "one")], [data_set()], [0], tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / IDENTITY_FILE).write_text(json.dumps({**run.identity, "code": {"code": "old"}}))
    assert run.done
    (again,) = plan_runs([method(tmp_path, "one", learning={"batch": 3})], [data_set()], [0], tmp_path)
    assert not again.done
    (line,) = stale_lines([again])
    made = "it was made with another configuration and other code"
    assert line.startswith(f"Not reused: {run.folder.name}, since {made}.")
    (run.folder / IDENTITY_FILE).write_text("{")
    assert "since its identity.json cannot be read." in stale_lines([again])[0]


def test_the_code_of_a_run_leaves_out_what_no_figure_comes_from(tmp_path):
    package = tmp_path / "package"
    for name in ("engine.py", "cli/x.py", "model/y.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("1")
    hashes = [identity.hash_of(package, ("cli",))]
    for name in ("cli/x.py", "model/y.py"):
        (package / name).write_text("2")
        hashes.append(identity.hash_of(package, ("cli",)))
    assert hashes[0] == hashes[1] != hashes[2]
    assert {"code", "torch", "numpy"} <= identity.run_code().keys()


def test_a_seed_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="Each seed"):
        plan_runs([method(tmp_path, "one")], [data_set()], [1, 1], tmp_path)


def test_a_dry_run_lists_runs_and_writes_nothing(tmp_path, capsys):
    words = [
        "compare",
        "--methods",
        "fedavg",
        "fedpac_me",
        "--seeds",
        "0,1",
        "--out",
        str(tmp_path / "out"),
        "--dry-run",
    ]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "phantom-0: 145 cases of 5 sites (data not written yet)" in printed
    assert "  site-5  evaluate      0           0    20" in printed
    assert printed.count("\nto do  ") == 8 and printed.endswith("8 runs, 0 done, 8 to do.\n")
    assert "\nto do  fedavg, phantom-0, seed 0\n" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--methods", "nothing"], "There is no method nothing"),
        (["--methods", "fedavg", "--reference", "fedbn"], "--reference fedbn is none of the methods"),
        (["--methods", "fedavg", "--data", "nowhere"], "There is no data folder nowhere"),
    ],
)
def test_a_wrong_request_is_a_sentence(words, sentence, tmp_path, capsys):
    assert main(["compare", *words, "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--seeds", "0,x"], "expected whole numbers with commas between them, such as 0,1,2, not 0,x"),
        (["--rounds", "many"], "expected a whole number of 1 or more, not many"),
        (["--jobs", "0"], "expected a whole number of 1 or more, not 0"),
        (["--budget", "half"], "expected a number above 0, not half"),
    ],
)
def test_a_wrong_number_is_a_sentence(words, sentence, capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--methods", "fedavg", *words])
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_brats2020s_institutions_are_planned_from_its_folder(tmp_path, capsys):
    folder = tmp_path / "MICCAI_BraTS2020_TrainingData"
    model = write_case(tmp_path, "model", edge=16)
    for number in range(1, 370):
        for path in model.iterdir():
            name = path.name.replace("model", case_id(number))
            (folder / case_id(number)).mkdir(parents=True, exist_ok=True)
            (folder / case_id(number) / name).hardlink_to(path)
    write_name_mapping(folder)
    words = ["--methods", "fedavg", "fedbn", "fedpac_me", "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(["compare", "--data", str(folder), *words]) == 2
    assert "Make their sites with `fedpac-me split" in capsys.readouterr().err

    splits = tmp_path / "institutions.json"
    assert main(["split", "--data", str(folder), "--no-images", "--leave-out", "TMC", "--out", str(splits)]) == 0
    capsys.readouterr()
    assert main(["compare", "--data", str(splits), *words]) == 0
    printed = capsys.readouterr().out
    sizes: dict[str, int] = {}
    for name, _, first, last in SOURCES:
        sizes[name] = sizes.get(name, 0) + last - first + 1
    assert f"institutions: 369 cases of {len(sizes)} sites" in printed
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith("  ")}
    for name, size in sizes.items():
        role, *parts = lines[name]
        assert sum(map(int, parts)) == size
        assert role == ("evaluate" if name == "TMC" else "train")
    assert lines["TMC"] == ["evaluate", "0", "0", "9"]
    assert printed.endswith("9 runs, 0 done, 9 to do.\n")
    assert not (tmp_path / "out").exists()
