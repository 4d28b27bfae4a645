# SPDX-License-Identifier: Apache-2.0
"""The phantom on disk: complete, reproducible, in BraTS2020's layout, as unlike between hospitals as it promises."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import chain
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fedpac_me.data.phantom import read_phantom_settings, write_phantom, writer
from fedpac_me.data.phantom.hospitals import HOSPITALS, PARTS, apportion
from fedpac_me.data.scan import load_scan
from fedpac_me.data.site import folder_settings
from fedpac_me.data.splits import split_cases
from fedpac_me.errors import InputError
from fedpac_me.labels import LABELS, MODALITIES

pytestmark = pytest.mark.slow  # writes whole data sets

SITES = [f"site-{k}" for k in range(1, 6)]
SIZE = (24, 25, 24)
FEW = [plan for plan in writer.plan_cases(5) if plan.rng_key[1:] == (2, 0)]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(out, size=SIZE, seed=3, workers=2)
    return out


@pytest.fixture
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """One case of each site, for tests that write more than once."""
    monkeypatch.setattr(writer, "plan_cases", lambda seed, hospitals: FEW)


@cache
def volumes(phantom: Path, site: str) -> dict[str, dict[str, nibabel.Nifti1Image]]:
    cases = sorted((phantom / site).glob("BraTS20_Training_*"))
    return {case.name: {suffix(path): nibabel.load(path) for path in case.glob("*.nii.gz")} for case in cases}


def suffix(path: Path) -> str:
    return path.name.removesuffix(".nii.gz").removeprefix(path.parent.name + "_")


@cache
def voxels(file: nibabel.Nifti1Image) -> np.ndarray:
    return np.asarray(file.dataobj)


def acquisitions(phantom: Path, site: str, part: str | None = None) -> list[dict[str, str]]:
    splits = json.loads((phantom / site / "splits.json").read_text())
    ids = splits[part] if part else chain.from_iterable(splits.values())
    return [json.loads((phantom / site / case / "acquisition.json").read_text()) for case in ids]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_every_site_can_be_read_by_the_data_path(phantom: Path):
    assert sorted(path.name for path in phantom.iterdir()) == ["phantom.json", *SITES]
    seen: list[str] = []
    for hospital in HOSPITALS:
        settings = folder_settings(phantom / hospital.name)
        assert settings.role == ("evaluate" if hospital.name == "site-5" else "train")
        parts = split_cases(settings.data).parts()
        assert tuple(len(parts[name]) for name in PARTS) == hospital.cases
        seen += [case.id for cases in parts.values() for case in cases]
        scan = load_scan(parts["test"][0], max_missing=1)
        assert scan.labels.any()
    assert len(seen) == len(set(seen)) == 145


@pytest.mark.parametrize("site", SITES)
def test_volumes_are_what_brats_has(phantom: Path, site: str):
    wanted = {*MODALITIES, "seg"} - ({"flair"} if site == "site-3" else set())
    for files in volumes(phantom, site).values():
        assert set(files) == wanted
        arrays = {name: voxels(file) for name, file in files.items()}
        brain = arrays["t1"] > 0
        assert 0.1 < brain.mean() < 0.5
        for name, file in files.items():
            assert file.shape == SIZE
            assert nibabel.aff2axcodes(file.affine) == ("L", "P", "S")
            assert np.array_equal(file.affine[:3, 3], [0, SIZE[1] - 1, 0])
            assert file.header.get_zooms() == (1, 1, 1)
            assert file.get_data_dtype() == (np.uint8 if name == "seg" else np.int16)
        for name in wanted - {"seg"}:
            assert np.array_equal(arrays[name] > 0, brain)
            assert arrays[name].min() == 0 and arrays[name].max() <= 4000
        assert set(np.unique(arrays["seg"])) <= set(LABELS)
        assert arrays["seg"].any() and not arrays["seg"][~brain].any()


def test_labels_follow_the_grade(phantom: Path):
    for site in SITES:
        for case, files in volumes(phantom, site).items():
            grade = json.loads((phantom / site / case / "acquisition.json").read_text())["grade"]
            present = set(np.unique(voxels(files["seg"])).tolist())
            assert {1, 2} <= present
            assert 4 in present or grade == "LGG"


def test_the_low_grade_hospital_mostly_lacks_enhancement(phantom: Path):
    enhancing = [4 in voxels(files["seg"]) for files in volumes(phantom, "site-4").values()]
    grades = Counter(acquisition["grade"] for acquisition in acquisitions(phantom, "site-4"))
    assert 3 <= grades["HGG"] <= 8 and grades["LGG"] >= 16
    assert np.mean(enhancing) < 0.5


def test_every_part_keeps_the_shares_of_its_hospital(phantom: Path):
    for hospital in HOSPITALS:
        for part, count in zip(PARTS, hospital.cases, strict=True):
            here = acquisitions(phantom, hospital.name, part)
            protocols = Counter(acquisition["protocol"] for acquisition in here)
            assert sum(protocols.values()) == count
            for name, share in hospital.protocols.items():
                assert abs(protocols[name] - share * count) < 1
            high = sum(acquisition["grade"] == "HGG" for acquisition in here)
            assert abs(high - hospital.high_grade * count) <= 1


def test_protocols_recur_and_one_is_known_to_nobody(phantom: Path):
    training = {site: {a["protocol"] for a in acquisitions(phantom, site, "train")} for site in SITES[:4]}
    for protocol in ("P0", "P1", "P2", "P3"):
        assert sum(protocol in owned for owned in training.values()) >= 2
    assert all(len(owned) >= 2 for owned in training.values())
    elsewhere = {a["protocol"] for site in SITES[:4] for a in acquisitions(phantom, site)}
    assert {a["protocol"] for a in acquisitions(phantom, "site-5")} - elsewhere == {"P4"}


def test_raw_brightness_differs_between_hospitals_as_it_does_in_reality(phantom: Path):
    def brightness(site: str, modality: str) -> float:
        images = [voxels(files[modality]) for files in volumes(phantom, site).values()]
        return float(np.median([image[image > 0].mean() for image in images]))

    t1, t1ce = ([brightness(site, modality) for site in SITES] for modality in ("t1", "t1ce"))
    assert 3 < max(t1) / min(t1) < 8
    assert 15 < max(t1ce) / min(t1ce) < 45


def test_settings_describe_the_phantom(phantom: Path):
    settings = read_phantom_settings(phantom)
    assert (settings["version"], settings["seed"], settings["size"]) == (writer.VERSION, 3, list(SIZE))
    assert list(settings["sites"]) == SITES
    for site, facts in settings["sites"].items():
        assert sum(facts["cases"].values()) == len(acquisitions(phantom, site))
        assert facts["protocol_cases"] == Counter(a["protocol"] for a in acquisitions(phantom, site))
    assert read_phantom_settings(phantom / "site-1") is None


@pytest.mark.usefixtures("few_cases")
@pytest.mark.slow
def test_bytes_depend_on_the_seed_alone(tmp_path: Path):
    for name, seed, workers in (("one", 5, 1), ("two", 5, 2), ("other", 6, 1)):
        write_phantom(tmp_path / name, size=24, seed=seed, workers=workers)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    images = [name for name in one if name.endswith("_t1.nii.gz")]
    assert len(images) == len(FEW) and all(one[name] != other[name] for name in images)


@pytest.mark.usefixtures("few_cases")
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_left_behind_after_a_failure(tmp_path: Path, workers: int):
    def fail(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "phantom", size=24, workers=workers, progress=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("few_cases")
def test_an_empty_folder_may_be_filled_and_progress_is_told(tmp_path: Path):
    lines: list[str] = []
    (tmp_path / "phantom").mkdir()
    write_phantom(tmp_path / "phantom", size=24, workers=1, progress=lines.append)
    assert read_phantom_settings(tmp_path / "phantom")["size"] == [24, 24, 24]
    assert lines[-1].startswith(f"Phantom: {len(FEW)} of {len(FEW)} cases")


def test_an_existing_folder_or_file_is_refused_and_kept(tmp_path: Path):
    (tmp_path / "mine").write_text("precious")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(InputError, match="already exists"):
            write_phantom(out, size=24)
    assert contents(tmp_path) == {"mine": b"precious"}


@pytest.mark.parametrize("size", [23, (48, 48, 20), (48, 48), 0, (24.5, 32, 32)])
def test_sizes_that_cannot_hold_a_brain_are_refused(tmp_path: Path, size):
    with pytest.raises(InputError, match="at least 24"):
        write_phantom(tmp_path / "phantom", size=size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"workers": 0}])
def test_other_arguments_are_checked(tmp_path: Path, wrong: dict):
    with pytest.raises(InputError, match="or more"):
        write_phantom(tmp_path / "phantom", size=24, **wrong)


@pytest.mark.parametrize(
    ("shares", "count", "numbers"),
    [((0.7, 0.3), 6, [4, 2]), ((0.5, 0.3, 0.2), 5, [3, 1, 1]), ((0.65, 0.35), 4, [3, 1]), ((1.0,), 0, [0])],
)
def test_apportion_by_largest_remainders(shares, count, numbers):
    assert apportion(shares, count) == numbers
