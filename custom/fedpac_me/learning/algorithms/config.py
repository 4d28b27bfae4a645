# SPDX-License-Identifier: Apache-2.0
"""The section `algorithm` of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedpac_me.config_section import Section

if TYPE_CHECKING:
    from fedpac_me.config import Config


class AlgorithmConfig(Section):
    """What a site's round has beside plain training, after a published algorithm."""

    name: Literal["none", "fedprox", "scaffold", "ditto", "fedrep", "moon"] = Field(
        "none", description="none: plain training, as FedAvg's"
    )
    proximal_weight: float = Field(
        0.01,
        ge=0,
        strict=False,
        description="fedprox's μ and ditto's λ: of half the squared distance from the received model",
    )
    contrast_weight: float = Field(1.0, ge=0, strict=False, description="moon's μ: of the model-contrastive loss")
    temperature: float = Field(0.5, gt=0, strict=False, description="moon's τ: what similarities are divided by")
    head_steps: int = Field(
        10, ge=1, description="fedrep: first steps of a round, in which the last layer alone learns; then the rest does"
    )

    def require_fit(self, config: Config) -> None:
        """Raises ``ValueError`` with a sentence where the rest of ``config`` leaves the algorithm nothing to do."""
        if self.name != "none" and config.federation.share == "nothing":
            raise ValueError(
                f"algorithm.name is '{self.name}', which needs a model that the sites share: "
                "set federation.share to 'all'"
            )
        if self.name == "fedrep" and config.model.own != "last_layer":
            raise ValueError("algorithm.name 'fedrep' trains a site's own last layer: set model.own to 'last_layer'")
        if self.name == "fedrep" and self.head_steps >= config.learning.steps_per_round:
            raise ValueError(
                f"algorithm.head_steps is {self.head_steps} of {config.learning.steps_per_round} "
                "learning.steps_per_round, which leaves none for the shared layers: lower it"
            )
        if self.name == "fedrep" and config.router.refine != "nothing":
            raise ValueError("algorithm.name 'fedrep' lets two parts learn in turn, no third: leave router.refine out")
        if self.name == "ditto":
            self._require_plain_rest(config)

    def _require_plain_rest(self, config: Config) -> None:
        """Ditto's own model is a whole one, trained by the segmentation loss."""
        taken = {
            "model.own": config.model.own != "nothing",
            "router.refine": config.router.refine != "nothing",
            "contrast": config.contrast.active,
            "evaluation.local_models": config.evaluation.local_models,
        }
        wrong = " and ".join(name for name, is_on in taken.items() if is_on)
        if wrong:
            raise ValueError(
                "algorithm.name 'ditto' gives every site a whole model of its own, trained by the segmentation loss "
                f"and heard in place of any other: leave {wrong} out"
            )
