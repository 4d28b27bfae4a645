# SPDX-License-Identifier: Apache-2.0
"""The same number of settings for every method, tried at one budget and told by validation Dice alone.

    python tests/benchmarks/tuning.py --rounds 14

Runs that are below ``--out`` already are taken as they are. No figure on a test case is read or written here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from fedpac_me.comparison.compare import Request, finished_runs
from fedpac_me.comparison.figures import read_figures
from fedpac_me.comparison.methods import Method, load_methods
from fedpac_me.comparison.plan import PlannedRun
from fedpac_me.comparison.spread import spread, spread_words
from fedpac_me.hardware import machine, versions
from fedpac_me.storage import write_json, write_text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/tuning.md"
_MOMENTUM = tuple({"federation.server_momentum": value} for value in (0.0, 0.6, 0.9))

GRID: dict[str, tuple[dict[str, float], ...]] = {
    "local": tuple({"learning.learning_rate": value} for value in (1e-3, 3e-3, 1e-2)),
    "fedavg": _MOMENTUM,
    "fedavg_bn": _MOMENTUM,
    "fedbn": _MOMENTUM,
    "fedprox": tuple({"algorithm.proximal_weight": value} for value in (0.001, 0.01, 0.1)),
    "scaffold": _MOMENTUM,
    "moon": tuple(
        {"algorithm.contrast_weight": weight, "algorithm.temperature": temperature}
        for weight, temperature in ((0.1, 0.5), (1.0, 0.5), (1.0, 0.2))
    ),
    "fedadam": tuple({"federation.server_adam.learning_rate": value} for value in (0.003, 0.01, 0.03)),
    "ditto": tuple({"algorithm.proximal_weight": value} for value in (0.01, 0.1, 1.0)),
    "fedper": _MOMENTUM,
    "fedrep": tuple({"algorithm.head_steps": value} for value in (5, 10, 15)),
    "experts": tuple({"model.adapter_rank": value} for value in (2, 4, 8)),
    "fedpac_me": tuple({"contrast.prototype_weight": value} for value in (0.02, 0.05, 0.2)),
}
"""Per method the settings that are tried, that of ``app_configs/`` among them. SCAFFOLD's, FedPer's and FedBN's step at
the server is FedAvg's, so it is its momentum that is tried."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the settings, write the page and the JSON beside it; 1 when a run failed."""
    args = _parser().parse_args(arguments)
    names = [(name, number) for name in args.methods for number in range(len(GRID[name]))]
    methods = load_methods([str(write_setting(args.out, *name)) for name in names], args.rounds)
    request = Request(
        methods=[method.name for method in methods], out=args.out, jobs=args.jobs, seeds=args.seeds, data=args.data,
        phantom_seeds=args.phantom_seeds, phantom_size=args.phantom_size, phantom_kinds=args.phantom_kinds,
    )  # fmt: skip
    with finished_runs(request, methods, lambda line: print(line, file=sys.stderr, flush=True)) as (planned, failures):
        found = {name: _tried(method, planned) for name, method in zip(names, methods, strict=True)}
        command = " ".join(["python tests/benchmarks/tuning.py", *(sys.argv[1:] if arguments is None else arguments)])
        facts = {
            "command": command,
            "date": date.today().isoformat(),
            "rounds": args.rounds,
            "seeds": list(args.seeds),
            "data": {run.data.name: run.data.facts for run in planned},
            "hardware": machine(),
            "versions": versions(),
        }
    result = {**facts, "methods": by_method(found)}
    write_json(args.page.with_suffix(".json"), result)
    write_text(args.page, page(result))
    print(f"Tuning: {args.page}")
    return 1 if failures else 0


def write_setting(out: Path, name: str, number: int) -> Path:
    """The configuration file of one setting of a method, below ``out``; it extends the method's own file."""
    path = out / "settings" / f"{name}-{number}.json"
    content: dict[str, Any] = {"extends": str(ROOT / f"app_configs/{name}.json"), "method": f"{name}-{number}"}
    for field, value in GRID[name][number].items():
        *sections, last = field.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    write_json(path, content)
    return path


def by_method(found: Mapping[tuple[str, int], dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Per method its settings in order, the one with the best mean validation Dice ``chosen``; none where none ran."""
    methods: dict[str, list[dict[str, Any]]] = {}
    for (name, _), tried in found.items():
        methods.setdefault(name, []).append(tried)
    for settings in methods.values():
        known = [tried for tried in settings if tried["validation"]]
        best = max(known, key=lambda tried: tried["validation"]["mean"], default=None)
        for tried in settings:
            tried["chosen"] = tried is best
    return methods


def page(result: Mapping[str, Any]) -> str:
    """The page in Markdown."""
    lines = [
        "# Settings of each method, tried at one budget", "",
        f"`{result['command']}` wrote this page on {result['date']}. {result['rounds']} rounds, training seeds "
        f"{_listed(result['seeds'])}, data {_listed(result['data'])}. "
        f"{_listed(f'{key} {value}' for key, value in {**result['hardware'], **result['versions']}.items())}.", "",
        "Every method has the same number of settings, that of `app_configs/` among them. Mean validation Dice of the "
        "final model at the sites that train, ± standard deviation over runs; no test case is looked at. The best of "
        "each method is bold.", "",
        "| method | setting | runs | validation Dice |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, settings in result["methods"].items():
        lines += [_row(name, tried) for tried in settings]
    return "\n".join(lines) + "\n"


def _row(name: str, tried: Mapping[str, Any]) -> str:
    setting = ", ".join(f"{field} {value:g}" for field, value in tried["setting"].items())
    failed = f" ({tried['failed']} failed)" if tried["failed"] else ""
    words = spread_words(tried["validation"], "-")
    score = f"**{words}**" if tried["chosen"] else words
    return f"| {name} | {setting}{' (as is)' if tried['as_is'] else ''} | {tried['runs']}{failed} | {score} |"


def _tried(method: Method, planned: Sequence[PlannedRun]) -> dict[str, Any]:
    name, number = method.name.rsplit("-", 1)
    own = [run for run in planned if run.method.name == method.name]
    done = [read_figures(run).validation for run in own if run.done]
    setting = GRID[name][int(number)]
    (usual,) = load_methods([name])
    return {
        "setting": setting,
        "as_is": all(_value(usual.config.to_dict(), field) == value for field, value in setting.items()),
        "runs": len(done),
        "failed": len(own) - len(done),
        "validation": spread(done),
    }


def _value(config: Mapping[str, Any], field: str) -> Any:
    section, _, rest = field.partition(".")
    return _value(config[section], rest) if rest else config[section]


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=GRID, default=list(GRID), metavar="METHOD")
    parser.add_argument("--rounds", type=int, required=True, help="the budget: rounds of every run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="federations in place of phantoms")
    parser.add_argument("--phantom-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--phantom-size", type=int, default=48)
    parser.add_argument("--phantom-kinds", nargs="+", default=["demo"])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/tuning"), help="settings and runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="Markdown to write; the JSON goes beside it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
