# SPDX-License-Identifier: Apache-2.0
"""One line a round for whoever waits."""

from __future__ import annotations

from fedpac_me.federation.ledger import RoundRecord


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
