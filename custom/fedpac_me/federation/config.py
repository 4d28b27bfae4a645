# SPDX-License-Identifier: Apache-2.0
"""The section `federation` of a configuration."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from pydantic import Field, model_validator

from fedpac_me.config_section import Section
from fedpac_me.federation.merge_rules import MergeRules
from fedpac_me.federation.precision import FLOAT32

WireFormat = Literal["float32", "float16"]


def _usual(format: str) -> bool:
    # What changes nothing is not in a resolved configuration: its hash stays comparable with that of earlier runs.
    return format == FLOAT32


class ServerAdamConfig(Section):
    """FedAdam, see ``adam``."""

    learning_rate: float = Field(0.01, gt=0, strict=False, description="η: about how far a weight moves in a round")
    beta1: float = Field(0.9, ge=0, lt=1, strict=False)
    beta2: float = Field(0.99, ge=0, lt=1, strict=False)
    tau: float = Field(1e-3, gt=0, strict=False, description="differences well below it are hardly moved by")


class FederationConfig(Section):
    """What the server does."""

    rounds: int = Field(28, ge=1)
    share: Literal["all", "nothing"] = Field(
        "all", description="nothing: every site keeps its own model (the local-only baseline)"
    )
    expert_merge: Literal["mass", "cases_of_users", "cases"] = Field(
        "mass",
        description="what weighs a site's update of an expert: its scans there, all of a user's, all of anyone's",
    )
    expert_prior: float = Field(
        0.0, ge=0, strict=False, description="κ: scans' worth of the old expert that enter its merge"
    )
    max_site_share: float = Field(
        1.0, gt=0, le=1, strict=False, description="most of all cases in a merge that may be one site's; 1: no limit"
    )
    clip_norm_factor: float = Field(
        3.0,
        ge=0,
        strict=False,
        description="an update longer than this many times the median of earlier rounds is cut to it; 0: never",
    )
    clip_norm_first: float = Field(
        0.0, ge=0, strict=False, description="most length of an update before any round was merged; 0: no bound"
    )
    robust: Literal["none", "norm_clipping", "median", "trimmed_mean", "geometric_median", "multi_krum"] = Field(
        "none", description="a merge that a minority of hostile sites cannot steer; see docs/security.md"
    )
    hostile_sites: int = Field(1, ge=0, description="how many hostile sites a robust merge must withstand")
    quorum: int = Field(2, ge=0, description="fewest accepted updates that may change the model")
    server_momentum: float = Field(
        0.0, ge=0, lt=1, strict=False, description="Nesterov momentum on the merged difference (FedAvgM)"
    )
    expert_momentum: bool = Field(True, description="whether the server's momentum, or Adam, moves experts too")
    server_adam: ServerAdamConfig | None = Field(
        None, description="FedAdam: Adam at the server with the merged difference for a gradient; null: none"
    )
    upload: WireFormat = Field(
        FLOAT32,
        exclude_if=_usual,
        description="what the sites send; float16: half the bytes, what rounding takes is added to the next update",
    )
    download: WireFormat = Field(
        FLOAT32, exclude_if=_usual, description="the model on its way to the sites; the server keeps it in float32"
    )
    round_timeout: int = Field(
        0, ge=0, description="seconds a round may take before it closes without the late sites; 0: no limit"
    )
    abort_after_failed_rounds: int = Field(
        3, ge=1, description="rounds in a row without quorum after which the job stops"
    )

    @property
    def merge_rules(self) -> dict[str, Any]:
        """The arguments of ``MergeRules``."""
        return {rule.name: getattr(self, rule.name) for rule in fields(MergeRules)}

    @model_validator(mode="after")
    def _rules_fit_together(self) -> FederationConfig:
        MergeRules(**self.merge_rules).check_quorum(self.quorum)
        if self.server_adam is not None and self.server_momentum:
            raise ValueError("server_adam has a momentum of its own, beta1: set server_momentum to 0")
        if self.server_adam is not None and self.share == "nothing":
            raise ValueError("share is 'nothing', so the server has nothing to move: leave server_adam out")
        return self
