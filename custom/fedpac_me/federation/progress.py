# SPDX-License-Identifier: Apache-2.0
"""The round in a line for whoever waits, and in figures for the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedpac_me.federation.ledger import Accepted, RoundRecord


def round_line(record: RoundRecord, total_rounds: int, mean_seconds: float) -> str:
    """What happened in the round, and about how long the remaining ones will take at ``mean_seconds`` each."""
    parts = [f"round {record.round + 1}/{total_rounds}", record.outcome, f"{len(record.accepted)} updates"]
    if record.rejected:
        parts.append(f"{len(record.rejected)} rejected")
    for name, label in (("train_loss", "loss"), ("dice_mean", "validation Dice")):
        values = [metrics[name] for metrics in record.metrics.values() if name in metrics]
        if values:
            parts.append(f"{label} {sum(values) / len(values):.3f}")
    parts.append(f"{record.seconds:.1f} s")
    left = (total_rounds - record.round - 1) * mean_seconds
    parts.append(f"about {duration(left)} left" if left else "training done, evaluating")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in words: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def routed_cases(accepted: Mapping[str, Accepted]) -> dict[str, Any]:
    """Cases by expert at each site, and the experts that nobody used; empty where the model has none."""
    masses = {site: line.expert_mass for site, line in sorted(accepted.items()) if line.expert_mass is not None}
    if not masses:
        return {}
    dead = [expert for expert, column in enumerate(zip(*masses.values(), strict=True)) if not any(column)]
    rows = {f"experts_of_{site}": " ".join(f"{mass:g}" for mass in row) for site, row in masses.items()}
    return {**rows, "dead_experts": " ".join(map(str, dead)) or "none"}


def agreement_of_sites(means: Sequence[float | None]) -> dict[str, float]:
    """The mean cosine between the sites' updates of an expert, of every expert that two sites moved."""
    return {f"expert_{expert}_agreement": mean for expert, mean in enumerate(means) if mean is not None}


def latest_figures(rounds: Sequence[RoundRecord]) -> dict[str, float]:
    """``loss`` and ``dice``: what the sites reported last, as means over them.

    The running round has neither until a site answers, and most rounds do not validate; whoever looks in between wants
    to see figures all the same.
    """
    reported = [mean_metrics(record.metrics) for record in rounds]
    names = {"loss": "mean_train_loss", "dice": "mean_dice_mean"}
    found = {short: [means[name] for means in reported if name in means] for short, name in names.items()}
    return {short: values[-1] for short, values in found.items() if values}


def round_figures(record: RoundRecord) -> dict[str, float]:
    """The round at the server in figures, by the names of their curves.

    Who took part, seconds, bytes, means over the sites of what they reported, and how the experts were used.
    """
    counts = {"accepted": len(record.accepted), "rejected": len(record.rejected), "abstained": len(record.abstained)}
    cost = {"seconds": record.seconds, "bytes_up": record.bytes_up, "bytes_down": record.bytes_down}
    figures = counts | cost | mean_metrics(record.metrics)
    if record.expert_mass:
        figures |= {f"expert_mass/{expert}": mass for expert, mass in enumerate(record.expert_mass)}
        figures |= {"routing_entropy": record.routing_entropy, "dead_experts": len(record.dead_experts)}
        figures |= agreement_of_sites(record.agreement)
    return figures


def mean_metrics(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean over sites of every metric that any of them reported, as ``mean_<name>``."""
    figures: dict[str, list[float]] = {}
    for site in sorted(metrics):
        for name, value in metrics[site].items():
            figures.setdefault(f"mean_{name}", []).append(value)
    return {name: sum(values) / len(values) for name, values in sorted(figures.items())}
