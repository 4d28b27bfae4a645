# SPDX-License-Identifier: Apache-2.0
"""The one configuration of a run: typed, frozen, unknown keys refused, defaults in this file only.

``app_configs/*.json`` are instances; each may name another in ``extends`` and states only what differs.
Nothing about a particular site belongs here: see ``fedpac_me.data.site``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from fedpac_me.config_section import Section
from fedpac_me.errors import InputError
from fedpac_me.federation.config import FederationConfig
from fedpac_me.learning.algorithms.config import AlgorithmConfig
from fedpac_me.learning.config import LearningConfig

SMALLEST_CROP = 16
"""In voxels: what every network here can still halve as often as it does."""


class DataConfig(Section):
    """What a case must offer and how it is cut."""

    max_missing_modalities: int = Field(1, ge=0, le=3, description="a case lacking more is refused")
    max_unusable: float = Field(
        0.1, ge=0, lt=1, strict=False, description="share of a site's cases that it may leave out as unusable"
    )
    resample: bool = Field(False, description="put files on another grid onto the first image's; otherwise: refused")
    crop: int = Field(
        32,
        ge=SMALLEST_CROP,
        multiple_of=8,
        description="edge of the cubic training crop and evaluation window, in voxels",
    )
    tumour_crops: float = Field(0.67, ge=0, le=1, description="share of crops centred on tumour")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring each axis")


class ModelConfig(Section):
    """MONAI's SegResNet."""

    filters: int = Field(8, ge=4, description="channels after the first convolution")
    blocks_down: tuple[int, ...] = Field((0, 1, 1, 1), min_length=2, strict=False)
    blocks_up: tuple[int, ...] = Field((1, 1, 0), min_length=1, strict=False)
    norm: Literal["instance", "group", "batch"] = "instance"
    dropout: float = Field(0.0, ge=0, lt=1)
    experts: int = Field(1, ge=1, le=64, description="sets of normalisation parameters, one an imaging style")
    adapter_rank: int = Field(
        0, ge=0, le=64, description="rank of each expert's addition to every 3³ convolution but the first; 0: none"
    )
    shared_affine: bool = Field(
        True,
        description="whether an expert's scale and shift are additions to shared ones; otherwise entirely its own",
    )
    own: Literal["nothing", "head", "all", "last_layer"] = Field(
        "nothing",
        description="what a hospital adds for itself and never sends: head, to the last layer's bias; all, to the "
        "scale and shift of every normalisation too; or last_layer, what it has instead of a shared one",
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> ModelConfig:
        if len(self.blocks_up) != len(self.blocks_down) - 1:
            raise ValueError("blocks_up must have one entry fewer than blocks_down")
        return self

    @model_validator(mode="after")
    def _experts_are_norms(self) -> ModelConfig:
        if self.norm == "group" and (self.experts > 1 or self.adapter_rank or self.own == "all"):
            raise ValueError("experts, adapters and own parts need norm 'batch' or 'instance', not 'group'")
        return self


class RouterConfig(Section):
    """How a scan finds its expert."""

    keys: Literal["style", "site"] = Field(
        "style", description="what an expert stands for: an imaging style (federated k-means), or a site (FedBN)"
    )
    local_clusters: int = Field(3, ge=1, le=64, description="most styles that one site may report")
    soft: bool = Field(False, description="at inference mix the experts by distance instead of taking the nearest")
    refine: Literal["nothing", "figures", "own_bias"] = Field(
        "nothing",
        description="what gradient adds to the frozen keys: weights of the style's figures, learned by all sites, or "
        "each site's leaning towards some experts, which never leaves it",
    )
    refine_every: int = Field(8, ge=1, description="training steps from one look at the gate's gradient to the next")
    unseen: Literal["nearest", "average"] = Field(
        "nearest", description="with keys 'site': whose expert serves a site that never trained"
    )
    unseen_statistics: Literal["kept", "scan"] = Field(
        "kept",
        exclude_if="kept".__eq__,
        description="with keys 'site': a site that never trained normalises by running statistics, or by each scan's",
    )
    far: Literal["nearest", "average", "surest"] = Field(
        "nearest",
        description="who speaks for a scan far from every key: the nearest expert, all of them on average, or the one "
        "that is surest of its answer",
    )


class Perspective(Section):
    """One way in which the same patient could have been imaged."""

    probability: float = Field(0.0, ge=0, le=1, strict=False)
    strength: float = Field(0.6, gt=0, le=2, strict=False, description="1: strong, yet seen in practice")


class PerspectivesConfig(Section):
    """Multi-perspective augmentation (MPA) of training crops; every perspective is off unless it has a probability."""

    bias_field: Perspective = Perspective()
    contrast: Perspective = Perspective()
    histogram_shift: Perspective = Perspective()
    noise: Perspective = Perspective()
    thick_slices: Perspective = Perspective()
    motion: Perspective = Perspective()
    ghosting: Perspective = Perspective()
    modality_drop: Perspective = Perspective()
    affine: Perspective = Perspective()
    gaussian_noise: Perspective = Perspective()
    intensity_shift: Perspective = Perspective()
    fgsm: Perspective = Perspective()


class ContrastConfig(Section):
    """The perspective-aware contrastive loss (PACL); off unless a weight is above 0."""

    prototype_weight: float = Field(0.0, ge=0, strict=False, description="of the pull towards all sites' prototypes")
    view_weight: float = Field(0.0, ge=0, strict=False, description="of the agreement of two perspectives of a scan")
    view_every: int = Field(4, ge=1, description="steps between those that look at a second perspective")
    dimension: int = Field(32, ge=2, le=1024, description="of a region's embedding")
    temperature: float = Field(0.2, gt=0, strict=False)
    queue: int = Field(64, ge=0, le=65536, description="embeddings of earlier scans kept as negatives")
    start: float = Field(0.2, ge=0, le=1, strict=False, description="share of the rounds before it begins")
    ramp: float = Field(0.2, ge=0, le=1, strict=False, description="share of the rounds over which it grows")
    minimum_count: float = Field(4.0, ge=0, strict=False, description="crops behind a prototype before it is used")
    decay: float = Field(0.5, ge=0, lt=1, strict=False, description="share of the old prototype kept each round")

    @property
    def active(self) -> bool:
        """Whether the network carries an embedder at all."""
        return self.prototype_weight > 0 or self.view_weight > 0


class EvaluationConfig(Section):
    """How volumes are predicted and scored."""

    overlap: float = Field(0.25, ge=0, lt=1, strict=False, description="overlap of neighbouring windows")
    window_batch: int = Field(4, ge=1)
    small_parts_mm3: float = Field(
        50.0, ge=0, strict=False, description="up to this volume parts of a prediction are left out, as BraTS 2023 does"
    )
    validation_every: int = Field(4, ge=1, description="rounds between validations of the received model")
    local_models: bool = Field(False, description="evaluate every site's locally trained model at all sites too")
    pair_matching: bool = Field(
        False, description="report pair-matching accuracy too, which the authors' code has; no segmentation result"
    )


class Config(Section):
    """Everything that decides a run's result, apart from the data."""

    method: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="short name of the method; default name of the run and of the job",
    )
    title: str = Field(max_length=200, description="one line for the report")
    seed: int = Field(0, ge=0, le=2**31 - 1)
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    router: RouterConfig = RouterConfig()
    perspectives: PerspectivesConfig = PerspectivesConfig()
    contrast: ContrastConfig = ContrastConfig()
    learning: LearningConfig = LearningConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    federation: FederationConfig = FederationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    pooled: bool = Field(
        False, description="simulation only: one site holds every training site's cases (the central upper bound)"
    )

    @model_validator(mode="after")
    def _a_gate_has_something_to_choose(self) -> Config:
        refines = self.router.refine != "nothing"
        if refines and (self.model.experts == 1 or self.model.norm == "batch" or self.router.keys == "site"):
            raise ValueError(
                "router.refine needs model.experts above 1, router.keys 'style' and model.norm 'instance': a mixture "
                "of experts has no batch statistics to train with"
            )
        return self

    @model_validator(mode="after")
    def _a_scans_statistics_take_the_place_of_kept_ones(self) -> Config:
        if self.router.unseen_statistics == "scan" and (self.router.keys != "site" or self.model.norm != "batch"):
            raise ValueError("router.unseen_statistics 'scan' needs router.keys 'site' and model.norm 'batch'")
        return self

    @model_validator(mode="after")
    def _a_part_is_own_beside_a_shared_one(self) -> Config:
        parts = {"model.own": self.model.own != "nothing", "router.refine": self.router.refine == "own_bias"}
        own = " and ".join(name for name, has in parts.items() if has)
        if own and self.federation.share == "nothing":
            raise ValueError(f"federation.share is 'nothing': the whole model is the site's own, so leave {own} out")
        return self

    @model_validator(mode="after")
    def _nothing_is_counted_twice(self) -> Config:
        if self.learning.checkpointing and self.model.norm == "batch":
            raise ValueError(
                "learning.checkpointing computes activations twice, which would move batch statistics twice: take "
                "model.norm 'instance' or 'group', or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _the_algorithm_has_something_to_do(self) -> Config:
        self.algorithm.require_fit(self)
        return self

    def to_dict(self) -> dict[str, Any]:
        """The resolved config as plain JSON types."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the resolved config."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def parse_config(content: dict[str, Any], source: str = "config") -> Config:
    """Validate a config given as a dict. Raises ``InputError`` naming every wrong field."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(_sentence(fault) for fault in error.errors())
        raise InputError(f"{source}: {faults}. The fields are described in app_configs/README.md.") from None


def changed(config: Config, changes: dict[str, Any], source: str = "config") -> Config:
    """``config`` with nested ``changes``, validated again. Raises ``InputError`` as ``parse_config`` does."""
    return parse_config(merged(config.to_dict(), changes), source)


def load_config(path: Path | str, overrides: dict[str, Any] | None = None) -> Config:
    """Read a config file, resolve ``extends``, apply nested ``overrides`` and validate.

    Raises:
        InputError: the file is missing, is not JSON, extends itself, or has an unknown or wrongly typed key.
    """
    return parse_config(merged(_resolve(Path(path), ()), overrides or {}), source=str(path))


def _resolve(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in seen:
        raise InputError(
            f"{path.name}: configs extend each other in a circle ({' -> '.join(p.name for p in (*seen, path))})."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"There is no config file {path}. The ones that come with the project are in app_configs/."
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold one JSON object, not a {type(content).__name__}.")
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str):
        raise InputError(f"{path}: 'extends' must be the name of a config file beside it, not {parent!r}.")
    return merged(_resolve(path.parent / parent, (*seen, path)), content)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, section by section."""
    result = dict(base)
    for key, value in changes.items():
        both_sections = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both_sections else value
    return result


def _sentence(fault: Any) -> str:
    field = ".".join(str(part) for part in fault["loc"]) or "(the whole config)"
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{field}'"
    return f"'{field}' is {fault['input']!r}: {fault['msg'].removeprefix('Value error, ').removesuffix('.')}"
