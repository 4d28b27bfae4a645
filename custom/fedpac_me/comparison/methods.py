# SPDX-License-Identifier: Apache-2.0
"""The methods of a comparison: configurations, and how much each of them trains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fedpac_me
from fedpac_me.config import Config, load_config
from fedpac_me.errors import InputError

CONFIGS = "app_configs"
"""Looked for where the user stands, then beside the package."""


@dataclass(frozen=True)
class Method:
    """One row of a comparison: a configuration file with its rounds settled; the seed is set run by run."""

    path: Path
    config: Config

    @property
    def name(self) -> str:
        """What the configuration calls itself."""
        return self.config.method

    def with_seed(self, seed: int) -> Config:
        """The configuration of one run."""
        return load_config(self.path, {"seed": seed, "federation": {"rounds": self.config.federation.rounds}})


@dataclass(frozen=True)
class Compute:
    """What a run trains on: steps × batch × rounds at each of ``sites``, in cubes of ``crop`` voxels."""

    steps: int
    batch: int
    rounds: int
    sites: int
    crop: int

    @property
    def voxels(self) -> int:
        """All that pass the network in training, at all sites."""
        return self.steps * self.batch * self.rounds * self.sites * self.crop**3

    @property
    def sentence(self) -> str:
        """The product in words."""
        places = f"{self.sites} site" + ("" if self.sites == 1 else "s")
        return (
            f"{self.steps} steps × batch {self.batch} × {self.rounds} rounds at {places} = "
            f"{self.steps * self.batch * self.rounds * self.sites} crops of {self.crop}³ voxels"
        )


def compute_of(config: Config, training_sites: int) -> Compute:
    """What ``config`` trains on in a federation with that many sites that train; pooled, they are one."""
    learning, sites = config.learning, 1 if config.pooled else training_sites
    return Compute(learning.steps_per_round, learning.batch, config.federation.rounds, sites, config.data.crop)


def load_methods(names: Sequence[str], rounds: int | None = None, budget: float | None = None) -> list[Method]:
    """The methods of that name, in order.

    Args:
        names: files of ``app_configs`` or of its ``ablations`` without their ending, or paths of JSON files.
        rounds: instead of each configuration's own.
        budget: times each configuration's own rounds, rounded, at least one.

    Raises:
        InputError: no such file, a wrong configuration, or two that call themselves the same.
    """
    methods = [_load(name, rounds, budget) for name in names]
    called = [method.name for method in methods]
    twice = sorted({name for name in called if called.count(name) > 1})
    if twice:
        raise InputError(
            f'Two of the methods call themselves {twice[0]}. Name each once, or give one another "method" in its file.'
        )
    return methods


def find_method(name: str) -> Path:
    """The file of a method; see ``load_methods``. Raises ``InputError`` when there is none."""
    if name.endswith(".json"):
        return Path(name)
    for folder in _folders():
        for path in (folder / f"{name}.json", folder / "ablations" / f"{name}.json"):
            if path.is_file():
                return path
    known = ", ".join(sorted({path.stem for folder in _folders() for path in folder.glob("*.json")} - {"base"}))
    raise InputError(
        f"There is no method {name}. Expected the name of a file of {CONFIGS}/ or {CONFIGS}/ablations/, or the path of "
        f"a JSON file{f'; there are {known}' if known else ''}."
    )


def _folders() -> Iterable[Path]:
    return (Path(CONFIGS), Path(fedpac_me.__file__).parents[2] / CONFIGS)


def _load(name: str, rounds: int | None, budget: float | None) -> Method:
    path = find_method(name)
    config = load_config(path)
    changes: dict[str, Any] = {}
    if rounds is not None:
        changes = {"federation": {"rounds": rounds}}
    elif budget is not None:
        changes = {"federation": {"rounds": max(1, round(budget * config.federation.rounds))}}
    return Method(path, load_config(path, changes))
