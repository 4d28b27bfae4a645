# SPDX-License-Identifier: Apache-2.0
"""Pictures of the scans that each expert owns: what they show, of which scan, and where they lie."""

import json

import numpy as np
import pytest
from made_up_run import head
from PIL import Image

from fedpac_me.config import parse_config
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.site import folder_settings
from fedpac_me.evaluation import expert_picture as module
from fedpac_me.evaluation.expert_picture import OwnedScans, expert_picture, widest_slice
from fedpac_me.evaluation.run_record import BEST_MODEL, FINAL_MODEL
from fedpac_me.learning.site import Site
from fedpac_me.model.backbone import build_model, get_weights

pytestmark = pytest.mark.slow  # whole sites, processes or pages

ALL = (True,) * 4


def drawn(out, present=ALL, title="site-1, expert 0, distance 0.50") -> np.ndarray:
    """The picture's grey values, rows by columns, of a head with only the ``present`` modalities."""
    image = head(24)[0] * np.reshape(present, (4, 1, 1, 1))
    expert_picture(image, present, out, title)
    with Image.open(out) as picture:
        assert not picture.info.keys() - {"transparency"}, "nothing but the pixels"
        return np.asarray(picture.convert("L")).astype(int)


def panel(pixels: np.ndarray, number: int) -> np.ndarray:
    """The middle of one of four panels, without its name."""
    width = pixels.shape[1] // 4
    return pixels[60:-10, number * width + 10 : (number + 1) * width - 10]


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_four_modalities_stand_in_a_row_and_an_absent_one_is_a_labelled_blank(tmp_path):
    pixels = drawn(tmp_path / "pictures" / "experts" / "0-1.png", (True, False, True, True))
    assert pixels.shape[1] == pytest.approx(4 * 120, abs=2)
    lit = [float((panel(pixels, number) > 60).mean()) for number in range(4)]
    assert min(lit[0], lit[2], lit[3]) > 0.25
    assert 0.002 < lit[1] < 0.1, "only the words are lit"
    unlabelled = drawn(tmp_path / "full.png")
    assert (panel(unlabelled, 1) > 60).mean() > 0.25
    assert (tmp_path / "pictures" / "experts" / "0-1.png").stat().st_size < 30_000


def test_the_same_scan_gives_the_same_bytes_and_no_rest_of_a_file(tmp_path):
    for name in ("a.png", "b.png", "a.png"):
        drawn(tmp_path / name, title="site $1, expert 0, distance 0.50")
    drawn(tmp_path / "c.png", title="site $1, expert 0, distance 0.51")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()
    assert names(tmp_path) == ["a.png", "b.png", "c.png"]


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    drawn(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        expert_picture(head(24)[0], ALL, tmp_path / "a.png", "another")
    assert (tmp_path / "a.png").read_bytes() == before
    assert names(tmp_path) == ["a.png"]


def test_the_slice_is_the_one_with_most_brain_and_the_middle_one_of_equals():
    image = np.zeros((4, 6, 6, 9), np.float32)
    image[1, 1:3, 1:3, 1] = 1
    image[2, :4, :4, 3:8] = -1
    assert widest_slice(image) == 5


@pytest.fixture
def titles(monkeypatch) -> list[tuple[str, float]]:
    """Titles of what would have been drawn, each with the largest value of its slice."""
    seen = []

    def draw(image, present, out, title):
        assert image.shape[-1] == 1
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(b"")
        seen.append((title, float(image.max())))

    monkeypatch.setattr(module, "expert_picture", draw)
    return seen


def add_scans(owned: OwnedScans, *scans: tuple[int, float, float]) -> OwnedScans:
    for expert, distance, value in scans:
        owned.add(expert, distance, np.full((4, 3, 3, 3), value, np.float32), np.array(ALL))
    return owned


def test_each_expert_shows_its_nearest_scan_and_the_first_of_equals(tmp_path, titles):
    owned = add_scans(OwnedScans("site-2"), (3, 0.9, 1), (3, 0.421, 2), (3, 0.421, 3), (0, 1.5, 4))
    owned.draw(tmp_path, FINAL_MODEL)
    assert titles == [("site-2, expert 0, distance 1.50", 4), ("site-2, expert 3, distance 0.42", 2)]
    assert names(tmp_path / "pictures" / "experts") == ["0-1.png", "3-1.png"]


def test_pictures_of_experts_that_no_longer_speak_are_removed(tmp_path, titles):
    add_scans(OwnedScans("s"), (0, 1, 1), (1, 1, 1)).draw(tmp_path, "final")
    (tmp_path / "pictures" / "experts" / "note.txt").touch()
    add_scans(OwnedScans("s"), (1, 1, 1)).draw(tmp_path, "final")
    assert names(tmp_path) == ["1-1.png", "note.txt"]


@pytest.mark.parametrize("model", [BEST_MODEL, "site-1"])
def test_other_models_than_the_final_one_are_not_shown(tmp_path, titles, model):
    add_scans(OwnedScans("s"), (0, 1, 1)).draw(tmp_path, model)
    OwnedScans("s").draw(tmp_path, "final")
    assert titles == [] and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("experts", "shown"), [(2, ["0-1.png"]), (0, [])])
def test_a_site_draws_them_when_it_evaluates(site_folder, tmp_path, experts, shown):
    data = site_folder(cases=4, missing=("t1",))
    ids = [case.id for case in find_cases([data])]
    (data / "splits.json").write_text(json.dumps({"train": ids[:2], "test": ids[2:]}))
    model = {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]} | ({"experts": experts} if experts else {})
    config = parse_config({"method": "m", "title": "t", "data": {"crop": 16}, "model": model})
    site = Site("site-1", config, folder_settings(data), tmp_path / "kept")
    result = site.evaluate(get_weights(build_model(config)), FINAL_MODEL)
    assert len(result["cases"]) == 2 and not any("picture" in name for name in result["cases"][0])
    assert [name for name in names(tmp_path / "kept") if name.endswith("-1.png")] == shown
