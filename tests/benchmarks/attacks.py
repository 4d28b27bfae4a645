# SPDX-License-Identifier: Apache-2.0
"""Dice lost to hostile sites under every merge, on the phantom: the tables of docs/results/attacks.md.

    python tests/benchmarks/attacks.py                                     44 runs, minutes each
    python tests/benchmarks/attacks.py --merges plain median --attacks none sign_flip
    python tests/benchmarks/attacks.py --rounds 2 --merges plain --attacks none nan        a look, in minutes

What docs/results/attacks.jsonl holds for the same config, attack and phantom is taken from there. Two calls may run
side by side once the phantom is written.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedpac_me.config import Config, load_config
from fedpac_me.data.layouts import Case
from fedpac_me.data.phantom import write_phantom
from fedpac_me.data.pooling import site_folders
from fedpac_me.data.site import folder_settings
from fedpac_me.engine import Outcome, run_federation
from fedpac_me.errors import InputError
from fedpac_me.evaluation.statistics import CaseKey, bootstrap, difference
from fedpac_me.labels import REGIONS
from fedpac_me.learning.site import Site, SiteUpdate
from hostile_sites import add_patch, hide_behind_patch, hostile, rotate_labels, scaled, spoiled_root

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs/results/attacks.jsonl"
CONFIG = ROOT / "app_configs/experts.json"
SMALLER: dict[str, Any] = {"data": {"crop": 16}, "evaluation": {"overlap": 0.0}}
"""Than in the config, so that so many runs end in an evening."""
HOSTILE = ("site-2", "site-3")
"""The first alone, or both."""
VOTING = {"robust": "", "quorum": 3, "clip_norm_factor": 0.0}
MERGES: dict[str, dict[str, Any]] = {
    "plain": {"clip_norm_factor": 0.0},
    "bounded (default)": {},
    "norm_clipping": {"robust": "norm_clipping", "quorum": 3},
    "norm_clipping to the median": {"robust": "norm_clipping", "quorum": 3, "clip_norm_factor": 1.0},
    **{rule: VOTING | {"robust": rule} for rule in ("median", "geometric_median")},
    "multi_krum": VOTING | {"robust": "multi_krum"},
}
"""Name of the row: what is changed in the section `federation`. Among four sites with one hostile the trimmed mean is
the median, so it has no row."""


@dataclass(frozen=True)
class Attack:
    """What hostile sites send, and what they do to their training cases before that."""

    send: Callable[[SiteUpdate], SiteUpdate] | None = None
    spoil: Callable[[Case], None] | None = None


NO_ATTACK, BACKDOOR = Attack(), Attack(spoil=hide_behind_patch)
ATTACKS = {
    "none": NO_ATTACK,
    "nan": Attack(send=scaled(float("nan"))),
    "x1000": Attack(send=scaled(1000.0)),
    "sign_flip": Attack(send=scaled(-1.0)),
    "label_flip": Attack(spoil=rotate_labels),
    "backdoor": BACKDOOR,
}
BREAKDOWN = "sign_flip"
"""The attack with which one and two of the four sites are compared."""

Scores = dict[CaseKey, float]


def main() -> None:
    """Run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--merges", nargs="+", choices=MERGES, default=list(MERGES))
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = ROOT / "build/bench/phantom-0"
    if not data.exists():
        write_phantom(data, seed=0)
    overrides = {"seed": args.seed, **SMALLER, "federation": {"rounds": args.rounds}}
    merges, refused = _configs(args.config, overrides, args.merges)
    print("\n\n".join(tables(data, merges, [name for name in args.attacks if name != "none"])))
    for name, why in refused.items():
        print(f"\n{name} is refused for four sites: {why}")


def _configs(path: Path, overrides: dict[str, Any], names: Sequence[str]) -> tuple[dict[str, Config], dict[str, str]]:
    """The configuration of every merge, and the sentence of those that are refused."""
    made: dict[str, Config] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            federation = {**overrides["federation"], **MERGES[name]}
            made[name] = load_config(path, {**overrides, "federation": federation})
        except InputError as error:
            refused[name] = str(error)
    return made, refused


def tables(data: Path, merges: dict[str, Config], attacks: Sequence[str]) -> list[str]:
    """No attack, one hostile site under each attack, and more of them under one."""
    clean = {name: measured(data, config, "none", ()) for name, config in merges.items()}
    parts = [_cost_table(clean)]
    lost = {
        (name, attack): measured(data, config, attack, HOSTILE[:1])
        for attack in attacks
        for name, config in merges.items()
    }
    if attacks:
        parts.append(_loss_table(clean, lost, attacks))
    if BREAKDOWN in attacks:
        both = {name: measured(data, config, BREAKDOWN, HOSTILE) for name, config in merges.items()}
        parts.append(_breakdown_table(clean, lost, both))
    return parts


