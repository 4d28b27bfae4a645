# SPDX-License-Identifier: Apache-2.0
"""Which expert spoke for which scan: whom experts follow, what is lost without them, which scans none of them knows.

Test cases are those of the final model. Everything is builtins; a figure that does not exist is ``None``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from fedpac_me.evaluation.case_rows import PROPERTIES
from fedpac_me.evaluation.contingency import (
    entropy_bits,
    expected_mutual_information,
    normalised_mutual_information,
)
from fedpac_me.evaluation.run_record import FINAL_MODEL, RunRecord
from fedpac_me.evaluation.summary import site_order
from fedpac_me.federation.ledger import MERGED
from fedpac_me.labels import REGIONS


def routing_summary(record: RunRecord) -> dict[str, Any] | None:
    """What a run's record says about routing; ``None`` with fewer than two experts or when no case names its expert.

    Returns:
        ``experts``, their number; ``tables`` by ``site_training`` (training scans), ``site``, ``protocol`` and
        ``grade`` (test cases), as far as known, see ``contingency_table``; ``knock_out``, see ``knock_out``; ``sites``
        with ``routing_of`` each site's test cases; ``seen`` and ``unseen``, the same over the cases of all sites that
        trained, or never did; ``dead``, experts without training scans in the last of the
        ``counted_rounds``, those that were merged and tell; ``dead_rounds``, in how many of them each expert was dead;
        ``agreement``, see ``agreement_of_sites``.
    """
    sites = _routed_sites(record)
    masses = training_masses(record.rounds)
    experts = _number_of_experts(record, sites, masses)
    if experts < 2 or not sites:
        return None
    return {
        "experts": experts,
        "tables": _tables(sites, masses, experts),
        "knock_out": knock_out(sites),
        "sites": {site: {"role": found["role"], **routing_of(found["cases"])} for site, found in sites.items()},
        **{name: routing_of(cases) if cases else None for name, cases in _groups(sites).items()},
        **_dead(record.rounds, experts),
        "agreement": agreement_of_sites(record.rounds, experts),
    }


def training_masses(rounds: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Per site, how many training scans each expert had in the last round whose update was accepted.

    The site's own last round and not the run's: a site that failed once at the end still trained.
    """
    found = {
        line["site"]: list(line["expert_mass"])
        for entry in rounds
        for line in entry["accepted"]
        if line.get("expert_mass")
    }
    return {site: found[site] for site in sorted(found, key=site_order)}


def contingency_table(rows: Mapping[str, Sequence[float]], experts: int) -> dict[str, Any]:
    """``rows``, their names; ``counts``, one column an expert; ``nmi`` of both, and ``nmi_by_chance``.

    ``nmi_by_chance`` is what dealing the same experts to the same scans at random gives on average, or ``None`` where
    masses are no whole numbers.
    """
    counts = [[*masses, *[0] * (experts - len(masses))] for masses in rows.values()]
    return {
        "rows": list(rows),
        "counts": counts,
        "nmi": normalised_mutual_information(counts),
        "nmi_by_chance": expected_mutual_information(counts),
    }


