# SPDX-License-Identifier: Apache-2.0
"""The model on its way to the sites, in the configured number format."""

from __future__ import annotations

from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator

from fedpac_me.federation.precision import FLOAT32, as_sent


def model_generator(download: str) -> FullModelShareableGenerator:
    """What turns the server's model into a message; FLARE's own where nothing is rounded."""
    return FullModelShareableGenerator() if download == FLOAT32 else ModelSender(download)


class ModelSender(FullModelShareableGenerator):
    """FLARE's generator; what it sends is a copy, so that the server's model stays as it is.

    Args:
        download: a format of ``federation.precision``.
    """

    def __init__(self, download: str) -> None:
        super().__init__()
        self.download = download

    def learnable_to_shareable(self, model_learnable: ModelLearnable, fl_ctx: FLContext) -> Shareable:
        """The weights as they are sent, with what goes out beside them."""
        weights = as_sent(model_learnable[ModelLearnableKey.WEIGHTS], self.download)
        return DXO(DataKind.WEIGHTS, data=weights, meta=model_learnable[ModelLearnableKey.META]).to_shareable()
