# SPDX-License-Identifier: Apache-2.0
"""What leaving out small parts of predictions is worth: docs/results/small_parts.md, by validation cases alone.

python tests/benchmarks/small_parts.py                     about 10 minutes on 2 cores

Each federation is trained once, in one process; its final model then answers the validation cases of the sites that
trained, scored with every limit. No test case is looked at.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import product
from pathlib import Path
from statistics import mean

from fedpac_me.config import Config, changed, load_config
from fedpac_me.data.phantom import write_phantom
from fedpac_me.data.phantom.kinds import KINDS
from fedpac_me.data.pooling import site_folders
from fedpac_me.data.site import folder_settings
from fedpac_me.data.splits import site_cases
from fedpac_me.engine import Weights, run_federation
from fedpac_me.evaluation.run_record import FINAL_MODEL
from fedpac_me.hardware import machine, versions
from fedpac_me.labels import REGIONS
from fedpac_me.learning.site import Site
from fedpac_me.storage import write_json, write_text

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs/results/small_parts.md"
METHODS = ("fedpac_me", "fedavg", "fedbn_nearest")
LIMITS = (0, 10, 25, 50, 100, 200)
Scores = dict[str, float]


def main() -> int:
    """Train, score, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7, help="of training and of the phantom: not those of comparisons")
    parser.add_argument("--rounds", type=int, help="default: the methods' own")
    parser.add_argument("--size", type=int, default=48, help="edge of the phantom's volumes in voxels")
    parser.add_argument("--jobs", type=int, default=2, help="federations at once")
    parser.add_argument("--page", type=Path, default=OUT)
    args = parser.parse_args()
    pairs = list(product(KINDS, METHODS))
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor(args.jobs) as pool:
        for kind in KINDS:
            write_phantom(Path(place) / kind, seed=args.seed, size=args.size, kind=kind)
        work = [pool.submit(scores_by_limit, *pair, Path(place) / pair[0], args.seed, args.rounds) for pair in pairs]
        found = {}
        for pair, task in zip(pairs, work, strict=True):
            found[pair] = task.result()
            print(f"{len(found)} of {len(pairs)} federations done: {', '.join(pair)}", file=sys.stderr, flush=True)
    write_text(args.page, page(found, args.seed))
    print(f"Written: {args.page}")
    return 0


def scores_by_limit(kind: str, method: str, data: Path, seed: int, rounds: int | None) -> dict[int, Scores]:
    """For each limit the means over sites of what their validation cases score."""
    changes = {"seed": seed} | ({} if rounds is None else {"federation": {"rounds": rounds}})
    config = load_config(ROOT / f"app_configs/{method}.json", changes)
    with tempfile.TemporaryDirectory() as place:
        outcome = run_federation(config, data, Path(place), progress=lambda _: None)
        return {
            limit: _scores(
                changed(config, {"evaluation": {"small_parts_mm3": limit}}), data, Path(place), outcome.weights
            )
            for limit in LIMITS
        }


def _scores(config: Config, data: Path, place: Path, weights: Weights) -> Scores:
    sites = [site for folder in site_folders(data) if (site := _validating(folder, config, place)) is not None]
    rows = [site.evaluate(weights, FINAL_MODEL)["cases"] for site in sites]
    return {
        "dice": mean(_mean(cases, "dice") for cases in rows),
        "worst": min(_mean(cases, "dice") for cases in rows),
        "lesion_dice": mean(_mean(cases, "lesion_dice") for cases in rows),
        "lesion_hd95": mean(_mean(cases, "lesion_hd95") for cases in rows),
    }


def _validating(folder: Path, config: Config, place: Path) -> Site | None:
    """A site that trained, with its validation cases where it had test cases; it finds what it kept of the training."""
    settings = folder_settings(folder)
    if settings.role != "train":
        return None
    split = site_cases(settings)
    splits = place / f"{folder.name}.json"
    ids = {"train": [case.id for case in split.train], "validation": [], "test": [case.id for case in split.validation]}
    write_json(splits, ids)
    return Site(folder.name, config, settings.model_copy(update={"splits": splits}), place / folder.name)


def _mean(cases: Sequence[Mapping[str, float]], score: str) -> float:
    return mean(case[f"{score}_{region}"] for case in cases for region in REGIONS)


def page(found: Mapping[tuple[str, str], Mapping[int, Scores]], seed: int) -> str:
    """The page in Markdown."""
    facts = ", ".join(f"{key} {value}" for key, value in {**machine(), **versions()}.items())
    lines = [
        "# Small parts left out, measured", "",
        f"`python tests/benchmarks/small_parts.py` wrote this page on {date.today().isoformat()}. {facts}. Phantoms "
        f"and training of seed {seed}, which no comparison uses.", "",
        "`evaluation.small_parts_mm3`: connected parts of a predicted region up to so many mm³ are left out. The "
        "validation cases of the sites that trained, final model, means over TC, WT and ET and over the sites; the "
        "worst site has the lowest Dice. 50 is the default, and what BraTS 2023 ignores in the truth. A larger limit "
        "may score higher here, but it would hide lesions that the challenge counts.", "",
        "| kind | method | up to mm³ | Dice | worst site | lesion-wise Dice | lesion-wise HD95 (mm) |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for (kind, method), by_limit in found.items():
        for limit, scores in by_limit.items():
            lines.append(
                f"| {kind} | `{method}` | {limit} | {scores['dice']:.3f} | {scores['worst']:.3f} "
                f"| {scores['lesion_dice']:.3f} | {scores['lesion_hd95']:.0f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