def knock_out(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Dice lost when the second-nearest expert speaks instead; negative where the second one is better.

    Returns:
        ``sites``: ``{site: {"role", "cases", "drop", "experts": [{"expert", "cases", "drop"}]}}``, the cases grouped by
        the expert that spoke; ``seen`` and ``unseen`` without ``experts``, over all their cases. ``drop`` has a mean
        over cases for each region, and ``mean`` over regions. ``cases`` counts those that were measured; where there
        is none, the site or the group is left out or ``None``.
    """
    measured = {
        site: {"role": found["role"], "cases": [case for case in found["cases"] if _drops(case)]}
        for site, found in sites.items()
    }
    groups = _groups(measured)
    return {
        "sites": {
            site: {"role": found["role"], **_mean_drop(found["cases"]), "experts": _by_expert(found["cases"])}
            for site, found in measured.items()
            if found["cases"]
        },
        **{name: _mean_drop(cases) if cases else None for name, cases in groups.items()},
    }


def routing_of(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How some routed cases, at least one, lie to the experts.

    Returns:
        ``cases``; ``far``, how many are marked so, and ``far_share``; ``median_distance`` and ``largest_distance`` to
        the nearest key; ``entropy`` of the experts that spoke, in bits. A share or a mean is over the
        cases that know it.
    """
    far, distances = (_known(cases, name) for name in ("far", "distance"))
    spoken = [case["expert"] for case in cases]
    return {
        "cases": len(cases),
        "far": sum(value > 0 for value in far) if far else None,
        "far_share": fmean(value > 0 for value in far) if far else None,
        "median_distance": float(median(distances)) if distances else None,
        "largest_distance": max(distances) if distances else None,
        "entropy": entropy_bits(spoken.count(expert) for expert in set(spoken)),
    }


def agreement_of_sites(rounds: Sequence[Mapping[str, Any]], experts: int) -> list[dict[str, Any]] | None:
    """For each expert how alike the sites' updates of it were, by the server's word; ``None`` if it never says.

    Returns:
        ``last``, the cosine in the last merged round; ``mean`` over the merged ``rounds`` that have one. There is none
        in a round in which fewer than two sites moved the expert.
    """
    told = [entry["experts"]["agreement"] for entry in _told(rounds) if entry["experts"].get("agreement")]
    by_expert = [[cosines[expert] if expert < len(cosines) else None for cosines in told] for expert in range(experts)]
    known = [[cosine for cosine in cosines if cosine is not None] for cosines in by_expert]
    if not any(known):
        return None
    return [
        {"last": cosines[-1], "mean": fmean(found) if found else None, "rounds": len(found)}
        for cosines, found in zip(by_expert, known, strict=True)
    ]


def _routed_sites(record: RunRecord) -> dict[str, dict[str, Any]]:
    """The final model's test cases that name their expert; sites without one are left out."""
    evaluations = record.models.get(FINAL_MODEL, {})
    routed = {
        site: {
            "role": evaluations[site]["role"],
            "cases": [case for case in evaluations[site]["cases"] if case.get("expert") is not None],
        }
        for site in sorted(evaluations, key=site_order)
    }
    return {site: found for site, found in routed.items() if found["cases"]}


def _number_of_experts(
    record: RunRecord, sites: Mapping[str, Mapping[str, Any]], masses: Mapping[str, Sequence[float]]
) -> int:
    """As configured, or more if the record shows more: a config of another version may not say."""
    model = record.config.get("model")
    configured = model.get("experts") if isinstance(model, Mapping) else None
    spoken = [case["expert"] + 1 for found in sites.values() for case in found["cases"]]
    ledgers = [len(entry["experts"]["mass"]) for entry in record.rounds if entry.get("experts")]
    return max([configured if isinstance(configured, int) else 1, *spoken, *map(len, masses.values()), *ledgers])


def _tables(
    sites: Mapping[str, Mapping[str, Any]], masses: Mapping[str, Sequence[float]], experts: int
) -> dict[str, dict[str, Any]]:
    pairs = {"site": [(site, case["expert"]) for site, found in sites.items() for case in found["cases"]]}
    for name in PROPERTIES:
        labelled = [case for found in sites.values() for case in found["cases"] if case.get(name) not in (None, "")]
        pairs[name] = [(str(case[name]), case["expert"]) for case in labelled]
    counted = {"site_training": masses} | {name: _count(found, experts) for name, found in pairs.items()}
    return {name: contingency_table(rows, experts) for name, rows in counted.items() if rows}


def _count(pairs: Iterable[tuple[str, int]], experts: int) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for label, expert in sorted(pairs, key=lambda pair: site_order(pair[0])):
        rows.setdefault(label, [0] * experts)[expert] += 1
    return rows


def _groups(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {"seen": [], "unseen": []}
    for found in sites.values():
        groups["unseen" if found["role"] == "evaluate" else "seen"].extend(found["cases"])
    return groups


def _by_expert(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    spoken = sorted({case["expert"] for case in cases})
    return [{"expert": expert} | _mean_drop([case for case in cases if case["expert"] == expert]) for expert in spoken]


def _mean_drop(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    drops = [_drops(case) for case in cases]
    regions = {region: fmean(drop[region] for drop in drops) for region in REGIONS}
    return {"cases": len(cases), "drop": regions | {"mean": fmean(regions.values())}}


def _drops(case: Mapping[str, Any]) -> dict[str, float]:
    """Per region what the case loses; empty unless all regions were scored with both experts."""
    scores = {region: (case.get(f"dice_{region}"), case.get(f"second_dice_{region}")) for region in REGIONS}
    if any(score is None for pair in scores.values() for score in pair):
        return {}
    return {region: first - second for region, (first, second) in scores.items()}


def _known(cases: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(case[name]) for case in cases if case.get(name) is not None]


def _told(rounds: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rounds in which the server tells of experts. One that was not merged says who failed, not who is idle."""
    return [entry for entry in rounds if entry["outcome"] == MERGED and entry.get("experts")]


def _dead(rounds: Sequence[Mapping[str, Any]], experts: int) -> dict[str, Any]:
    """By the server's word."""
    told = [{expert for expert in entry["experts"]["dead"] if expert < experts} for entry in _told(rounds)]
    return {
        "dead": sorted(told[-1]) if told else [],
        "dead_rounds": [sum(expert in dead for dead in told) for expert in range(experts)],
        "counted_rounds": len(told),
    }
