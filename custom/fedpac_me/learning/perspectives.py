# SPDX-License-Identifier: Apache-2.0
"""Multi-perspective augmentation: the same patient as other scanners and other days would have shown them.

Every perspective works on z-scored crops and leaves alone what says something else: the outside of the brain and absent
modalities stay exactly 0, and only ``affine`` moves labels. See ``docs/perspectives.md`` for pictures and costs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import MapTransform, RandomizableTransform
from monai.transforms.utils import create_rotate, create_scale

from fedpac_me.config import Perspective, PerspectivesConfig
from fedpac_me.data.crops import Augmentation, SampleChange
from fedpac_me.learning.kspace import Change, amounts, ghosting, motion, thick_slices, zero_signal

FGSM_EPSILON = 0.01
"""Step of ``fgsm`` at strength 1, in standard deviations."""

_LOG_BIAS, _BIAS_DEGREE = 0.3, 3
_LOG_GAMMA = 0.9
_LOG_SLOPE, _SLOPES, _SPAN = 1.0, 8, 3.0
_NOISE_SD = 0.4
_GAUSSIAN_SD = 0.02
_SHIFT = 0.05 * 2 * _SPAN
_ROTATION, _SCALING = 0.25, 0.12

Draw = Callable[[torch.Size, np.random.RandomState, float], Change]
"""A perspective of the voxels, drawn on the CPU: CDHW, random numbers and strength give what is done to an image."""


def perspective_transforms(
    config: PerspectivesConfig, image: str = "image", present: str = "present", labels: str | None = "regions"
) -> list[Augmentation]:
    """Dictionary transforms for the perspectives that have a probability, in the order of an examination.

    They follow cropping and flips. ``fgsm`` is not among them, since it needs the model's gradient.

    Args:
        config: probabilities and strengths.
        image: key of the image, CDHW float32, z-scored inside the brain, 0 outside and where absent.
        present: key of the presence flags, C float32 (1 or 0).
        labels: key of the region masks, CDHW float32 (1 or 0); ``None`` leaves out what would move them.
    """
    transforms: list[Augmentation] = []
    if labels is not None and config.affine.probability:
        transforms.append(_Affine(config.affine, image, present, labels))
    for name, change in VOXEL_CHANGES.items():
        perspective = getattr(config, name)
        if perspective.probability:
            transforms.append(_VoxelChange(change, perspective, image, present))
    if config.modality_drop.probability:
        transforms.append(_ModalityDrop(config.modality_drop, image, present))
    return transforms


def fgsm(image: torch.Tensor, gradient: torch.Tensor, epsilon: float = FGSM_EPSILON) -> torch.Tensor:
    """The image, a step of ``epsilon`` per voxel up the loss (Goodfellow et al. 2015, arXiv:1412.6572).

    Args:
        image: CDHW or BCDHW; nothing outside the brain and in absent modalities is changed.
        gradient: of the loss by ``image``, same layout.
        epsilon: ``FGSM_EPSILON`` times the perspective's strength.
    """
    there = image != 0
    touched = there.any(-4, keepdim=True) & there.any((-3, -2, -1), keepdim=True)
    return torch.where(touched, image + epsilon * gradient.sign(), image)


def bias_field(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """A receive coil that hears some places better: the signal times exp of a smooth field of deviation 0.3.

    The field is a polynomial of degree 3, as in MONAI's ``RandBiasField``, which we do not use: it multiplies z-scores
    themselves, so that an amplified place gets darker where it was dark, in all modalities by the same amount.
    """
    field = torch.from_numpy(_smooth_field(shape[1:], rng))
    heights = amounts(rng, shape[0], _LOG_BIAS * strength)

    def change(image: torch.Tensor) -> torch.Tensor:
        log_bias, zero = _per_modality(heights, image) * field.to(image.device), zero_signal(image)
        return (image - zero).mul_(log_bias.exp_()).add_(zero)

    return change


def contrast(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """Other sequence parameters: a gamma curve a modality, between 0.4 and 2.5, on the signal.

    The curve passes through ±1 standard deviation unchanged, as z-scoring the other scan would have it. MONAI's
    ``RandAdjustContrast`` would take minimum, maximum and mean over the background too, and one gamma for all.
    """
    gammas = np.exp(rng.choice((-1, 1), shape[0]) * amounts(rng, shape[0], _LOG_GAMMA * strength))

    def change(image: torch.Tensor) -> torch.Tensor:
        gamma, zero = _per_modality(gammas, image), zero_signal(image)
        low, high = (-1 - zero) ** gamma, (1 - zero) ** gamma
        curve = (image - zero).log_().mul_(gamma).exp_()  # a power, in a quarter of pow's time
        return curve.sub_((low + high) / 2).mul_(2 / (high - low))

    return change


def histogram_shift(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """An increasing broken line a modality between old and new intensities; it passes through ±1 unchanged.

    MONAI's ``RandHistogramShift`` spans its line from the darkest to the brightest voxel of all modalities together,
    moves the background's 0, and searches the segment of every voxel; with segments of one width a division finds it.
    """
    channels, width = shape[0], 2 * _SPAN / _SLOPES
    slopes = np.exp(_LOG_SLOPE * strength * rng.uniform(-1, 1, (channels, _SLOPES)))
    knots = np.linspace(-_SPAN, _SPAN, _SLOPES + 1)
    heights = np.concatenate([np.zeros((channels, 1)), np.cumsum(slopes * width, 1)], 1)
    low, high = (np.array([[np.interp(z, knots, line)] for line in heights]) for z in (-1, 1))
    slopes, heights = slopes * 2 / (high - low), (heights - low) * 2 / (high - low) - 1
    intercepts = heights[:, :-1] - slopes * knots[:-1]

    tables = [torch.from_numpy(table).float().flatten() for table in (slopes, intercepts)]

    def change(image: torch.Tensor) -> torch.Tensor:
        segment = ((image + _SPAN) / width).clamp_(0, _SLOPES - 1).int()  # the outer segments go on beyond the span
        segment += _SLOPES * torch.arange(channels, dtype=torch.int32, device=image.device)[:, None, None, None]
        at_voxels = (table.to(image.device).index_select(0, segment.flatten()).view_as(image) for table in tables)
        return next(at_voxels).mul_(image).add_(next(at_voxels))

    return change


def noise(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """Less signal: Rician noise of up to 0.4 standard deviations in each receive channel.

    MONAI's ``RandRicianNoise`` would work on z-scores, and draws from numpy, which takes five times as long as torch.
    """
    deviations = torch.from_numpy(amounts(rng, shape[0], _NOISE_SD * strength)).float()[:, None, None, None]
    real, imaginary = (_gaussian(shape, rng).mul_(deviations) for _ in range(2))
    imaginary.square_()

    def change(image: torch.Tensor) -> torch.Tensor:
        zero = zero_signal(image)
        signal = (image - zero).add_(real.to(image.device))
        return signal.square_().add_(imaginary.to(image.device)).sqrt_().add_(zero)

    return change


def gaussian_noise(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """The paper's released code: additive noise, 0.02 standard deviations at strength 1."""
    grain = _gaussian(shape, rng).mul_(_GAUSSIAN_SD * strength)
    return lambda image: image + grain.to(image.device)


