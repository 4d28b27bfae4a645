# SPDX-License-Identifier: Apache-2.0
"""The project's aggregator, which also writes down what each round cost the process that it runs in."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from pathlib import Path

import psutil
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from fedpac_me.flare.aggregator import ExpertWiseAggregator

PROBE = "probe.jsonl"
_KIB = 1024


class ProbedAggregator(ExpertWiseAggregator):
    """Appends a line to ``PROBE`` in the job's folder when all updates of a round are in and none is out again.

    ``cpu``: processor seconds of the process so far; ``accept``, ``aggregate``: seconds in those calls this round;
    ``resident``, ``peak``: bytes; ``listening``: ports of the process; ``tcp``: per established connection of this
    machine "here>there" its bytes sent and received, with what TLS adds, without headers and repetitions of TCP.
    """

    _accept_seconds = 0.0

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """As the project's, timed."""
        start = time.perf_counter()
        accepted = super().accept(shareable, fl_ctx)
        self._accept_seconds += time.perf_counter() - start
        return accepted

    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """As the project's, timed."""
        tcp = _connections()
        start = time.perf_counter()
        merged = super().aggregate(fl_ctx)
        line = {
            "cpu": time.process_time(),
            "accept": self._accept_seconds,
            "aggregate": time.perf_counter() - start,
            "resident": psutil.Process().memory_info().rss,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB,
            "listening": _listening(),
            "tcp": tcp,
        }
        self._accept_seconds = 0.0
        run = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
        with open(run / "fedpac_me" / PROBE, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return merged


def _listening() -> list[int]:
    connections = psutil.Process().net_connections("tcp")
    return [connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN]


def _connections() -> dict[str, tuple[int, int]]:
    listed = subprocess.run(["ss", "-tinHO", "state", "established"], capture_output=True, text=True, check=True)
    found = {}
    for line in listed.stdout.splitlines():
        _, _, here, there, *facts = line.split()
        counts = dict(fact.split(":", 1) for fact in facts if ":" in fact)
        found[f"{here}>{there}"] = (int(counts.get("bytes_acked", 0)), int(counts.get("bytes_received", 0)))
    return found
