# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Randomizable

from fedpac_me.config import Perspective, PerspectivesConfig
from fedpac_me.learning.kspace import modulate_lines, motion, thick_slices, zero_signal
from fedpac_me.learning.perspectives import (
    FGSM_EPSILON,
    contrast,
    fgsm,
    gaussian_noise,
    histogram_shift,
    intensity_shift,
    noise,
    perspective_transforms,
)
from fedpac_me.learning.perspectives_picture import draw_perspectives

NAMES = [name for name in PerspectivesConfig.model_fields if name != "fgsm"]
STILL = [name for name in NAMES if name != "affine"]
ABSENT = 2


def make_sample(absent: tuple[int, ...] = (), shape: tuple[int, int, int] = (16, 20, 18)) -> dict[str, torch.Tensor]:
    """A ball of brain with smooth and fine structure; views into larger arrays, as crops are views into the cache."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in shape), indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.9
    waves = torch.stack([torch.sin(3 * axes[number % 3] + number) for number in range(4)])
    image = (waves + 0.5 * torch.randn(4, *shape, generator=generator)) * brain
    image[list(absent)] = 0
    tumour = sum((axis - 0.2) ** 2 for axis in axes)
    regions = torch.stack([tumour < 0.1, tumour < 0.3, tumour < 0.05]).float()
    present = torch.tensor([float(channel not in absent) for channel in range(4)])
    return {"image": inside_larger(image), "present": present, "regions": inside_larger(regions)}


def inside_larger(volume: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(volume, (3,) * 6)[:, 3:-3, 3:-3, 3:-3]


def transforms(name: str, strength: float = 1.0, probability: float = 1.0, seed: int = 0, **keys) -> Compose:
    config = PerspectivesConfig(**{name: Perspective(probability=probability, strength=strength)})
    return Compose(perspective_transforms(config, **keys)).set_random_state(seed)


def mean_change(name: str, strength: float) -> float:
    sample = make_sample()
    changes = [transforms(name, strength, seed=seed)(sample)["image"] - sample["image"] for seed in range(12)]
    return float(torch.stack(changes).abs().mean())


def test_off_is_nothing():
    assert perspective_transforms(PerspectivesConfig()) == []


def test_fgsm_is_no_transform():
    assert perspective_transforms(PerspectivesConfig(fgsm=Perspective(probability=1))) == []


def test_a_second_view_moves_nothing():
    everything = PerspectivesConfig(**{name: Perspective(probability=1) for name in NAMES})
    assert len(perspective_transforms(everything)) == len(NAMES)
    assert len(perspective_transforms(everything, labels=None)) == len(STILL)
    sample = make_sample()
    del sample["regions"]
    Compose(perspective_transforms(everything, labels=None)).set_random_state(0)(sample)


@pytest.mark.parametrize("name", NAMES)
def test_other_keys(name):
    sample = make_sample()
    renamed = {"view": sample["image"], "there": sample["present"], "masks": sample["regions"]}
    result = transforms(name, image="view", present="there", labels="masks")(renamed)
    assert torch.equal(result["view"], transforms(name)(sample)["image"])


@pytest.mark.parametrize("name", NAMES)
def test_is_randomizable(name):
    (transform,) = transforms(name).transforms
    assert isinstance(transform, Randomizable)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_plain_finite_float32(name, strength):
    sample = make_sample()
    for seed in range(5):
        result = transforms(name, strength, seed=seed)(sample)
        assert set(result) == set(sample)
        for key, value in result.items():
            assert type(value) is torch.Tensor and value.dtype == torch.float32
            assert value.shape == sample[key].shape
            assert value.isfinite().all()


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("absent", [(), (ABSENT,), (0, 1, 3)])
def test_background_and_absent_modalities_stay_zero(name, absent):
    sample = make_sample(absent)
    outside = (sample["image"] == 0).all(0)
    for seed in range(5):
        result = transforms(name, 1.5, seed=seed)(sample)
        assert outside.any() and not result["image"][:, outside].any()
        assert not result["image"][list(absent)].any()
        assert not result["present"][list(absent)].any()


def test_affine_moves_brain_and_labels_together():
    sample = make_sample((ABSENT,))
    sample["regions"] = sample["image"].ne(0).any(0).expand(3, -1, -1, -1).float()
    for seed in range(5):
        result = transforms("affine", seed=seed)(sample)
        assert torch.equal(result["image"].ne(0).any(0), result["regions"][0] > 0)
        assert not torch.equal(result["regions"], sample["regions"])
        assert not result["image"][ABSENT].any()


@pytest.mark.parametrize("name", NAMES)
def test_only_affine_moves_labels_and_they_stay_binary(name):
    sample = make_sample()
    for seed in range(5):
        regions = transforms(name, 1.5, seed=seed)(sample)["regions"]
        assert torch.equal(regions, sample["regions"]) == (name != "affine")
        assert set(regions.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_is_not_written_to(name):
    sample = make_sample()
    before = {key: value.clone() for key, value in sample.items()}
    result = transforms(name)(sample)
    assert all(torch.equal(sample[key], before[key]) for key in before)
    assert result["image"].data_ptr() != sample["image"].data_ptr()


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(name):
    sample = make_sample()
    one, same, other = (transforms(name, 0.6, seed=seed) for seed in (1, 1, 2))
    firsts = [one(sample), one(sample), one(sample)]
    seconds = [same(sample), same(sample), same(sample)]
    others = [other(sample), other(sample), other(sample)]
    for first, second in zip(firsts, seconds, strict=True):
        assert all(first[key].numpy().tobytes() == second[key].numpy().tobytes() for key in first)
    assert any(not torch.equal(a["image"], b["image"]) for a, b in zip(firsts, others, strict=True))
    assert any(not torch.equal(firsts[0]["image"], later["image"]) for later in firsts[1:])


@pytest.mark.parametrize("name", NAMES)
def test_changes_the_image_and_more_when_stronger(name):
    assert 1e-3 < mean_change(name, 0.3) < mean_change(name, 1.5)


@pytest.mark.parametrize("name", NAMES)
def test_fires_as_often_as_its_probability(name):
    sample, transform = make_sample(), transforms(name, probability=0.5)
    fired = sum(not torch.equal(transform(sample)["image"], sample["image"]) for _ in range(60))
    assert 15 <= fired <= 45


@pytest.mark.parametrize("name", [name for name in STILL if name != "modality_drop"])
def test_modalities_and_empty_crops(name):
    empty = {"image": torch.zeros(4, 8, 8, 8), "present": torch.ones(4), "regions": torch.zeros(3, 8, 8, 8)}
    assert not transforms(name, 2.0)(empty)["image"].any()
    alike = make_sample()
    alike["image"] = alike["image"][:1].expand(4, -1, -1, -1)
    result = transforms(name)(alike)["image"]
    # Each modality has numbers of its own; only the released code's noise is one kind for all, drawn voxel by voxel.
    assert not torch.equal(result[0], result[1])


@pytest.mark.parametrize("absent", [(), (0,), (0, 3), (0, 1, 3)])
def test_modality_drop_clears_flag_and_channel_but_never_the_last(absent):
    sample = make_sample(absent)
    left = set()
    for seed in range(30):
        result = transforms("modality_drop", 2.0, seed=seed)(sample)
        has_voxels = result["image"].flatten(1).any(1)
        assert torch.equal(has_voxels.float(), result["present"])
        kept = result["present"] > 0
        assert torch.equal(result["image"][kept], sample["image"][kept])
        left.add(int(kept.sum()))
    assert left == (set(range(1, 4 - len(absent))) or {1})


def test_weak_modality_drop_drops_one():
    assert all(transforms("modality_drop", 0.6, seed=seed)(make_sample())["present"].sum() == 3 for seed in range(10))


@pytest.mark.parametrize("curve", [contrast, histogram_shift])
def test_curves_keep_order_and_one_deviation(curve):
    values = torch.linspace(-2.5, 4, 66).repeat(4, 1)[:, None, None]  # steps of 0.1: ±1 are among them
    for seed in range(10):
        result = curve(values.shape, np.random.RandomState(seed), 1.0)(values)
        assert (result.diff(dim=-1) > 0).all()
        assert torch.allclose(result[..., [15, 35]], torch.tensor([-1.0, 1.0]), atol=1e-4)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_lines_are_modulated_as_a_fourier_transform_would(axis):
    image = make_sample()["image"]
    lines = image.shape[axis]
    rng = np.random.default_rng(0)
    modulation = rng.standard_normal((4, lines)) + 1j * rng.standard_normal((4, lines))
    shape = [4, *(lines if number == axis else 1 for number in (1, 2, 3))]
    signal = torch.where(image != 0, image - zero_signal(image), 0).double()
    expected = torch.fft.ifft(torch.fft.fft(signal, dim=axis) * torch.from_numpy(modulation).view(shape), dim=axis)
    assert torch.allclose(
        modulate_lines(image, modulation, axis), (expected.abs() + zero_signal(image)).float(), atol=1e-4
    )


def test_motion_leaves_the_head_where_the_labels_are():
    shape = (24, 24, 24)
    axes = torch.meshgrid(*(torch.arange(size) - 11.5 for size in shape), indexing="ij")
    ball = (sum(axis**2 for axis in axes) < 49).float().expand(4, -1, -1, -1)
    middles = []
    for seed in range(20):
        signal = (motion(ball.shape, np.random.RandomState(seed), 1.5)(ball) - zero_signal(ball)).square()
        middles += [(signal * axis).sum((1, 2, 3)) / signal.sum((1, 2, 3)) for axis in axes]
    assert torch.stack(middles).abs().mean() < 0.15  # of a voxel; moving about without a reference: 0.5


def test_thick_slices_keep_what_is_even_and_smooth_what_is_not():
    even = torch.full((4, 12, 12, 12), 1.5)
    assert torch.allclose(thick_slices(even.shape, np.random.RandomState(0), 1.0)(even), even, atol=1e-5)
    grainy = torch.randn(4, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    assert thick_slices(grainy.shape, np.random.RandomState(0), 1.0)(grainy).std() < 0.8 * grainy.std()


def test_noise_is_rician():
    dark = torch.zeros(4, 20, 20, 20)
    dark[:, 0] = -3  # zero signal
    dark[:, 1:] = 3
    result = noise(dark.shape, np.random.RandomState(0), 1.0)(dark)
    deviation = result[:, 1:].flatten(1).std(1)
    assert ((deviation > 0.1) & (deviation < 0.42)).all()
    assert (result[:, 0] > -3).all()
    # Without signal the magnitude follows Rayleigh's distribution, whose mean is √(π/2) deviations.
    assert torch.allclose(result[:, 0].flatten(1).mean(1) + 3, deviation * math.sqrt(math.pi / 2), rtol=0.12)


def test_released_noise_and_shift():
    flat = torch.ones(4, 20, 20, 20)
    noisy = gaussian_noise(flat.shape, np.random.RandomState(0), 1.0)(flat)
    assert abs(float(noisy.std()) - 0.02) < 1e-3 and abs(float(noisy.mean()) - 1) < 1e-3
    shift = (intensity_shift(flat.shape, np.random.RandomState(0), 1.0)(flat) - flat).flatten(1)
    assert (shift == shift[:, :1]).all() and (shift.abs() <= 0.3 + 1e-6).all()


@pytest.mark.parametrize("batch", [False, True])
def test_fgsm_steps_up_the_gradient_inside_the_brain_only(batch):
    image = make_sample((ABSENT,))["image"]
    gradient = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    brain = (image != 0).any(0) & (torch.arange(4) != ABSENT)[:, None, None, None]
    expected = torch.where(brain, image + FGSM_EPSILON * gradient.sign(), 0)
    if batch:
        other = make_sample()["image"]
        stepped = fgsm(torch.stack([image, other]), torch.stack([gradient, gradient]))
        assert stepped[1, ABSENT].any()
        assert torch.equal(stepped[0], expected)
    else:
        assert torch.equal(fgsm(image, gradient), expected)
        assert (fgsm(image, gradient, 0.5) - image).abs().max() == pytest.approx(0.5)


@pytest.mark.slow
def test_picture(site_folder, tmp_path):
    folder = site_folder(cases=1, edge=24)
    draw_perspectives(folder.parent, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
