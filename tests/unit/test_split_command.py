# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from brats2020 import case_id, write_name_mapping
from cases import write_case
from fedpac_me.cli import main
from fedpac_me.data.federation_split import read_split

pytestmark = pytest.mark.slow  # whole sites, processes or pages

NUMBERS = range(190, 240)  # TCIA02 24, TCIA03 12, TCIA04 8, TCIA05 4, TCIA06 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Fifty cases that bear the ids of five institutions, and the table that says so."""
    data = tmp_path_factory.mktemp("brats") / "data"
    for number in NUMBERS:
        write_case(data, case_id(number), edge=16, seed=number)
    write_name_mapping(data)
    return data


def split(folder, tmp_path, *words):
    out = tmp_path / "out" / "splits.json"
    assert main(["split", "--data", str(folder), "--out", str(out), *map(str, words)]) == 0
    return read_split(out), json.loads(out.with_name("splits.audit.json").read_text())


def sizes(found) -> dict[str, int]:
    return {name: len(cases.ids()) for name, cases in found.sites.items()}


def test_the_mapping_in_the_folder_is_found_and_the_audit_printed(folder, tmp_path, capsys):
    found, audit = split(folder, tmp_path)
    assert sizes(found) == {"TCIA02": 24, "TCIA03": 12, "TCIA04": 8, "TCIA05": 4, "TCIA06": 2}
    assert found.how == {"by": "institution", "seed": 0, "mapping": "name_mapping.csv"}
    assert audit["sites"]["TCIA05"]["grades"] == {"HGG": 4}
    printed = capsys.readouterr().out
    assert "lists 369 cases, of which 50 are here; 50 cases are here in all." in printed
    assert "No test case at TCIA06" in printed or "No validation case at TCIA06" in printed
    assert "\nTCIA02  train" in printed and "mL and raw intensities" in printed
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_small_sites_are_one_but_for_the_one_left_out(folder, tmp_path, capsys):
    found, _ = split(folder, tmp_path, "--min-cases", 10, "--leave-out", "TCIA06", "--no-images")
    assert sizes(found) == {"TCIA02": 24, "TCIA03": 12, "TCIA06": 2, "small": 12}
    assert (found.sites["TCIA06"].role, len(found.sites["TCIA06"].test)) == ("evaluate", 2)
    assert "Merged into the site 'small': TCIA04, TCIA05 (12 cases)." in capsys.readouterr().out


def test_a_case_has_one_part_whatever_makes_the_sites(folder, tmp_path):
    splits = [split(folder, tmp_path, "--no-images", *words)[0] for words in (["--by", "iid", "--sites", 3], [])]
    tests = [sorted(id_ for site in found.sites.values() for id_ in site.test) for found in splits]
    assert tests[0] == tests[1]


def test_the_same_seed_makes_the_same_file(folder, tmp_path):
    words = ["--by", "dirichlet", "--sites", "3", "--alpha", "1", "--no-images"]
    files = []
    for name, seed in (("one", "4"), ("two", "4"), ("three", "5")):
        out = tmp_path / name / "splits.json"
        assert main(["split", "--data", str(folder), "--out", str(out), "--seed", seed, *words]) == 0
        files.append(out.read_bytes())
    assert files[0] == files[1] != files[2]
    assert json.loads(files[0])["how"] == {
        "by": "dirichlet", "seed": 4, "sites": 3, "alpha": 1.0, "mapping": "name_mapping.csv",
    }  # fmt: skip


def test_a_fets_partitioning(folder, tmp_path):
    path = tmp_path / "partitioning_1.csv"
    path.write_text("Partition_ID,Subject_ID\n" + "".join(f"{1 + n % 2},{case_id(n)}\n" for n in NUMBERS))
    found, audit = split(folder, tmp_path, "--fets", path, "--no-images")
    assert sizes(found) == {"fets-01": 25, "fets-02": 25}
    assert found.how["fets"] == "partitioning_1.csv"
    assert audit["sites"]["fets-01"]["grades"] == {"HGG": 25}  # from the mapping in the folder


def test_a_mapping_from_elsewhere_and_physical_sites(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    lines = write_name_mapping(other).read_text().replace("BraTS19_TCIA03", "BraTS19_TCIA10")
    (other / "name_mapping.csv").write_text(lines)
    found, _ = split(
        folder, tmp_path, "--mapping", other / "name_mapping.csv", "--merge-physical-sites", "--no-images",
        "--leave-out", "TCIA06-TCIA12-TCIA13",
    )  # fmt: skip
    assert sizes(found) == {"TCIA02-TCIA10": 36, "TCIA04": 8, "TCIA05": 4, "TCIA06-TCIA12-TCIA13": 2}


def test_without_a_mapping_grades_come_from_the_cases(tmp_path):
    for number in range(20):
        case = write_case(tmp_path / "data", f"C_{number}", edge=16)
        (case / "acquisition.json").write_text(json.dumps({"grade": "LGG" if number < 10 else "HGG"}))
    found, audit = split(tmp_path / "data", tmp_path, "--by", "grade", "--no-images")
    assert sizes(found) == {"HGG": 10, "LGG": 10}
    assert audit["site_and_grade"]["normalised_mutual_information"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--fets", "x.csv", "--by", "iid"], "leave out --by"),
        (["--by", "grade", "--merge-physical-sites"], "goes with --by institution only"),
        (["--sites", "3"], "--sites goes with"),
        (["--by", "iid", "--alpha", "1"], "--alpha goes with"),
        (["--min-cases", "0"], "--min-cases is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--leave-out", "TCIA99"], "no site TCIA99 to leave out"),
        (["--mapping", "none.csv"], "none.csv cannot be read"),
        (["--by", "iid", "--sites", "51"], "no more than there are patients: 50"),
    ],
)
def test_bad_options_are_a_sentence_and_write_nothing(folder, tmp_path, capsys, words, sentence):
    assert main(["split", "--data", str(folder), "--out", str(tmp_path / "s.json"), "--no-images", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_cases_that_cannot_be_split_are_named(tmp_path, capsys):
    words = ["split", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "s.json")]
    write_case(tmp_path / "data", "C_1", edge=16)
    assert main(words) == 2
    assert "holds no name_mapping.csv. Name one with --mapping" in capsys.readouterr().err
    write_name_mapping(tmp_path / "data")
    assert main(words) == 2
    assert "name_mapping.csv does not know C_1" in capsys.readouterr().err
    (tmp_path / "data" / "C_1" / "C_1_seg.nii.gz").unlink()
    assert main(words) == 2
    assert "C_1 has no segmentation" in capsys.readouterr().err


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["split", "--help"])
    assert stop.value.code == 0
    assert "Example: fedpac-me split" in capsys.readouterr().out
