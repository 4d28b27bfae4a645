# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from cases import write_case
from fedpac_me.config import parse_config
from fedpac_me.data.layouts import find_case
from fedpac_me.data.scan import load_scan
from fedpac_me.errors import InputError
from fedpac_me.evaluation.lesions import BRATS_GLI
from fedpac_me.labels import ENHANCING, NECROTIC, OEDEMA
from fedpac_me.learning import inference
from fedpac_me.learning.postprocessing import without_small_parts

CUBE = (1.0, 1.0, 1.0)


def volume(*boxes: tuple[int, tuple[slice, slice, slice]]) -> np.ndarray:
    labels = np.zeros((20, 20, 20), np.uint8)
    for label, box in boxes:
        labels[box] = label
    return labels


def cube(start: int, edge: int) -> tuple[slice, slice, slice]:
    return (slice(start, start + edge),) * 3


TUMOUR = (OEDEMA, cube(1, 10)), (NECROTIC, cube(2, 6))


def test_a_small_part_becomes_what_is_around_it():
    stray, enhancing, core = (OEDEMA, cube(15, 3)), (ENHANCING, cube(3, 2)), (NECROTIC, cube(9, 1))
    found = without_small_parts(volume(*TUMOUR, stray, enhancing, core), CUBE, 50)
    assert np.array_equal(found, volume(*TUMOUR))


def test_a_small_part_inside_a_small_part_goes_with_it():
    found = without_small_parts(volume(*TUMOUR, (NECROTIC, cube(15, 3)), (ENHANCING, cube(16, 1))), CUBE, 50)
    assert np.array_equal(found, volume(*TUMOUR))


def test_parts_count_by_themselves_and_by_their_own_region():
    # Two enhancing parts of 27 each are small, though they are 54 together and lie in one large core.
    two = volume(*TUMOUR, (ENHANCING, cube(2, 3)), (ENHANCING, (slice(2, 5), slice(2, 5), slice(6, 8))))
    assert not np.any(without_small_parts(two, CUBE, 50) == ENHANCING)
    # Touching at a corner they are one.
    one = volume(*TUMOUR, (ENHANCING, cube(2, 3)), (ENHANCING, cube(5, 3)))
    assert np.array_equal(without_small_parts(one, CUBE, 50), one)


@pytest.mark.parametrize(("spacing", "kept"), [((1, 1, 1), False), ((1, 1, 1.9), True), ((1, 1, 1.8), False)])
def test_volumes_are_in_cubic_millimetres_and_the_limit_itself_is_small(spacing, kept):
    labels = volume((OEDEMA, cube(4, 3)))
    assert np.any(without_small_parts(labels, spacing, 27 * 1.8)) == kept


@pytest.mark.parametrize("labels", [volume(), volume(*TUMOUR, (ENHANCING, cube(18, 1)))])
def test_nothing_is_left_out_where_there_is_nothing_or_the_limit_is_0(labels):
    before = labels.copy()
    assert np.array_equal(without_small_parts(labels, CUBE, 0), before)
    without_small_parts(labels, CUBE, 50)
    assert np.array_equal(labels, before)


def test_the_limit_is_what_brats_ignores_and_a_configuration_may_say_another():
    assert parse_config({"method": "a", "title": "b"}).evaluation.small_parts_mm3 == BRATS_GLI.ignored_mm3
    with pytest.raises(InputError, match="small_parts_mm3"):
        parse_config({"method": "a", "title": "b", "evaluation": {"small_parts_mm3": -1}})


def test_a_prediction_lacks_its_small_parts_and_keeps_its_logits(tmp_path, monkeypatch):
    scan = load_scan(find_case(write_case(tmp_path, "Case_1")), 1)
    middle = tuple(edge // 2 for edge in scan.image.shape[1:])
    logits = np.full((3, *scan.image.shape[1:]), -5, np.float32)
    logits[(slice(None), *middle)] = 5
    monkeypatch.setattr(inference, "predict_logits", lambda *_: logits)
    model = torch.nn.Module()
    model.router = None
    for limit, voxels in ((0, 1), (0.5, 1), (1, 0)):
        config = parse_config({"method": "a", "title": "b", "evaluation": {"small_parts_mm3": limit}})
        found = inference.predict(model, scan, config, torch.device("cpu"))
        assert np.count_nonzero(found.labels) == voxels
        assert found.logits is logits