def intensity_shift(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """The paper's released code: each modality up or down by up to 5 % of its range, taken as ±3 deviations."""
    shifts = rng.choice((-1, 1), shape[0]) * amounts(rng, shape[0], _SHIFT * strength)
    return lambda image: image + _per_modality(shifts, image)


VOXEL_CHANGES: dict[str, Draw] = {
    "contrast": contrast,
    "bias_field": bias_field,
    "motion": motion,
    "ghosting": ghosting,
    "thick_slices": thick_slices,
    "noise": noise,
    "histogram_shift": histogram_shift,
    "intensity_shift": intensity_shift,
    "gaussian_noise": gaussian_noise,
}
"""Perspectives that change intensities only, in the order of an examination: tissue, scanner, storage."""


class _Sometimes(RandomizableTransform, MapTransform):
    """Acts on a sample's keys (image, presence, more) with the perspective's probability; ``_draw`` says how."""

    def __init__(self, perspective: Perspective, *keys: str) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, perspective.probability)
        self.strength = perspective.strength

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        image, present = (data[key] for key in self.keys[:2])
        change = self.drawn(image.shape, present)
        return dict(data) if change is None else change(data)

    def drawn(self, shape: torch.Size, present: torch.Tensor) -> SampleChange | None:
        """What happens to a sample of ``shape`` (CDHW) and ``present`` (C), on whatever device; ``None``: nothing."""
        self.randomize(None)
        return self._draw(shape, present) if self._do_transform else None

    def _draw(self, shape: torch.Size, present: torch.Tensor) -> SampleChange:
        raise NotImplementedError


