# SPDX-License-Identifier: Apache-2.0
"""What the data of every site is like, and which subjects are at two of them: run in the FLARE simulator, or export it.

python jobs/data_stats.py --data data/phantom
python jobs/data_stats.py --export --export-dir build/jobs
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from fedpac_me.data.checks import require_sites
from fedpac_me.data.federation_split import site_root
from fedpac_me.data_stats.features import BINS
from fedpac_me.data_stats.privacy import PrivacySettings
from fedpac_me.errors import InputError
from fedpac_me.job_command import add_job_arguments, run_job
from fedpac_me.run_folder import make_room, require_free, require_name

HERE = Path(__file__).resolve().parent
PRIVACY = PrivacySettings()


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Statistics of every site's data and subjects at two sites, through FLARE's privacy filters.",
        epilog="Example: python jobs/data_stats.py --data data/phantom",
    )
    parser.add_argument("--data", type=Path, help="folder with one folder a hospital")
    parser.add_argument("--name", default="data_stats", help="name of the run and the job (default: data_stats)")
    parser.add_argument("--bins", type=int, default=BINS, help=f"of each histogram (default: {BINS})")
    parser.add_argument(
        "--min-count",
        type=int,
        default=PRIVACY.min_count,
        help=f"figures over fewer cases do not leave a site (default: {PRIVACY.min_count})",
    )
    parser.add_argument(
        "--noise",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        default=(PRIVACY.min_noise_level, PRIVACY.max_noise_level),
        help="share by which a site's lowest and highest intensity are moved outwards "
        f"(default: {PRIVACY.min_noise_level:g} {PRIVACY.max_noise_level:g})",
    )
    parser.add_argument(
        "--max-bins-percent",
        type=float,
        default=PRIVACY.max_bins_percent,
        help="a histogram has fewer bins than this percentage of its cases, or does not leave "
        f"(default: {PRIVACY.max_bins_percent:g})",
    )
    add_job_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: the run failed. 2: bad input, with a sentence."""
    args = parse_arguments(arguments)
    return run_job(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    require_name(args.name)
    privacy = PrivacySettings(args.min_count, *args.noise, args.max_bins_percent)
    if args.bins < 1:
        raise InputError(f"--bins is {args.bins}; expected 1 or more.")
    export(privacy, args) if args.export else simulate(privacy, args)


def export(privacy: PrivacySettings, args: argparse.Namespace) -> None:
    """Write the job folder ``export_dir/name``."""
    from fedpac_me.flare.data_stats_recipe import DataStatsRecipe

    DataStatsRecipe(args.name, privacy, args.bins).export(str(args.export_dir))
    print(f"Job written: {args.export_dir / args.name}")


def simulate(privacy: PrivacySettings, args: argparse.Namespace) -> None:
    """Run the job on the sites of this machine; the server's report is copied to the run's folder."""
    from fedpac_me.data_stats.report import HTML_NAME, JSON_NAME, stats_table
    from fedpac_me.flare.data_stats_recipe import DataStatsRecipe
    from fedpac_me.flare.simulation import require_no_space, simulate_recipe
    from fedpac_me.storage import read_json, write_text

    run = args.runs / args.name
    require_no_space(run, HERE)
    require_free(run, args.replace)
    with site_root(args.data, args.splits) as root:
        sites = require_sites(root)
        make_room(run, args.replace)
        print(f"Every case of {len(sites)} sites is read once, at its site ...", flush=True)
        recipe = partial(DataStatsRecipe, args.name, privacy, args.bins)
        simulate_recipe(recipe, args.name, args.runs, root, args.threads, HERE / "simulator_log.json")
    for name in (JSON_NAME, HTML_NAME):
        written = next((run / "server").rglob(name))
        write_text(run / name, written.read_text(encoding="utf-8"))
    print(stats_table(read_json(run / JSON_NAME)))
    print(f"Report: {run / HTML_NAME}")


if __name__ == "__main__":
    sys.exit(main())
