# SPDX-License-Identifier: Apache-2.0
import os

import numpy as np
import pytest

from cases import write_case
from fedpac_me.config import DataConfig
from fedpac_me.data import scan_cache
from fedpac_me.data.layouts import find_case, find_cases
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.errors import InputError

DATA = DataConfig(crop=16)


@pytest.fixture
def reads(monkeypatch):
    """The ids of the cases that were really read."""
    ids = []

    def counting(case, *arguments, **options):
        ids.append(case.id)
        return load_scan(case, *arguments, **options)

    monkeypatch.setattr(scan_cache, "load_scan", counting)
    return ids


def assert_same(one: Scan, other: Scan):
    for name in ("image", "present", "labels", "affine", "style", "file_orientation"):
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        assert np.array_equal(first, second), name
    assert (one.box, one.shape) == (other.box, other.shape)


def test_a_prepared_scan_is_the_scan_to_the_byte(tmp_path, case):
    found = find_case(case)
    prepared = ScanCache(tmp_path / "scans", DATA).load(found)
    scan = load_scan(found, 1)
    assert_same(prepared.scan, scan)
    flat = scan.labels.ravel()
    assert np.array_equal(prepared.tumour, np.flatnonzero(flat))
    assert np.array_equal(prepared.brain, np.flatnonzero((scan.image != 0).any(0).ravel() & (flat == 0)))


def test_a_missing_modality_stays_missing(tmp_path):
    found = find_case(write_case(tmp_path / "site", "Case_001", missing=("flair",)))
    assert ScanCache(tmp_path / "scans", DATA).load(found).scan.present.tolist() == [True, True, True, False]


def test_a_case_is_read_once_whoever_asks(tmp_path, case, reads):
    found = find_case(case)
    cache = ScanCache(tmp_path / "scans", DATA)
    cache.load(found)
    cache.load(found)
    ScanCache(tmp_path / "scans", DATA).load(found)
    assert reads == [found.id]


def test_the_same_content_elsewhere_is_the_same_entry(tmp_path, case, reads):
    copy = tmp_path / "elsewhere" / case.name
    copy.parent.mkdir()
    case.rename(copy)
    cache = ScanCache(tmp_path / "scans", DATA)
    cache.load(find_case(copy))
    copy.rename(case)
    ScanCache(tmp_path / "scans", DATA).load(find_case(case))
    assert len(reads) == 1


def test_another_image_or_another_preparation_is_another_entry(tmp_path, case, reads, monkeypatch):
    folder = tmp_path / "scans"
    ScanCache(folder, DATA).load(find_case(case))
    ScanCache(folder, DataConfig(crop=16, resample=True)).load(find_case(case))
    monkeypatch.setattr(scan_cache, "PREPARATION", scan_cache.PREPARATION + 1)
    ScanCache(folder, DATA).load(find_case(case))
    write_case(case.parent, case.name, seed=7)
    changed = ScanCache(folder, DATA).load(find_case(case))
    assert_same(changed.scan, load_scan(find_case(case), 1))
    assert len(reads) == 4


def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut short":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    elif how == "one bit":
        content[len(content) // 2] ^= 1
    else:
        content = bytearray(b"no tensors at all")
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut short", "empty", "one bit", "another file"])
def test_a_damaged_entry_is_made_again(tmp_path, case, reads, how):
    found = find_case(case)
    ScanCache(tmp_path / "scans", DATA).load(found)
    (entry,) = (tmp_path / "scans").iterdir()
    damaged(entry, how)
    assert_same(ScanCache(tmp_path / "scans", DATA).load(found).scan, load_scan(found, 1))
    assert len(reads) == 2


def test_a_folder_cleared_under_way_is_filled_again(tmp_path, site_folder, monkeypatch):
    monkeypatch.setattr(scan_cache, "_OPEN", 1)
    cases = find_cases([site_folder(cases=2)])
    cache = ScanCache(tmp_path / "scans", DATA)
    cache.prepare(cases)
    for entry in (tmp_path / "scans").iterdir():
        entry.unlink()
    for case in cases:
        assert_same(cache.load(case).scan, load_scan(case, 1))


def test_what_a_case_lacks_is_refused_whatever_the_cache_holds(tmp_path):
    found = find_case(write_case(tmp_path / "site", "Case_001", missing=("flair",)))
    ScanCache(tmp_path / "scans", DATA).load(found)
    with pytest.raises(InputError, match="lacks flair; at most 0"):
        ScanCache(tmp_path / "scans", DataConfig(crop=16, max_missing_modalities=0)).load(found)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, case):
    (tmp_path / "scans").write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"cannot be written to .*name another folder as 'cache'"):
        ScanCache(tmp_path / "scans", DATA).load(find_case(case))


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(tmp_path, case, monkeypatch):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(scan_cache.torch, "save", full)
    with pytest.raises(InputError, match="No space left"):
        ScanCache(tmp_path / "scans", DATA).load(find_case(case))
    assert list((tmp_path / "scans").iterdir()) == []


def test_preparing_many_says_how_far_it_is(tmp_path, site_folder, monkeypatch, caplog):
    monkeypatch.setattr(scan_cache, "_PROGRESS_SECONDS", -1)
    with caplog.at_level("INFO"):
        ScanCache(tmp_path / "scans", DATA).prepare(find_cases([site_folder(cases=3)]))
    assert caplog.messages == [f"Preparing scans: {number} of 3" for number in (1, 2, 3)]
