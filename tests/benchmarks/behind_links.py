# SPDX-License-Identifier: Apache-2.0
"""Provisioned kits, every site in a network namespace of its own behind a slow link to the server; prints JSON.

unshare --net python tests/benchmarks/behind_links.py FOLDER --sites 2 --size "0.3 M" --rounds 2

Run it in a namespace of its own, as shown: the server, the admin and the near ends of the links live there.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from nvflare.lighter.utils import load_yaml

from federation_cost.data import empty_sites, site_names
from federation_cost.environments import TEMPLATE, Finished, run_in, say, stopped
from federation_cost.job import WIDTHS, sized, write_job
from federation_cost.probe import ledger_bytes, wire_bytes
from federation_cost.tun_link import SERVER_ADDRESS, TunLink
from fedpac_me.flare.local_federation import LocalFederation
from fedpac_me.flare.provisioned import provision, start_kit
from fedpac_me.flare.readiness import wait_until_ready
from fedpac_me.storage import write_json


def main() -> int:
    """Provision, start, run one job, stop."""
    args = _arguments()
    logging.getLogger().addHandler(logging.NullHandler())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    federation = LocalFederation(args.folder / "federation")
    data = empty_sites(args.folder / "data", args.sites)
    provision(federation, _template(args.folder / "template.json"), data, args.sites, None)
    job = write_job(args.folder / "jobs", "link", sized(args.size, args.rounds))
    with ExitStack() as stack:
        links = {
            name: stack.enter_context(TunLink(number, args.mbit * 1e6, args.delay_ms / 1e3))
            for number, name in enumerate(site_names(args.sites), start=1)
        }
        stack.enter_context(stopped(federation))
        start_kit(federation.kits / "server")
        wait_until_ready(federation, [])
        for name, link in links.items():
            start_kit(federation.kits / name, link.through)
        wait_until_ready(federation, federation.sites)
        say(f"{args.sites} sites are up, each behind {args.mbit:g} Mbit/s and {args.delay_ms:g} ms each way")
        print(json.dumps(_figures(run_in(federation, job, args.folder), links)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to work; must not exist or be empty")
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--size", choices=WIDTHS, default="0.3 M", help="parameters of the network")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--mbit", type=float, default=10.0, help="10⁶ bits a second of each link, each way")
    parser.add_argument("--delay-ms", type=float, default=100.0, help="milliseconds that a packet travels, each way")
    return parser.parse_args()


def _template(path: Path) -> Path:
    """The project's, with a server at the address that the sites can reach."""
    project = load_yaml(str(TEMPLATE))
    for part in project["participants"]:
        if part["type"] == "server":
            part["default_host"] = SERVER_ADDRESS
    write_json(path, project)
    return path


def _figures(finished: Finished, links: dict[str, TunLink]) -> dict:
    """Seconds and bytes of the rounds; ``links``: bytes of IP packets since the sites started."""
    return {
        "seconds": [record.seconds for record in finished.rounds],
        "accepted": [[line.site for line in record.accepted] for record in finished.rounds],
        "arrays": ledger_bytes(finished),
        "wire": wire_bytes(finished) if len(finished.rounds) > 1 else None,
        "links": {
            name: {"up": link.up.carried, "down": link.down.carried, "dropped": link.up.dropped + link.down.dropped}
            for name, link in links.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
