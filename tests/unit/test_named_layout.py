# SPDX-License-Identifier: Apache-2.0
"""A folder whose cases hold the files of two layouts, as one leaves behind that was renamed by copying."""

import json
import shutil
from pathlib import Path

import pytest

from cases import write_case
from fedpac_me.cli import main
from fedpac_me.data.federation_split import read_split, site_root
from fedpac_me.data.layouts import FROM_2023, UP_TO_2022
from fedpac_me.data.pooling import POOLED_SITE, write_pooled_root
from fedpac_me.data.site import folder_settings
from fedpac_me.data.splits import site_cases
from fedpac_me.errors import InputError

NEW_NAMES = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f", "seg": "seg"}


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    for number in range(40):
        case = write_case(folder, f"Case_{number:03}", edge=16, seed=number)
        for old, new in NEW_NAMES.items():
            shutil.copy(case / f"{case.name}_{old}.nii.gz", case / f"{case.name}-{new}.nii.gz")
    return folder


def split(data: Path, out: Path, *options: str) -> int:
    return main(
        ["split", "--data", str(data), "--by", "iid", "--sites", "2", "--no-images", "--out", str(out), *options]
    )


def test_without_a_name_the_way_out_is_said(data, tmp_path, capsys):
    assert split(data, tmp_path / "splits.json") == 2
    assert "--layout of check-data and split" in capsys.readouterr().err
    assert not (tmp_path / "splits.json").exists()


@pytest.mark.parametrize("layout", [UP_TO_2022, FROM_2023])
def test_the_named_layout_goes_from_the_split_to_every_site_that_is_made_of_it(data, tmp_path, layout, capsys):
    out = tmp_path / "splits.json"
    assert split(data, out, "--layout", layout.key) == 0
    assert read_split(out).layout == layout.key
    with site_root(None, out) as root:
        pooled = tmp_path / "pooled"
        write_pooled_root(root, pooled)
        sites = [*root.iterdir(), pooled / POOLED_SITE]
        cases = [site_cases(folder_settings(site)) for site in sites]
    assert {case.layout for found in cases for part in found.parts().values() for case in part} == {layout}
    assert len(cases) == 3 and all(found.train for found in cases)


def test_check_data_reads_the_named_files_only(data, capsys):
    (data / "Case_000" / "Case_000-t1n.nii.gz").write_bytes(b"broken")
    assert main(["check-data", str(data), "--workers", "1", "--json", "--layout", FROM_2023.key]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    errors = [finding for finding in found if finding["severity"] == "error"]
    assert {finding["case"] for finding in errors} == {"Case_000"}
    assert "two-layouts" not in {finding["code"] for finding in found}
    assert main(["check-data", str(data), "--workers", "1", "--json", "--layout", UP_TO_2022.key]) == 0


def test_a_sites_settings_name_it_and_win(data, capsys):
    (data / "Case_000" / "Case_000-t1n.nii.gz").write_bytes(b"broken")
    (data / "site.json").write_text(json.dumps({"layout": UP_TO_2022.key}))
    assert site_cases(folder_settings(data)).train[0].layout is UP_TO_2022
    assert main(["check-data", str(data), "--workers", "1", "--layout", FROM_2023.key]) == 0
    root = data.parent / "sites"
    root.mkdir()
    shutil.move(data, root / "site-1")
    assert main(["check-data", str(root), "--workers", "1", "--layout", FROM_2023.key]) == 0


def test_an_unknown_layout_is_refused(data):
    (data / "site.json").write_text(json.dumps({"layout": "brats"}))
    with pytest.raises(InputError, match=r"site\.json is not a valid site settings file.*up-to-2022"):
        folder_settings(data)