def _cost_table(clean: dict[str, dict[str, Any]]) -> str:
    first = next(iter(clean))
    lines = [
        f"| merge, no attack | Dice [95 %] | against {first} [95 %] | flagged (site: rounds) |",
        "|---|---|---|---|",
    ]
    for name, found in clean.items():
        own = bootstrap(_scores(found["cases"], ()))
        change = bootstrap(difference(_scores(found["cases"], ()), _scores(clean[first]["cases"], ())))
        lines.append(f"| {name} | {_interval(own)} | {_interval(change, sign=True)} | {_flags(found)} |")
    return "\n".join(lines)


def _loss_table(clean: dict, lost: dict[tuple[str, str], dict], attacks: Sequence[str]) -> str:
    columns = [*attacks, *(["backdoor, patched cases"] if "backdoor" in attacks else [])]
    lines = [f"| Dice lost to 1 of 4 sites | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in clean:
        cells = [_lost(clean[name], lost[name, attack], HOSTILE[:1]) for attack in attacks]
        if "backdoor" in attacks:
            cells.append(_lost(clean[name], lost[name, "backdoor"], HOSTILE[:1], "patched"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    flagged = {f"{name}, {attack}": _flags(found) for (name, attack), found in lost.items()}
    told = [f"{what}: {sites}" for what, sites in flagged.items() if sites != "none"]
    return "\n".join([*lines, "", "Flagged (site: rounds): " + ("; ".join(told) or "none") + "."])


def _breakdown_table(clean: dict, lost: dict, both: dict) -> str:
    lines = [f"| Dice lost to {BREAKDOWN} | 1 of 4 | 2 of 4 |", "|---|---|---|"]
    for name in clean:
        one = _lost(clean[name], lost[name, BREAKDOWN], HOSTILE)
        lines.append(f"| {name} | {one} | {_lost(clean[name], both[name], HOSTILE)} |")
    return "\n".join(lines)


def _lost(clean: dict, attacked: dict, without: Sequence[str], cases: str = "cases") -> str:
    """Over the cases of honest sites, those that never trained too."""
    change = difference(_scores(clean[cases], without), _scores(attacked[cases], without))
    return _interval(bootstrap(change), sign=True)


def _scores(cases: dict[str, list[float]], without: Sequence[str]) -> Scores:
    return {(site, n): dice for site, found in cases.items() if site not in without for n, dice in enumerate(found)}


def _interval(found: Any, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"


def _flags(found: dict[str, Any]) -> str:
    return ", ".join(f"{site}: {rounds}" for site, rounds in sorted(found["flags"].items())) or "none"


def measured(data: Path, config: Config, attack: str, sites: Sequence[str], kept: Path = KEPT) -> dict[str, Any]:
    """Dice by site and case where ``sites`` are hostile; taken from ``kept`` where that was run before."""
    key = {"config": config.hash, "data": data.name, "attack": attack, "hostile": list(sites)}
    known = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for found in known:
        if key.items() <= found.items():
            return found
    print(f"Running {config.federation.robust}, {attack} by {', '.join(sites) or 'nobody'} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="fedpac_me_attacks_") as name:
        found = key | _run(data, config, ATTACKS[attack], sites, Path(name))
    kept.parent.mkdir(parents=True, exist_ok=True)
    with open(kept, "a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    return found


def _run(data: Path, config: Config, attack: Attack, sites: Sequence[str], folder: Path) -> dict[str, Any]:
    root = spoiled_root(data, folder / "spoiled", sites, attack.spoil)
    tamper = hostile(sites, attack.send)
    outcome = run_federation(config, root, folder / "run", lambda line: print(line, file=sys.stderr), tamper)
    flags = Counter(line.site for entry in outcome.ledger.rounds for line in entry.accepted if line.flags)
    return {
        "cases": _dice(outcome.evaluations),
        "patched": _dice(_on_patched(data, config, outcome, folder)) if attack in (NO_ATTACK, BACKDOOR) else {},
        "flags": dict(flags),
        "refused": sum(len(entry.rejected) for entry in outcome.ledger.rounds),
    }


def _on_patched(data: Path, config: Config, outcome: Outcome, folder: Path) -> dict[str, Any]:
    """The final model on every site's test cases with the patch of the backdoor."""
    root = spoiled_root(data, folder / "patched", [site.name for site in site_folders(data)], add_patch, "test")
    found = {}
    for path in site_folders(root):
        settings = folder_settings(path).model_copy(update={"role": "evaluate"})
        site = Site(path.name, config, settings, folder / "patched run" / path.name)
        found[path.name] = site.evaluate(outcome.weights, "final")
    return found


def _dice(evaluations: dict[str, Any]) -> dict[str, list[float]]:
    return {
        site: [float(np.mean([case[f"dice_{region}"] for region in REGIONS])) for case in found["cases"]]
        for site, found in evaluations.items()
    }


if __name__ == "__main__":
    main()
