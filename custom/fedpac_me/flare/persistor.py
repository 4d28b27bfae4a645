# SPDX-License-Identifier: Apache-2.0
"""The global model on the server's disk: FLARE's file persistor around the configured network."""

from __future__ import annotations

from typing import Any

import torch
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey
from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
from torch import nn

from fedpac_me.config import parse_config
from fedpac_me.errors import InputError
from fedpac_me.federation.keys import RouterKeys
from fedpac_me.federation.run_state import RunState
from fedpac_me.federation.schema import signature
from fedpac_me.model.backbone import SegmentationNet, build_model, get_weights, set_weights, shared_state


class FedPacMePersistor(PTFileModelPersistor):
    """Starts from a seeded network, so that a job folder alone decides the first model to the byte.

    Args:
        config: the resolved configuration as plain JSON types.
    """

    def __init__(self, config: dict) -> None:
        super().__init__(load_device="cpu")
        self.config = config
        self._meta: dict[str, Any] | None = None

    def handle_event(self, event: str, fl_ctx: FLContext) -> None:
        """Builds the network when the run starts, then does what FLARE's persistor does."""
        if event == EventType.START_RUN:
            self.model = _Shared(build_model(parse_config(self.config)))
        super().handle_event(event, fl_ctx)

    def resume(self, state: RunState, fl_ctx: FLContext) -> None:
        """Go on with the models of ``state``, which are on this job's disk from now on.

        Raises ``InputError`` when they are another network's.
        """
        if signature(state.weights) != signature(get_weights(self.model.network)):
            raise InputError("The state's model is not the one that the job's configuration describes.")
        self._meta = state.meta
        for weights, path in ((state.best, self._best_ckpt_save_path), (state.weights, self._ckpt_save_path)):
            if weights:
                set_weights(self.model.network, weights)
                self.load_model(fl_ctx)
                self.save_model_file(path)

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """FLARE's, and what went out with the model in the run that is resumed."""
        learnable = super().load_model(fl_ctx)
        if self._meta is not None:
            learnable[ModelLearnableKey.META] = dict(self._meta)
        return learnable

    def set_router_keys(self, keys: RouterKeys) -> None:
        """Put the keys that the sites found together into the first model."""
        self.model.network.router.load(keys)


class _Shared(nn.Module):
    """The network as FLARE shall see it: without what the sites keep for themselves."""

    def __init__(self, network: SegmentationNet) -> None:
        super().__init__()
        self.network = network

    def state_dict(self, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
        """What travels, under the network's own names."""
        return shared_state(self.network)
