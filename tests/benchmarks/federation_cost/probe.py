# SPDX-License-Identifier: Apache-2.0
"""What ``in_job/probed_aggregator.py`` wrote down of a finished job."""

from __future__ import annotations

import json
import statistics
from collections.abc import Collection
from typing import Any

from federation_cost.environments import Finished
from federation_cost.in_job.probed_aggregator import PROBE


def read_probe(finished: Finished) -> list[dict[str, Any]]:
    """One entry a round."""
    return [
        json.loads(line) for line in (finished.server / "fedpac_me" / PROBE).read_text(encoding="utf-8").splitlines()
    ]


def overhead_seconds(finished: Finished) -> float:
    """Median over the rounds but the first: the round's seconds minus those of the slowest site's own work."""
    return statistics.median(r.seconds - max(site.seconds for site in r.accepted) for r in finished.rounds[1:])


def ledger_bytes(finished: Finished) -> tuple[float, float]:
    """Up and down, bytes a round and site, as the ledger computes them: the arrays."""
    rounds = [record for record in finished.rounds if record.accepted]
    return (
        statistics.mean(record.bytes_up / len(record.accepted) for record in rounds),
        statistics.mean(record.bytes_down / len(record.accepted) for record in rounds),
    )


def wire_bytes(finished: Finished) -> tuple[float, float]:
    """Up and down, bytes a round and site that TCP carried to and from the server's port, without the admin's."""
    entries = read_probe(finished)
    ports = entries[0]["listening"] if finished.port is None else [finished.port]
    first, last = (_carried(entry["tcp"], ports, finished.admin_ports) for entry in (entries[0], entries[-1]))
    share = (len(entries) - 1) * len(finished.rounds[0].accepted)
    down, up = ((after - before) / share for before, after in zip(first, last, strict=True))
    return up, down


def _carried(tcp: dict[str, list[int]], ports: Collection[int], left_out: Collection[int]) -> tuple[int, int]:
    """Bytes sent and received at ``ports`` so far."""
    ends = {connection: [_port(end) for end in connection.split(">")] for connection in tcp}
    counted = [tcp[c] for c, (here, there) in ends.items() if here in ports and there not in left_out]
    return sum(sent for sent, _ in counted), sum(received for _, received in counted)


def _port(end: str) -> int:
    return int(end.rpartition(":")[2])
