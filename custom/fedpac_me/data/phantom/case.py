# SPDX-License-Identifier: Apache-2.0
"""One phantom case in memory: a head, its tumour, and the scans that its hospital made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from fedpac_me.data.phantom.anatomy import Anatomy, grow_brain
from fedpac_me.data.phantom.canvas import Canvas
from fedpac_me.data.phantom.hospitals import CasePlan
from fedpac_me.data.phantom.kinds import ALL_PROTOCOLS
from fedpac_me.data.phantom.scanner import TISSUES, acquire, contrast_of
from fedpac_me.data.phantom.tumour import Tumour, grow_tumour, plan_tumour
from fedpac_me.labels import ENHANCING, MODALITIES, NECROTIC, OEDEMA

MAXIMUM = 4000
"""Largest raw intensity, as in BraTS."""
_VESSEL_SIGNAL = 0.55
_RIM_SIGNAL = {"t1": -0.05, "t1ce": -0.05, "t2": 0.15, "flair": 0.35}


@dataclass(frozen=True)
class PhantomCase:
    """``images``: DHW int16 per modality, zero outside the brain, positive inside; ``labels``: DHW uint8."""

    images: dict[str, np.ndarray]
    labels: np.ndarray


def make_case(plan: CasePlan, shape: tuple[int, int, int], seed: int) -> PhantomCase:
    """Draw one case of the phantom with volumes of ``shape`` (DHW). The same arguments give the same voxels."""
    rng = np.random.default_rng([seed, *plan.rng_key])
    canvas = Canvas.of(shape)
    tumour_plan = plan_tumour(rng, plan.grade, plan.hospital.tumour_size)
    anatomy = grow_brain(canvas, rng, tumour_plan.mass_effect(rng))
    tumour = grow_tumour(canvas, rng, tumour_plan, anatomy)
    tissues = _mix(canvas, rng, anatomy, tumour)
    protocol, images = ALL_PROTOCOLS[plan.protocol], {}
    for modality in plan.hospital.modalities:
        signal = _signal(canvas, rng, anatomy, tissues, contrast_of(rng, protocol, modality), modality)
        image = acquire(canvas, rng, protocol, modality, signal)
        images[modality] = canvas.in_volume(_digitise(rng, image, anatomy.brain, _brightness(plan, modality)))
    return PhantomCase(images, canvas.in_volume(tumour.labels))


def _mix(canvas: Canvas, rng: np.random.Generator, anatomy: Anatomy, tumour: Tumour) -> np.ndarray:
    """Share of each of ``TISSUES`` in each voxel (tissue, D, H, W; float32), borders blurred by partial volume."""
    solid = tumour.solid
    regions = (
        tumour.labels == OEDEMA,
        (tumour.labels == NECROTIC) & ~solid,
        tumour.labels == ENHANCING,
        solid,
    )
    blur = max(rng.uniform(0.35, 0.5), 0.009 * canvas.length)
    mix = np.empty((len(TISSUES), *canvas.shape), dtype=np.float32)
    for row, region in enumerate(regions, start=3):
        mix[row] = gaussian_filter(region.astype(np.float32), blur, truncate=3) if region.any() else 0
    mix[3] *= rng.uniform(0.75, 0.95)  # oedema lets the tissue beneath shine through
    mix[3] *= np.clip(1 + 0.12 * canvas.smooth_field(rng, 0.06), 0.5, 1.1)
    healthy = np.clip(1 - mix[3:].sum(0), 0, 1)
    for row, tissue in enumerate((anatomy.csf, anatomy.grey, anatomy.white)):
        np.multiply(tissue, healthy, out=mix[row])
    return mix


def _signal(
    canvas: Canvas, rng: np.random.Generator, anatomy: Anatomy, mix: np.ndarray, contrast: np.ndarray, modality: str
) -> np.ndarray:
    signal = np.tensordot(contrast, mix, axes=1)
    grain = canvas.smooth_field(rng, 0.03)
    signal *= 1 + grain * (0.025 + 0.09 * mix[4:].sum(0))  # a tumour's core is more uneven than a brain
    signal += np.float32(_RIM_SIGNAL[modality]) * anatomy.rim
    if modality == "t1ce":
        signal += np.float32(_VESSEL_SIGNAL) * anatomy.vessels * (mix[4:].sum(0) < 0.5)
    return signal


def _brightness(plan: CasePlan, modality: str) -> float:
    return dict(zip(MODALITIES, plan.hospital.brightness, strict=True))[modality]


def _digitise(rng: np.random.Generator, image: np.ndarray, brain: np.ndarray, brightness: float) -> np.ndarray:
    """Scale to raw intensities (int16): receiver gain differs between hospitals and from scan to scan."""
    inside = image[brain]
    gain = brightness * np.exp(rng.normal(0, 0.2)) / inside.mean()
    gain = min(gain, MAXIMUM / inside.max())
    return np.where(brain, np.maximum(np.rint(image * np.float32(gain)), 1), 0).astype(np.int16)
