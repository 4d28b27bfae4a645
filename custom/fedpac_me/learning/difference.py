# SPDX-License-Identifier: Apache-2.0
"""What a site's round changed in the model, as it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fedpac_me.federation.merge import CASES
from fedpac_me.federation.moments import to_moments
from fedpac_me.federation.precision import sent_and_kept
from fedpac_me.federation.schema import expert_of
from fedpac_me.learning.site_state import SiteState


def difference(trained: Mapping[str, np.ndarray], received: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``trained`` - ``received``, the entries of variances as the wire contract wants them."""
    # asarray: the difference of two 0-d arrays would be a scalar, which the wire contract refuses.
    return to_moments({name: np.asarray(value - received[name]) for name, value in trained.items()})


def without_unused(diff: dict[str, np.ndarray], mass: Sequence[float], expert_rule: str) -> dict[str, np.ndarray]:
    """An expert that no scan of the site used (``mass`` 0) has nothing to say, and is not sent."""
    if expert_rule == CASES:
        return diff
    return {name: value for name, value in diff.items() if (e := expert_of(name)) is None or mass[e] > 0}


def rounded(
    diff: dict[str, np.ndarray], state: SiteState | None, format: str
) -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor]]:
    """``diff`` in a format of ``federation.precision``, and ``SiteState.unsent`` of the round that made it.

    ``state``: what the site kept after the round before.
    """
    kept = {name: value.cpu().numpy() for name, value in state.unsent.items()} if state is not None else {}
    sent, unsent = sent_and_kept(diff, kept, format)
    return sent, {name: torch.from_numpy(value) for name, value in unsent.items()}