class _VoxelChange(_Sometimes):
    """Apply one of ``VOXEL_CHANGES`` with the perspective's probability, inside the brain and where present."""

    def __init__(self, draw: Draw, perspective: Perspective, image: str, present: str) -> None:
        super().__init__(perspective, image, present)
        self.draw = draw

    def _draw(self, shape: torch.Size, present: torch.Tensor) -> SampleChange:
        change = self.draw(shape, self.R, self.strength)

        def applied(data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
            image, present = (data[key] for key in self.keys)
            there = (image.abs().amax(0) > 0) & (present != 0)[:, None, None, None]
            return {**data, self.keys[0]: torch.where(there, change(image), 0)}

        return applied


class _ModalityDrop(_Sometimes):
    """Sequences that were not acquired: one modality, up to two at strength 1, but never the last one.

    Image and presence flag both become 0, as in a case that never had the modality.
    """

    def _draw(self, shape: torch.Size, present: torch.Tensor) -> SampleChange:
        there = self.R.permutation(np.flatnonzero(present.cpu().numpy()))
        wished = self.R.randint(1, max(1, round(2 * self.strength)) + 1)
        dropped = there[: min(wished, len(there) - 1)]

        def applied(data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
            image, present = (data[key].clone() for key in self.keys)
            image[dropped] = 0
            present[dropped] = 0
            return {**data, self.keys[0]: image, self.keys[1]: present}

        return applied


class _Affine(_Sometimes):
    """A head that lies and is sized differently: rotation by up to 14° and scaling by up to 12 % an axis.

    What lies beyond the crop is unknown and becomes background: a field of view that cuts off part of the head.
    MONAI's ``RandAffined`` takes 1.6 times as long: it resamples key by key, and the brain's edge would be one more.
    """

    def _draw(self, shape: torch.Size, present: torch.Tensor) -> SampleChange:
        theta, (of_image, _, of_labels) = self._movement(shape), self.keys

        def applied(data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
            image, labels = data[of_image], data[of_labels]
            grid = F.affine_grid(theta.to(image.device), [1, *shape], align_corners=False)
            brain = (image.abs().amax(0, keepdim=True) > 0).float()
            image = F.grid_sample(image[None], grid, "bilinear", align_corners=False)[0]
            masks = F.grid_sample(torch.cat([labels, brain])[None], grid, "nearest", align_corners=False)[0]
            # Interpolation smears the brain over its edge; the edge moves with the labels instead.
            return {**data, of_image: torch.where(masks[-1:] > 0, image, 0), of_labels: masks[:-1]}

        return applied

    def _movement(self, shape: torch.Size) -> torch.Tensor:
        """Where each voxel of a CDHW volume comes from: 1×3×4, coordinates as ``affine_grid`` wants them."""
        angles = self.R.uniform(-1, 1, 3) * _ROTATION * self.strength
        scales = 1 + self.R.uniform(-1, 1, 3) * _SCALING * self.strength
        half = np.array(shape[:0:-1]) / 2  # grid_sample counts axes from the last, and -1 to 1 whatever the size
        movement = (create_rotate(3, angles) @ create_scale(3, scales))[:3, :3] * half / half[:, None]
        return torch.from_numpy(np.pad(movement, ((0, 0), (0, 1)))).float()[None]


def _smooth_field(shape: tuple[int, ...], rng: np.random.RandomState) -> np.ndarray:
    """A random polynomial over the grid ``shape`` (DHW float32) with mean 0 and deviation 1."""
    degrees = np.arange(_BIAS_DEGREE + 1)
    degree = degrees[:, None, None] + degrees[:, None] + degrees
    # High degrees peak in the corners of the crop; weighed down, they leave the field to what the brain can see.
    field = rng.standard_normal(degree.shape) * (degree <= _BIAS_DEGREE) / (1 + degree)
    for size in shape:  # each step turns the first axis from degrees to voxels and puts it last
        basis = np.polynomial.legendre.legvander(np.linspace(-1, 1, size), _BIAS_DEGREE)
        field = np.tensordot(field.astype(np.float32), basis.astype(np.float32), (0, 1))
    field -= field.mean()
    return field / max(float(field.std()), 1e-6)


def _gaussian(shape: torch.Size, rng: np.random.RandomState) -> torch.Tensor:
    """Standard normal numbers, drawn by torch from a seed of ``rng``: on the CPU, for every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(int(rng.randint(2**31))))


def _per_modality(values: np.ndarray, image: torch.Tensor) -> torch.Tensor:
    """C → C111 float32, to be broadcast over ``image``."""
    return torch.from_numpy(values).float().to(image.device)[:, None, None, None]
