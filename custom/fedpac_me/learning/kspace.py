# SPDX-License-Identifier: Apache-2.0
"""What an acquisition does to a scan along one axis: movements, ghosts, thick slices.

Each is a linear map along the axis, so each is a matrix product; for crops of 32³ to 128³ that takes two thirds of
the time of transforming the volume to k-space and back. Only the map itself is drawn in k-space, by ``torch.fft``,
one line a frequency. A crop is treated as if it were the whole field of view: what leaves it on one side comes in on
the other.

Images are CDHW float32, z-scored, 0 outside the brain; results may spill over the brain's edge, the caller cuts them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

DARKEST = -2.0
"""Where zero signal lies at the highest, in standard deviations: a crop without dark tissue must not hide it."""

Change = Callable[[torch.Tensor], torch.Tensor]
"""What is done to an image, on whatever device it is, with numbers that were drawn before."""

_MOVES = 4
_SHIFT_VOXELS = 1.5
_GHOST = 0.8
_EXTRA_THICKNESS_VOXELS = 4.0
_WEAKEST = 0.3


def zero_signal(image: torch.Tensor) -> torch.Tensor:
    """Z-score (C111) that stands for zero signal in each modality of ``image`` (CDHW): its darkest voxel's, or lower.

    What scanners do is defined on intensities from zero upwards, and z-scored data no longer tells where zero was.
    """
    return image.flatten(1).amin(1).clamp(max=DARKEST)[:, None, None, None]


def amounts(rng: np.random.RandomState, count: int, largest: float) -> np.ndarray:
    """``count`` random amounts between 0.3 and 1 times ``largest``: one that fires is never too weak to matter."""
    return largest * rng.uniform(_WEAKEST, 1, count)


def motion(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """A head that moves four times during each sequence, along the phase-encoding axis.

    The lines of k-space, measured one after another, get the phase of where the head then was. Positions are relative
    to the one at the central line, which carries most of the image: so the labels still lie where the tumour is.
    """
    axis = int(rng.randint(1, 4))
    channels, lines = shape[0], shape[axis]
    steps = rng.choice((-1, 1), (channels, _MOVES)) * amounts(rng, channels, _SHIFT_VOXELS * strength)[:, None]
    moments = rng.uniform(0, lines, (channels, _MOVES))
    position = (steps[..., None] * (np.arange(lines) >= moments[..., None])).sum(1)
    position -= position[:, lines // 2, None]
    phase = -2j * np.pi * np.fft.fftfreq(lines) * np.fft.ifftshift(position, axes=1)
    return lambda image: modulate_lines(image, np.exp(phase), axis)


def ghosting(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """Faint copies of the head, shifted along the phase-encoding axis by a quarter to a half of the field of view.

    Something that pulsates (blood, CSF, breath) makes the lines of k-space stronger and weaker in turn.
    """
    axis = int(rng.randint(1, 4))
    channels, lines = shape[0], shape[axis]
    offset = int(rng.randint(lines // 4, lines // 2 + 1))
    waves = 2 * np.pi * (np.arange(lines) * offset / lines + rng.uniform(0, 1, (channels, 1)))
    depth = amounts(rng, channels, _GHOST * strength)[:, None]

    def change(image: torch.Tensor) -> torch.Tensor:
        ghosted = modulate_lines(image, 1 + depth * np.cos(waves), axis)
        # Ghosts add or take brightness on the whole, which z-scoring would undo.
        inside = image != 0
        excess = torch.where(inside, ghosted - image, 0).sum((1, 2, 3), keepdim=True)
        return ghosted - excess / inside.sum((1, 2, 3), keepdim=True).clamp(min=1)

    return change


def thick_slices(shape: torch.Size, rng: np.random.RandomState, strength: float) -> Change:
    """Slices of up to 5 voxels (at strength 1), each modality in its own plane, interpolated back onto the grid.

    The average is taken of z-scores, where the outside is 0 and so the brain's mean: edges do not darken.
    """
    axes = rng.randint(1, 4, shape[0]).tolist()
    thickness = 1 + amounts(rng, shape[0], _EXTRA_THICKNESS_VOXELS * strength)
    slices = [_slices(shape[axis], thick)[None] for axis, thick in zip(axes, thickness, strict=True)]
    return lambda image: torch.cat(list(map(_along, slices, image.split(1), axes)))


def modulate_lines(image: torch.Tensor, modulation: np.ndarray, axis: int) -> torch.Tensor:
    """Multiply the k-space lines of each modality's signal along ``axis`` and take the magnitude.

    Args:
        image: CDHW; its signal is its height over ``zero_signal``, and none outside the brain.
        modulation: complex or real, (C, lines), lines in the order of ``torch.fft.fft``.
        axis: 1, 2 or 3.
    """
    lines = image.shape[axis]
    kernel = torch.fft.ifft(torch.from_numpy(modulation))  # the shift theorem: lines times phases are a convolution
    position = torch.arange(lines)
    circulant = kernel[:, (position[:, None] - position) % lines].cfloat()
    zero = zero_signal(image)
    signal = torch.where(image != 0, image - zero, 0)
    real, imaginary = (_along(part, signal, axis) for part in (circulant.real, circulant.imag))
    return real.square_().add_(imaginary.square_()).sqrt_().add_(zero)


def _along(matrices: torch.Tensor, image: torch.Tensor, axis: int) -> torch.Tensor:
    """Map the vectors along ``axis`` of each channel of ``image`` (CDHW) by that channel's square matrix (CNN)."""
    matrices = matrices.to(image.device)
    if axis == 3:
        return torch.bmm(image.flatten(1, 2), matrices.mT).view_as(image)
    if axis == 1:
        return torch.bmm(matrices, image.flatten(2)).view_as(image)
    return matrices[:, None] @ image


def _slices(size: int, thickness: float) -> torch.Tensor:
    """Square matrix (``size``): averages over ``thickness`` voxels, linearly interpolated between their centres."""
    count = math.ceil(size / thickness)
    starts = (size - count * thickness) / 2 + thickness * torch.arange(count)[:, None]
    voxel = torch.arange(size)
    overlap = (torch.minimum(starts + thickness, voxel + 1) - torch.maximum(starts, voxel)).clamp_(min=0)
    averages = F.normalize(overlap, p=1, dim=1)
    place = ((voxel[:, None] + 0.5 - starts[0]) / thickness - 0.5).clamp_(0, count - 1)
    return (1 - (place - torch.arange(count)).abs()).clamp_(min=0) @ averages
