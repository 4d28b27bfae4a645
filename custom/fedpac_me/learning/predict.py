# SPDX-License-Identifier: Apache-2.0
"""One case in, one label volume out, on the input's own grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch

from fedpac_me.config import Config, parse_config
from fedpac_me.data.label_scheme import SCHEMES, LabelScheme
from fedpac_me.data.layouts import find_case
from fedpac_me.data.scan import load_scan
from fedpac_me.errors import InputError
from fedpac_me.learning.inference import predict
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.backbone import SegmentationNet, build_model, set_weights
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint
from fedpac_me.model.own import own_state
from fedpac_me.storage import atomic_path, read_json


def load_run_model(run: Path, own: Path | None = None) -> tuple[SegmentationNet, Config]:
    """The final model of a run and the config it was trained with.

    ``own``: where a site keeps its states of the run, for its own part of the model, or the whole one where it has one.

    Raises:
        InputError: the run is incomplete, ``own`` holds no part of its network, or is needed and not given.
    """
    try:
        config = parse_config(read_json(run / "run.json")["config"], source=str(run / "run.json"))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{run} is not a finished run: its run.json cannot be read ({type(error).__name__})."
        ) from None
    model = build_model(config)
    set_weights(model, read_checkpoint(find_checkpoint(run)))
    if own is not None:
        add_own_part(model, own)
    elif config.model.own == "last_layer":
        raise InputError(
            f"The last layer of {run}'s network is each site's own, and the server has none. Name with --own the "
            "folder in which a site keeps its states of the run."
        )
    return model, config


def add_own_part(model: SegmentationNet, folder: Path) -> None:
    """Give ``model`` what a site kept of it in ``folder``, where the site keeps its states of the run.

    That is its own part, or a whole network where the site has one (Ditto, or nothing was shared).

    Raises:
        InputError: the folder holds no state, or one of another network.
    """
    state = SiteState.load(folder, torch.device("cpu"))
    if state is None or state.weights.keys() not in (own_state(model).keys(), model.state_dict().keys()):
        raise InputError(
            f"{folder} does not hold a site's own part of this network. Expected state-<round>.pt of the same run: "
            "in a simulation that is <run>/<site>/fedpac_me_states/simulate_job."
        )
    model.load_state_dict(state.weights, strict=False)


def predict_case(
    model: SegmentationNet,
    config: Config,
    folder: Path,
    out: Path,
    device: torch.device,
    enhancing: int | None = None,
) -> np.ndarray:
    """Segment the case in ``folder`` and write ``out``, a label NIfTI with the first image's axes, shape and affine.

    ``enhancing``, 3 or 4, is the label for enhancing tumour; by default what goes with the layout of the case, since
    a case without segmentation says nothing else. Returns the labels as written (uint8, in the axes of the file).

    Raises:
        InputError: the case is unusable, ``out`` exists, or ``enhancing`` is neither 3 nor 4.
    """
    if out.exists():
        raise InputError(f"{out} exists already. Choose another --out; nothing is overwritten.")
    if enhancing not in (None, *SCHEMES):
        raise InputError(f"Enhancing tumour cannot be label {enhancing}. BraTS has 4 up to 2022 and 3 from 2023 on.")
    case = find_case(folder)
    if case is None:
        raise InputError(
            f"{folder} is not a case: expected files such as {folder.name}/{folder.name}_t1.nii.gz or "
            f"{folder.name}-t1n.nii.gz."
        )
    scan = load_scan(case, config.data.max_missing_modalities, need_seg=False, resample=config.data.resample)
    model.to(device, memory_format=torch.channels_last_3d)
    scheme = case.layout.scheme if enhancing is None else LabelScheme(enhancing, "as asked for")
    labels = scheme.from_internal(scan.to_file_axes(predict(model, scan, config, device).labels))
    write_labels(labels, next(iter(case.images.values())), out)
    return labels


def write_labels(labels: np.ndarray, like: Path, out: Path) -> None:
    """Write labels (DHW) as uint8 NIfTI with the affine, form codes and units of the image ``like``."""
    reference = nibabel.load(like)
    image = nibabel.Nifti1Image(labels.astype(np.uint8), reference.affine)
    image.set_qform(*reference.get_qform(coded=True))
    image.set_sform(*reference.get_sform(coded=True))
    image.header.set_xyzt_units(*reference.header.get_xyzt_units())
    with atomic_path(out) as temporary:
        nibabel.save(image, temporary)
