# SPDX-License-Identifier: Apache-2.0
"""What the scripts beside this file do.

python poc/federation.py up 5
python poc/federation.py --help
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from fedpac_me.data.site import DATA_VARIABLE, PHANTOM_FOLDER
from fedpac_me.errors import InputError, exit_code

TEMPLATE = Path(__file__).resolve().parent / "project.yml"
WORK = Path("build/poc")
KITS = Path("build/federation")
LAST_JOB = "last_job"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="poc", description="A federation of real processes on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = _command(commands, "up", _up, "prepare and start a server and the first N hospitals")
    make = _command(commands, "provision", _provision, "make the kits of a federation", KITS)
    make.add_argument("--project", type=Path, default=TEMPLATE, help="who takes part (default: poc/project.yml)")
    make.add_argument("--he", action="store_true", help="with a context for homomorphic encryption (needs TenSEAL)")
    _command(commands, "rehearse", _rehearse, "check the kits and start them all on this machine", KITS)
    where = f"${DATA_VARIABLE}, else {PHANTOM_FOLDER}, written if missing"
    for command in (up, make):
        command.add_argument("sites", type=int, nargs="?", metavar="N", help="how many hospitals (default: all)")
        command.add_argument("--data", type=Path, help=f"folder with one folder a hospital (default: {where})")
        command.add_argument("--port", type=int, help="the server's only port (default: that of the project, 8002)")
    submit = _command(commands, "submit", _submit, "hand in a job folder; prints the job's id")
    submit.add_argument("job", type=Path, metavar="JOB", help="folder that jobs/train.py --export wrote")
    watch = _command(commands, "watch", _watch, "follow a job, fetch it and write its report")
    watch.add_argument("job_id", nargs="?", metavar="ID", help="which job (default: the one submitted last)")
    watch.add_argument("--run", dest="run_folder", type=Path, help="folder to write (default: runs/poc-<id>); replaced")
    for command in (submit, watch):
        command.add_argument("--kit", type=Path, help="whose admin kit to use (default: the project admin's)")
    report = _command(commands, "report", _report, "write the report of a folder that `nvflare job download` wrote")
    report.add_argument("folder", type=Path, metavar="DIR")
    configure = _command(commands, "configure", _configure, "write into a kit what it needs on the machine it runs on")
    configure.add_argument("kit", type=Path, metavar="KIT", help="a site's or server's kit, or a simulator's workspace")
    configure.add_argument("--data", type=Path, help="the hospital's folder of cases")
    configure.add_argument("--role", choices=["train", "evaluate"], default="train")
    configure.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    configure.add_argument("--no-code", action="store_true", help="refuse jobs that bring code, whoever submits them")
    _command(commands, "down", _down, "stop everything")
    return parser.parse_args(arguments)


def _command(commands, name: str, run, summary: str, work: Path = WORK) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--work", type=Path, default=work, help=f"folder of the federation (default: {work})")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: the federation or the job failed. 2: bad input, with a sentence."""
    args = parse_arguments(arguments)
    # Importing nvflare.recipe looks at sys.argv; it is parsed already.
    sys.argv[1:] = []
    # Without a handler Python prints FLARE's warnings about a server that is not up yet.
    logging.getLogger().addHandler(logging.NullHandler())
    from fedpac_me.flare.coordinator import JobFailed
    from fedpac_me.flare.local_federation import FederationFailed

    return exit_code(lambda: args.run(args), (FederationFailed, JobFailed))


def _up(args: argparse.Namespace) -> None:
    from fedpac_me.flare.local_federation import LocalFederation
    from fedpac_me.flare.poc import start_poc

    federation = LocalFederation(args.work)
    if federation.running:
        _say(f"Up already: {federation.describe()}. poc/down.sh stops it.")
        return
    data = args.data or _usual_data()
    _say("Preparing kits and starting a server and the hospitals ...")
    start_poc(federation, TEMPLATE, data, args.sites, args.port)
    _say(f"Up: {federation.describe()}. Kits: {federation.kits}")


def _provision(args: argparse.Namespace) -> None:
    from fedpac_me.flare.local_federation import LocalFederation
    from fedpac_me.flare.provisioned import provision

    federation = LocalFederation(args.work)
    provision(federation, args.project, args.data or _usual_data(), args.sites, args.port, args.he)
    for kit in sorted(federation.kits.iterdir()):
        _say(f"Kit: {kit}")


def _rehearse(args: argparse.Namespace) -> None:
    from fedpac_me.flare.local_federation import LocalFederation
    from fedpac_me.flare.provisioned import rehearse

    federation = LocalFederation(args.work)
    if not federation.running:
        rehearse(federation, _say)
    _say(f"Up: {federation.describe()}.")


