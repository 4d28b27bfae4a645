# SPDX-License-Identifier: Apache-2.0
"""The section ``learning`` of a configuration."""

from __future__ import annotations

from operator import not_
from typing import Literal

from pydantic import Field

from fedpac_me.config_section import Section


class LearningConfig(Section):
    """What one site does in one round. A switch that is off is not in a resolved configuration, whose hash stays what
    it was before there was the switch.
    """

    steps_per_round: int = Field(20, ge=1)
    batch: int = Field(2, ge=1)
    learning_rate: float = Field(3e-3, gt=0, strict=False)
    final_learning_rate: float = Field(
        0.03, ge=0, le=1, strict=False, description="share of the learning rate left at the end of the federation"
    )
    warmup_steps: int = Field(40, ge=0)
    weight_decay: float = Field(1e-4, ge=0, strict=False)
    clip_norm: float = Field(1.0, gt=0, strict=False)
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on CUDA, float32 on CPU"
    )
    compile: bool = Field(
        False,
        exclude_if=not_,
        description="train through torch.compile, uncompiled where that fails; other bytes, equal to rounding",
    )
    checkpointing: bool = Field(
        False,
        exclude_if=not_,
        description="keep only what goes into each layer and compute its inside again for the gradient: less memory, "
        "more time",
    )
    cpu_threads: int = Field(
        1, ge=1, description="torch threads of a site on CPU; results depend on it to the last bit"
    )
