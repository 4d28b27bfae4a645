# SPDX-License-Identifier: Apache-2.0
"""Train one configuration in the FLARE simulator, or export it as a job folder.

python jobs/train.py --config app_configs/fedavg.json
python jobs/train.py --config app_configs/fedavg.json --export --export-dir build/jobs
python jobs/train.py --config app_configs/fedavg.json --export --installed
python jobs/train.py --resume runs/fedavg
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fedpac_me.config import Config, load_config, merged, parse_config
from fedpac_me.data.checks import check_root
from fedpac_me.data.federation_split import site_root
from fedpac_me.errors import InputError
from fedpac_me.federation.run_state import RunState, find_state
from fedpac_me.job_command import add_job_arguments, run_job
from fedpac_me.run_folder import make_room, require_free, require_name

HERE = Path(__file__).resolve().parent
DEFAULT_DATA = Path("data/phantom")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Train one configuration in the FLARE simulator, or export it as a job folder.",
        epilog="Example: python jobs/train.py --config app_configs/fedavg.json --rounds 10 --name quick",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, help="a file of app_configs/ or one like it")
    what.add_argument(
        "--resume",
        type=Path,
        metavar="RUN|CHECKPOINT",
        help="go on after the last round of a run: its folder, or a state-<round>.npz below it",
    )
    parser.add_argument(
        "--data", type=Path, help=f"folder with one folder a hospital (default: {DEFAULT_DATA}, written if missing)"
    )
    parser.add_argument("--rounds", type=int, help="overrides federation.rounds")
    parser.add_argument("--seed", type=int, help="overrides seed")
    parser.add_argument("--name", help="name of the run and the job (default: the config's method, and -resumed)")
    add_job_arguments(parser)
    parser.add_argument(
        "--installed", action="store_true", help="leave the code out of the job: server and sites have it by pip"
    )
    parser.add_argument("--mlflow", metavar="URI", help="send every round's figures to this MLflow server, too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: the run failed. 2: bad input, with a sentence."""
    args = parse_arguments(arguments)
    return run_job(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    from fedpac_me.flare.tracking import require_mlflow

    if args.resume is None:
        resume, config = None, load_config(args.config, _overrides(args))
        usual_name = config.method
    else:
        resume, config = _resumed(args)
        usual_name = f"{config.method}-resumed"
    name = usual_name if args.name is None else args.name
    require_name(name)
    if args.mlflow is not None:
        require_mlflow(args.mlflow)
    if args.export:
        export(config, name, args, resume)
    else:
        train(config, name, args, resume)


def _resumed(args: argparse.Namespace) -> tuple[Path, Config]:
    """The file of the state to go on from, and the configuration of its run."""
    if args.seed is not None:
        raise InputError("A run goes on with its own seed; leave out --seed, or start a new run with --config.")
    path, state, damaged = find_state(args.resume)
    for sentence in damaged:
        print(f"Passed over: {sentence}", file=sys.stderr)
    config = parse_config(merged(state.config, _overrides(args)), str(path))
    if state.round >= config.federation.rounds:
        raise InputError(
            f"{path} is after round {state.round + 1}, and the run shall have {config.federation.rounds}. "
            "Pass more --rounds."
        )
    print(f"Going on after round {state.round + 1} of {config.federation.rounds}: {path}", flush=True)
    return path, config


def export(config: Config, name: str, args: argparse.Namespace, resume: Path | None = None) -> None:
    """Write the job folder ``export_dir/name``, with the code or, ``installed``, without."""
    from fedpac_me.flare.recipe import FedPacMeRecipe
    from fedpac_me.flare.server_app import separate_server

    FedPacMeRecipe(config, name, args.installed, resume, args.mlflow).export(str(args.export_dir))
    job = args.export_dir / name
    if resume is not None:
        separate_server(job, RunState.read(resume).ledger.sites, [resume.name])
    print(f"Job written: {job}")


def train(config: Config, name: str, args: argparse.Namespace, resume: Path | None = None) -> None:
    """Check the data, simulate, write the report."""
    from fedpac_me.flare.simulation import require_no_space

    run = args.runs / name
    require_no_space(run, HERE)
    require_free(run, args.replace)
    if resume is not None and run.resolve() in resume.resolve().parents:
        raise InputError(f"{run} is the run that shall go on, and --replace would delete it. Choose another --name.")
    data = _default_data() if args.data is None and args.splits is None else args.data
    with site_root(data, args.splits) as root:
        _train_on(root, config, name, args, resume)


def _train_on(data: Path, config: Config, name: str, args: argparse.Namespace, resume: Path | None) -> None:
    from fedpac_me.evaluation.report import dice_table, write_report
    from fedpac_me.flare.simulation import simulate
    from fedpac_me.run_info import finish_run
    from fedpac_me.storage import read_json

    run = args.runs / name
    cases = check_root(data, config.data)
    make_room(run, args.replace)
    print(
        f"{config.title}: {config.federation.rounds} rounds, {len(cases)} sites, {sum(cases.values())} cases.",
        flush=True,
    )
    start = time.monotonic()
    log_config = HERE / "simulator_log.json"
    simulate(config, name, args.runs, data, args.threads, log_config, args.installed, resume, args.mlflow)
    finish_run(run, name, config, data, time.monotonic() - start, args.splits)
    report = write_report(run)
    print(dice_table(read_json(report.with_suffix(".json"))))
    print(f"Report: {report}")


def _overrides(args: argparse.Namespace) -> dict:
    overrides: dict = {} if args.seed is None else {"seed": args.seed}
    if args.rounds is not None:
        overrides["federation"] = {"rounds": args.rounds}
    return overrides


def _default_data() -> Path:
    if not DEFAULT_DATA.exists():
        from fedpac_me.data.phantom import write_phantom

        print(f"No --data given: writing the phantom hospitals to {DEFAULT_DATA} ...", flush=True)
        write_phantom(DEFAULT_DATA)
    return DEFAULT_DATA


if __name__ == "__main__":
    sys.exit(main())