def _usual_data() -> Path:
    named = os.environ.get(DATA_VARIABLE)
    if not named and not PHANTOM_FOLDER.exists():
        from fedpac_me.data.phantom import write_phantom

        _say(f"Writing the phantom hospitals to {PHANTOM_FOLDER} ...")
        write_phantom(PHANTOM_FOLDER)
    return Path(named) if named else PHANTOM_FOLDER


def _submit(args: argparse.Namespace) -> None:
    from fedpac_me.flare.coordinator import coordinator, submit
    from fedpac_me.flare.local_federation import LocalFederation
    from fedpac_me.storage import write_text

    with coordinator(args.kit or LocalFederation(args.work).admin_kit) as session:
        job_id = submit(session, args.job)
    write_text(args.work / LAST_JOB, job_id)
    _say(f"Submitted: {job_id}")


def _watch(args: argparse.Namespace) -> None:
    from fedpac_me.flare.coordinator import JobFailed, coordinator, follow
    from fedpac_me.flare.local_federation import LocalFederation

    job_id = args.job_id or _last_job(args.work)
    run = args.run_folder or Path("runs") / f"poc-{job_id[:8]}"
    with coordinator(args.kit or LocalFederation(args.work).admin_kit) as session:
        try:
            follow(session, job_id, _say)
        except JobFailed as failure:
            _fetch(session, job_id, run, args.work)
            raise JobFailed(f"{failure} What it left is in {run}.{how_to_go_on(run)}") from None
        _fetch(session, job_id, run, args.work)
    _write_report(run, None if args.kit else LocalFederation(args.work).data)


def how_to_go_on(run: Path) -> str:
    """The command that goes on from what a job left; empty when it left no state of a round."""
    from fedpac_me.federation.run_state import find_state

    try:
        find_state(run)
    except InputError:  # it trains nothing, or had not finished a round
        return ""
    return f" `python jobs/train.py --resume {run} --export` writes a job that goes on after its last round."


def _fetch(session, job_id: str, run: Path, work: Path) -> None:
    """Make ``run`` what the server has of the job, replacing what lay there."""
    from fedpac_me.flare.coordinator import fetch

    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetched-", dir=work) as folder:
        fetched = fetch(session, job_id, Path(folder))
        shutil.rmtree(run, ignore_errors=True)
        run.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(fetched, run)


def _report(args: argparse.Namespace) -> None:
    _write_report(args.folder, None)


def _configure(args: argparse.Namespace) -> None:
    from fedpac_me.data.site import SiteSettings
    from fedpac_me.flare.kits import (
        allow_installed_package,
        configure_kit,
        forbid_code,
        is_server,
        is_site,
        write_settings,
    )

    if args.data is not None and not is_site(args.kit):
        raise InputError(f"{args.kit} is not the kit of a hospital: it has no startup/fed_client.json.")
    if args.no_code and not (is_server(args.kit) or is_site(args.kit)):
        raise InputError(f"{args.kit} is the kit of neither a hospital nor a server: jobs do not run there.")
    if is_server(args.kit) or is_site(args.kit):
        configure_kit(args.kit)
        if args.no_code:
            forbid_code(args.kit)
    else:
        allow_installed_package(args.kit)
    if args.data is not None:
        write_settings(args.kit, SiteSettings(data=(args.data.resolve(),), role=args.role, device=args.device))
    _say(f"Written: {', '.join(sorted(str(path) for path in (args.kit / 'local').glob('*.json')))}")


def _down(args: argparse.Namespace) -> None:
    from fedpac_me.flare.local_federation import LocalFederation

    federation = LocalFederation(args.work)
    if not federation.running:
        _say(f"Nothing runs in {args.work}.")
        return
    ended = federation.down()
    _say("Down." if not ended else f"Down; {ended} processes did not go by themselves and were ended.")


def _write_report(run: Path, data: Path | None) -> None:
    from fedpac_me.evaluation.report import dice_table, write_report
    from fedpac_me.flare.fetched_job import make_run
    from fedpac_me.storage import read_json

    make_run(run, data)
    report = write_report(run)
    _say(dice_table(read_json(report.with_suffix(".json"))))
    _say(f"Report: {report}")


def _last_job(work: Path) -> str:
    path = work / LAST_JOB
    if not path.is_file():
        raise InputError(f"No job was submitted from {work} yet. poc/submit.sh JOB submits one; or name the job's id.")
    return path.read_text(encoding="utf-8").strip()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
