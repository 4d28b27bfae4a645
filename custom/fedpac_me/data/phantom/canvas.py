# SPDX-License-Identifier: Apache-2.0
"""Where a phantom brain lies in its volume, and smooth random fields to shape it.

Every length is in units of half the brain's front-to-back length (84 mm in SRI24 space), so that one
description serves 24³ as well as 240x240x155.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.fft

HALF_EXTENT = (0.79, 1.0, 0.845)
"""Half extents of the brain: left-right, front-back, bottom-top (133x168x142 mm in BraTS20_Training_212)."""
_FILL = 0.915
"""Share of the tightest axis that the brain takes; leaves it at BraTS' own size in 240x240x155."""


@dataclass(frozen=True)
class Canvas:
    """The box around the brain, in which everything is drawn before it is laid into the volume.

    Attributes:
        volume: DHW of the whole image; axes run to the left, to the back and up (LPS).
        length: voxels in one unit of length.
        shape: DHW of the box.
        start: first voxel of the box in the volume.
    """

    volume: tuple[int, int, int]
    length: float
    shape: tuple[int, int, int]
    start: tuple[int, int, int]

    @classmethod
    @lru_cache(maxsize=1)  # every case of a phantom has the same
    def of(cls, volume: tuple[int, int, int]) -> Canvas:
        """The canvas of an image of shape ``volume`` (DHW)."""
        length = min(_FILL * edge / (2 * half) for edge, half in zip(volume, HALF_EXTENT, strict=True))
        wanted = [int(np.ceil(2.08 * half * length)) + 2 for half in HALF_EXTENT]
        shape = tuple(min(edge, want) for edge, want in zip(volume, wanted, strict=True))
        start = tuple((edge - part) // 2 for edge, part in zip(volume, shape, strict=True))
        return cls(volume, length, shape, start)

    @cached_property
    def coordinates(self) -> list[np.ndarray]:
        """Left, back and up (three broadcastable float32 arrays), zero in the middle of the box."""
        axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) / np.float32(self.length) for n in self.shape]
        return list(np.meshgrid(*axes, indexing="ij", sparse=True))

    @property
    def edge_width(self) -> float:
        """Width of a soft boundary: a third of a voxel, but never sharper than tissue is."""
        return max(0.35 / self.length, 0.006)

    def in_volume(self, box: np.ndarray) -> np.ndarray:
        """Lay a DHW box into a volume that is zero elsewhere."""
        whole = np.zeros(self.volume, dtype=box.dtype)
        whole[tuple(slice(first, first + n) for first, n in zip(self.start, self.shape, strict=True))] = box
        return whole

    @cached_property
    def _fft_shape(self) -> tuple[int, int, int]:
        return tuple(scipy.fft.next_fast_len(n, real=True) for n in self.shape)

    @cached_property
    def _frequency(self) -> np.ndarray:
        """Length of the wave vector in cycles per unit of length, on the half spectrum."""
        *whole, last = self._fft_shape
        axes = [np.fft.fftfreq(n) for n in whole] + [np.fft.rfftfreq(last)]
        squares = [(np.float32(self.length) * axis.astype(np.float32)) ** 2 for axis in axes]
        return np.sqrt(sum(np.meshgrid(*squares, indexing="ij", sparse=True)))

    def smooth_field(self, rng: np.random.Generator, scale: float) -> np.ndarray:
        """Gaussian random field (DHW float32, mean 0, sd 1) as if white noise were blurred with sd ``scale``."""
        return self._field(rng, (np.float32(np.sqrt(2) * np.pi * scale) * self._frequency) ** 2)

    def wavy_field(self, rng: np.random.Generator, wavelength: float) -> np.ndarray:
        """Gaussian random field whose waves have about one length, so that its zeros are evenly spaced sheets."""
        peak = np.float32(1 / wavelength)
        return self._field(rng, 0.5 * ((self._frequency - peak) / (0.25 * peak)) ** 2)

    def _field(self, rng: np.random.Generator, damping: np.ndarray) -> np.ndarray:
        """The field of unit white noise whose waves are damped by exp(-``damping``)."""
        # Kept above the smallest normal float: arithmetic with denormal numbers is many times slower.
        amplitude = np.exp(-np.minimum(damping, np.float32(60)))
        # Drawn in the frequency domain: one transform a field instead of two.
        waves = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
        field = scipy.fft.irfftn(waves * amplitude, s=self._fft_shape, workers=1)
        field = field[tuple(slice(n) for n in self.shape)]
        return (field - field.mean()) / (field.std() + np.float32(1e-6))


def soft_step(distance: np.ndarray, width: float) -> np.ndarray:
    """Rises from 0 to 1 (float32) where ``distance`` turns positive, over about ``width``."""
    return 1 / (1 + np.exp(np.clip(distance * np.float32(-1 / width), -30, 30)))
