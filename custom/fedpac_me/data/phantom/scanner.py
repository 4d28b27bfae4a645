# SPDX-License-Identifier: Apache-2.0
"""Scanner protocols: how one and the same head looks on the demo's five differently set up machines.

The protocols are further apart than most real ones, on purpose: each has a trait that real collections know too, and
that a network cannot take for a change of brightness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedpac_me.data.phantom.canvas import Canvas
from fedpac_me.labels import MODALITIES

TISSUES = ("csf", "grey", "white", "oedema", "necrosis", "enhancing", "solid")
"""Columns of every contrast table; ``solid`` is tumour core that does not enhance."""


@dataclass(frozen=True)
class Protocol:
    """One way of scanning.

    Attributes:
        name: "P0" … "P4".
        description: the trait, for the reader.
        contrast: signal of each of ``TISSUES`` per modality, healthy tissue between 0 and about 1.
        gamma: exponent applied to the signal, per modality in the order of ``MODALITIES``.
        bias: sd of the logarithm of the receive field.
        noise: sd of the Gaussian noise in each of the two receive channels (Rician in the image).
        slice_axis: 0 sagittal, 1 coronal, 2 axial.
        slice_thickness: in units of length (see ``canvas``); 0 for slices as thin as a voxel.
        inverted: modalities stored with an inverted grey scale, vessels and cortex included.
    """

    name: str
    description: str
    contrast: dict[str, tuple[float, ...]]
    gamma: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    bias: float = 0.05
    noise: float = 0.02
    slice_axis: int = 2
    slice_thickness: float = 0.0
    inverted: tuple[str, ...] = ()


_REFERENCE = {
    "t1": (0.25, 0.58, 0.80, 0.64, 0.50, 0.64, 0.56),
    "t1ce": (0.24, 0.56, 0.76, 0.60, 0.52, 0.94, 0.54),
    "t2": (1.10, 0.64, 0.46, 0.80, 0.94, 0.76, 0.90),
    "flair": (0.14, 0.62, 0.52, 0.81, 0.64, 0.70, 0.76),
}
_BRIGHTEST, _DARKEST = 1.25, 0.08
"""What an inverted grey scale makes of no signal, and of the strongest."""
_WHITE_MATTER_NULLED_T1 = (0.95, 0.66, 0.28, 0.52, 0.80, 0.46, 0.70)


def _inverted(signal: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(max(_BRIGHTEST - value, _DARKEST) for value in signal)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("P0", "3 T, thin slices: the reference, calibrated against real cases", _REFERENCE),
        Protocol(
            "P1",
            "1.5 T: inversion recovery T1 with white matter nulled, T1-weighted FLAIR, strong bias field",
            {
                "t1": _WHITE_MATTER_NULLED_T1,
                "t1ce": (0.24, 0.58, 0.76, 0.58, 0.50, 1.00, 0.54),
                "t2": _REFERENCE["t2"],
                "flair": (0.16, 0.56, 0.84, 0.46, 0.28, 0.60, 0.40),
            },
            gamma=(1.0, 0.8, 1.2, 1.0),
            bias=0.13,
            noise=0.04,
        ),
        Protocol(
            "P2",
            "thick axial slices, flat T1, proton density instead of T2, CSF not nulled on FLAIR, strong enhancement",
            {
                "t1": (0.34, 0.66, 0.72, 0.60, 0.46, 0.62, 0.52),
                "t1ce": (0.30, 0.62, 0.70, 0.56, 0.48, 1.15, 0.52),
                "t2": (0.56, 0.82, 0.60, 0.92, 0.80, 0.88, 0.96),
                "flair": (1.25, 0.62, 0.48, 0.80, 1.02, 0.74, 0.86),
            },
            gamma=(1.0, 1.25, 1.2, 0.9),
            bias=0.08,
            noise=0.03,
            slice_axis=2,
            slice_thickness=0.10,
        ),
        Protocol(
            "P3",
            "T2 stored with an inverted grey scale (MONOCHROME1 lost in conversion), thick coronal slices",
            {**_REFERENCE, "t2": _inverted(_REFERENCE["t2"]), "t1ce": (0.28, 0.54, 0.80, 0.56, 0.46, 0.94, 0.52)},
            gamma=(0.8, 1.0, 1.0, 1.5),
            bias=0.09,
            noise=0.03,
            slice_axis=1,
            slice_thickness=0.08,
        ),
        Protocol(
            "P4",
            "low field: noise, thick sagittal slices, traits of P1 (T1) and of P3 (T2) together, weak enhancement",
            {
                "t1": _WHITE_MATTER_NULLED_T1,
                "t1ce": (0.30, 0.58, 0.70, 0.56, 0.50, 0.92, 0.54),
                "t2": _inverted(_REFERENCE["t2"]),
                "flair": (0.20, 0.60, 0.50, 0.84, 0.64, 0.76, 0.78),
            },
            gamma=(1.2, 0.8, 0.75, 1.3),
            bias=0.11,
            noise=0.06,
            slice_axis=0,
            slice_thickness=0.09,
        ),
    )
}
"""P0 to P3 are owned by training hospitals, P4 by none."""


def contrast_of(rng: np.random.Generator, protocol: Protocol, modality: str) -> np.ndarray:
    """Signals of ``TISSUES`` for one scan: no two patients have quite the same."""
    table = np.array(protocol.contrast[modality], dtype=np.float32)
    return table * np.exp(rng.normal(0, 0.03, table.size)).astype(np.float32)


def acquire(
    canvas: Canvas, rng: np.random.Generator, protocol: Protocol, modality: str, signal: np.ndarray
) -> np.ndarray:
    """The image (DHW float32, positive, arbitrary units) that a scanner makes of a true signal (DHW)."""
    if modality in protocol.inverted:
        signal = np.maximum(np.float32(_BRIGHTEST) - signal, np.float32(_DARKEST))
    image = np.maximum(signal, np.float32(0.02)) ** np.float32(protocol.gamma[MODALITIES.index(modality)])
    image *= np.exp(np.float32(protocol.bias) * canvas.smooth_field(rng, 0.4))
    if protocol.slice_thickness:
        image = thick_slices(image, protocol.slice_axis, protocol.slice_thickness * canvas.length)
    noise = np.float32(protocol.noise)
    real = image + noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.hypot(real, noise * rng.standard_normal(image.shape, dtype=np.float32))


def thick_slices(image: np.ndarray, axis: int, thickness: float) -> np.ndarray:
    """Average a DHW image over slices of ``thickness`` voxels along ``axis`` and interpolate back onto its grid."""
    through = _slice_matrix(image.shape[axis], max(thickness, 1.0))
    return np.ascontiguousarray(np.moveaxis(np.tensordot(through, image, axes=(1, axis)), 0, axis))


def _slice_matrix(size: int, thickness: float) -> np.ndarray:
    """Square float32 matrix: averages over ``thickness`` voxels, linearly interpolated between their centres."""
    slices = int(np.ceil(size / thickness))
    edges = np.arange(slices + 1) * thickness + (size - slices * thickness) / 2
    voxels = np.arange(size)
    overlap = np.minimum(edges[1:, None], voxels + 1) - np.maximum(edges[:-1, None], voxels)
    average = np.clip(overlap, 0, None)
    average /= average.sum(1, keepdims=True)
    centres = (edges[1:] + edges[:-1]) / 2
    identity = np.eye(slices)
    between = np.stack([np.interp(voxels + 0.5, centres, row) for row in identity], axis=1)
    return (between @ average).astype(np.float32)
