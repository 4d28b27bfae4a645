# SPDX-License-Identifier: Apache-2.0
"""What the phantom shows: tumours as bright as real ones, scanners that can be told apart, sizes that scale."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from fedpac_me.data.phantom.calibration import (
    REAL_WHOLE_TUMOUR,
    allowed_range,
    mean_zscores,
    reference_cases,
    region_zscores,
)
from fedpac_me.data.phantom.canvas import Canvas
from fedpac_me.data.phantom.case import PhantomCase, make_case
from fedpac_me.data.phantom.hospitals import CasePlan, plan_cases
from fedpac_me.data.phantom.picture import draw_comparison
from fedpac_me.data.phantom.scanner import PROTOCOLS, thick_slices
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES

pytestmark = pytest.mark.slow  # writes whole data sets


def plans(seed: int = 0, **wanted) -> list[CasePlan]:
    complete = [plan for plan in plan_cases(seed) if not plan.hospital.missing]
    return [plan for plan in complete if all(getattr(plan, key) == value for key, value in wanted.items())]


def stacked(case: PhantomCase) -> np.ndarray:
    return np.stack([case.images[modality] for modality in MODALITIES])


def test_region_zscores_of_a_case_done_by_hand():
    image = np.zeros((4, 1, 1, 5), np.int16)
    image[0, 0, 0] = [0, 1, 1, 3, 3]  # brain: mean 2, sd 1
    labels = np.array([[[0, 0, 2, 4, 4]]], np.uint8)
    assert region_zscores(image, labels) == {"ED": {"t1": -1.0}, "ET": {"t1": 1.0}}


@pytest.mark.parametrize(("seed", "size"), [(0, 32), (1, 32), (2, 48)])
def test_reference_protocol_is_as_bright_as_real_cases(seed: int, size: int):
    cases = [make_case(plan, (size,) * 3, seed) for plan in plans(seed, protocol="P0", grade="HGG")[:8]]
    mean = mean_zscores([region_zscores(stacked(case), case.labels) for case in cases])
    for region, row in mean.items():
        for modality, score in row.items():
            low, high = allowed_range(region, modality)
            assert low <= score <= high, f"{region} in {modality}"


@pytest.mark.slow
def test_whole_tumours_are_as_large_as_real_ones():
    chosen = [plan for plan in plans() if plan.hospital.name in ("site-1", "site-4")]
    share = {"site-1": [], "site-4": []}
    for plan in chosen[:20] + chosen[-20:]:
        case = make_case(plan, (24,) * 3, 0)
        share[plan.hospital.name].append((case.labels > 0).sum() / (case.images["t1"] > 0).sum())
    low, high = REAL_WHOLE_TUMOUR
    assert low < np.median(share["site-1"]) < high
    assert np.median(share["site-4"]) < np.median(share["site-1"])
    assert min(map(min, share.values())) > 0.015 and max(map(max, share.values())) < 0.17


def style(case: PhantomCase) -> np.ndarray:
    """Percentiles and mean steps along each axis of the z-scored brain, per modality."""
    features = []
    for image in case.images.values():
        brain = image > 0
        z = (image - image[brain].mean()) / image[brain].std()
        features.append(np.percentile(z[brain], [2, 10, 25, 50, 75, 90, 98]))
        for axis in range(3):
            both = np.minimum(
                brain.take(range(1, brain.shape[axis]), axis), brain.take(range(brain.shape[axis] - 1), axis)
            )
            features.append([3 * np.abs(np.diff(z, axis=axis))[both].mean()])
    return np.concatenate(features)


@pytest.mark.slow
def test_protocols_can_be_told_apart_by_style():
    """Nearest mean style, learned on four cases of each protocol and tried on three others."""
    styles = {p: [style(make_case(plan, (32,) * 3, 0)) for plan in plans(protocol=p)[:7]] for p in PROTOCOLS}
    pooled_sd = np.mean([np.std(rows[:4], axis=0) for rows in styles.values()], axis=0) + 0.02
    centres = {p: np.mean(rows[:4], axis=0) for p, rows in styles.items()}
    for protocol, rows in styles.items():
        for row in rows[4:]:
            distance = {p: np.linalg.norm((row - centre) / pooled_sd) for p, centre in centres.items()}
            assert min(distance, key=distance.get) == protocol


def test_a_case_depends_on_nothing_but_its_arguments():
    plan = plans()[7]
    first, second, other = make_case(plan, (24,) * 3, 0), make_case(plan, (24,) * 3, 0), make_case(plan, (24,) * 3, 1)
    assert np.array_equal(first.labels, second.labels) and not np.array_equal(first.labels, other.labels)
    assert all(np.array_equal(first.images[modality], second.images[modality]) for modality in MODALITIES)


@pytest.mark.parametrize("shape", [(24, 24, 24), (48, 48, 48), (48, 48, 31), (30, 60, 40), (240, 240, 155)])
def test_the_brain_fits_and_fills_its_volume(shape: tuple[int, int, int]):
    canvas = Canvas.of(shape)
    box = zip(canvas.start, canvas.shape, shape, strict=True)
    assert all(start >= 0 and start + part <= edge for start, part, edge in box)
    if max(shape) <= 60:
        brain = make_case(plans()[0], shape, 0).images["t1"] > 0
        extents = [np.ptp(hits) + 1 for hits in np.nonzero(brain)]
        assert max(extent / edge for extent, edge in zip(extents, shape, strict=True)) > 0.8
        assert extents[1] > extents[2] > 0.6 * extents[1] and extents[1] > extents[0] > 0.6 * extents[1]
    else:
        assert canvas.length == pytest.approx(84, abs=0.5)  # mm, as in SRI24 space


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_blur_along_one_axis_only(axis: int):
    image = np.random.default_rng(0).random((12, 13, 14), dtype=np.float32)
    thick = thick_slices(image, axis, 3.0)
    assert thick.shape == image.shape and thick.dtype == np.float32
    for other in range(3):
        steps, before = np.abs(np.diff(thick, axis=other)).mean(), np.abs(np.diff(image, axis=other)).mean()
        assert steps < 0.5 * before if other == axis else steps > 0.4 * before
    assert np.allclose(thick_slices(np.ones_like(image), axis, 2.5), 1)
    assert np.allclose(thick_slices(image, axis, 1.0), image, atol=1e-6)


def save_case(root: Path, plan: CasePlan) -> Path:
    case, folder = make_case(plan, (24,) * 3, 0), root / plan.hospital.name / plan.id
    folder.mkdir(parents=True)
    for name, volume in {**case.images, "seg": case.labels}.items():
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"{plan.id}_{name}.nii.gz")
    (folder / "acquisition.json").write_text(f'{{"protocol": "{plan.protocol}", "grade": "{plan.grade}"}}')
    return folder


def test_picture_and_reference_cases(tmp_path: Path):
    kinds = [{"protocol": "P0", "grade": "HGG"}, {"protocol": "P1", "grade": "HGG"}, {"protocol": "P3", "grade": "LGG"}]
    folders = [save_case(tmp_path, plans(**kind)[0]) for kind in kinds]
    assert reference_cases(tmp_path) == folders[:1]
    draw_comparison(tmp_path, folders[0], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="no case"):
        draw_comparison(tmp_path, tmp_path, tmp_path / "picture.png")
    with pytest.raises(InputError, match="no complete"):
        draw_comparison(tmp_path / "site-9", None, tmp_path / "picture.png")
