# SPDX-License-Identifier: Apache-2.0
"""The same federation in one process and without FLARE: the same sites, the same server, the same bytes.

For research and comparisons, where starting six processes a run is what takes the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedpac_me.config import Config
from fedpac_me.data.pooling import site_folders
from fedpac_me.data.site import folder_settings
from fedpac_me.data.style import STYLE
from fedpac_me.errors import InputError
from fedpac_me.evaluation.run_record import FINAL_MODEL
from fedpac_me.federation.keys import KeySearch, RouterKeys
from fedpac_me.federation.ledger import Ledger
from fedpac_me.federation.precision import as_sent
from fedpac_me.federation.progress import round_line
from fedpac_me.federation.server_round import RoundServer, server_arguments
from fedpac_me.federation.update import DATA_KIND, Contribution
from fedpac_me.learning.site import Site, SiteUpdate
from fedpac_me.model.backbone import build_model, get_weights

Weights = dict[str, np.ndarray]
Tamper = Callable[[str, SiteUpdate], SiteUpdate]
"""From a site's name and its update, what it sends instead."""


@dataclass(frozen=True)
class Outcome:
    """What a run comes to.

    Attributes:
        weights: the final model; the first one where nothing is shared.
        ledger: its rounds.
        evaluations: per site what ``Site.evaluate`` says of the final model; empty where nothing is shared.
        local_evaluations: the same of each model that a site trained for itself, by that site; see
            ``Site.local_weights``.
        validations: mean Dice on each training site's validation cases under the model that is judged there at the end.
    """

    weights: Weights
    ledger: Ledger
    evaluations: dict[str, dict[str, Any]]
    local_evaluations: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    validations: dict[str, float] = field(default_factory=dict)


def run_federation(
    config: Config,
    data: Path,
    folder: Path,
    progress: Callable[[str], None] = print,
    tamper: Tamper | None = None,
) -> Outcome:
    """Train ``config`` at the sites below ``data``; ``folder`` takes what each site keeps.

    With ``tamper``, for experiments with hostile sites, a refused update is a line of the ledger and no error.

    Raises:
        InputError: bad data, or experts for which no keys can be found.
        TrainingFailed: a site's loss is not finite.
    """
    sites = [
        Site(path.name, config, folder_settings(path), folder / path.name) for path in site_folders(data.resolve())
    ]
    server = RoundServer(**server_arguments(config))
    weights, ledger = first_weights(config, sites), Ledger()
    meta: Mapping[str, Any] = {}
    for number in range(config.federation.rounds):
        server.begin(number, weights)
        received = as_sent(weights, config.federation.download)
        for site in sites:
            update = site.train(received, number, server_meta=meta)
            update = tamper(site.name, update) if tamper is not None else update
            verdict = server.accept(Contribution(site.name, DATA_KIND, number, update.diff, update.meta))
            if not verdict.ok and tamper is None:
                raise InputError(f"The update of {site.name} was refused: {verdict.reason}")
        result = server.close()
        meta = result.meta
        weights = {**weights, **{name: weights[name] + step for name, step in result.diff.items()}}
        ledger.add(result.record)
        progress(round_line(result.record, config.federation.rounds, result.record.seconds))
    return _judged(config, sites, weights, ledger)


def _judged(config: Config, sites: list[Site], weights: Weights, ledger: Ledger) -> Outcome:
    """Every model at every site, and at last the one that is the site's: that is at hand when the site validates."""
    locals_ = {site.name: own for site in sites if (own := site.local_weights()) is not None}
    shared = {} if config.federation.share == "nothing" else {FINAL_MODEL: weights}
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in (*locals_, *shared)}
    validations = {}
    for site in sites:
        last = FINAL_MODEL if shared else site.name
        for name, model in sorted((locals_ | shared).items(), key=lambda item: (item[0] == last, item[0])):
            found[name][site.name] = site.evaluate(model, name)
        if site.role == "train" and site.split.validation:
            validations[site.name] = site.validation()["dice_mean"]
    return Outcome(weights, ledger, found.pop(FINAL_MODEL, {}), found, validations)


def first_weights(config: Config, sites: list[Site]) -> Weights:
    """The seeded network, its router's keys found by all the sites together."""
    model = build_model(config)
    if model.router is not None:
        model.router.load(find_keys(config, sites))
    return get_weights(model)


def find_keys(config: Config, sites: list[Site]) -> RouterKeys:
    """The router's keys. Raises ``InputError`` when there are fewer styles, or sites, than experts."""
    search = KeySearch(config.model.experts, config.router.keys == "site", len(STYLE), config.seed)
    while (question := search.question) is not None:
        for site in sites:
            given = site.answer(question)
            if given is not None:
                search.accept(site.name, given)
        search.close()
    return search.result()
