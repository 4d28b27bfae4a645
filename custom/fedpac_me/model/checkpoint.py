# SPDX-License-Identifier: Apache-2.0
"""Reading the models that a run left on the server's disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fedpac_me.errors import InputError

FINAL_MODEL = "FL_global_model.pt"
BEST_MODEL = "best_FL_global_model.pt"


def find_checkpoint(run: Path, file_name: str = FINAL_MODEL) -> Path:
    """The checkpoint below a run's folder. Raises ``InputError`` when there is none or more than one."""
    found = sorted(run.rglob(file_name))
    if len(found) != 1:
        raise InputError(f"Expected one {file_name} below {run}, found {len(found)}. Name the checkpoint file itself.")
    return found[0]


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Weights of a checkpoint that FLARE's persistor wrote. Raises ``InputError`` when it is damaged or foreign."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.numpy() for name, value in content["model"].items()}
    except Exception as error:
        raise InputError(
            f"{path} is not a checkpoint of this project ({type(error).__name__}). Name a {FINAL_MODEL} of a run."
        ) from None
