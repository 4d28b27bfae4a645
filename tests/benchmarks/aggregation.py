# SPDX-License-Identifier: Apache-2.0
"""Eight times accept, then aggregate: this project's RoundServer beside FLARE's stock in-time aggregator, same payload.

    python tests/benchmarks/aggregation.py

Time: CPU seconds of one thread (other processes disturb them less than wall time), the median of interleaved
repetitions, each with fresh objects. Memory: a separate run under tracemalloc, which
sees numpy's arrays; the updates exist before it starts, so what it finds is what aggregation needs on top of them.
"""

from __future__ import annotations

import gc
import logging
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.app_constant import AppConstants

from fedpac_me.federation.schema import signature
from fedpac_me.federation.server_round import RoundServer
from fedpac_me.federation.update import PROTOCOL, Contribution

SITES = 8
CASES = 20
ROUND = 3
BYTES_PER_FLOAT64 = 8

Weights = dict[str, np.ndarray]


def segresnet_zeros(filters: int) -> Weights:
    """A float32 model with the tensors of MONAI's SegResNet of that width."""
    from monai.networks.nets import SegResNet

    net = SegResNet(
        spatial_dims=3,
        init_filters=filters,
        in_channels=4,
        out_channels=3,
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
        norm=("INSTANCE", {"affine": True}),
    )
    return {name: np.zeros(tuple(value.shape), np.float32) for name, value in net.state_dict().items()}


def updates_for(model: Weights, number: int = SITES) -> list[Weights]:
    """``number`` updates of the size that training produces."""
    generator = np.random.default_rng(0)
    return [
        {name: 1e-3 * generator.standard_normal(value.shape, np.float32) for name, value in model.items()}
        for _ in range(number)
    ]


def run_ours(
    model: Weights, updates: Sequence[Weights], server_momentum: float = 0.0, waits: list[float] | None = None
) -> Weights:
    """A round through RoundServer, everything from learning the schema to the merged difference.

    ``waits`` gets the processor seconds of every ``accept``, which FLARE calls under its workflow lock.
    """
    server = RoundServer(quorum=len(updates), server_momentum=server_momentum)
    server.begin(ROUND, model)
    known = signature(model)
    for number, diff in enumerate(updates):
        meta = {"protocol": PROTOCOL, "signature": known, "cases": CASES + number, "steps": 100}
        start = time.thread_time()
        verdict = server.accept(Contribution(f"site-{number}", "WEIGHT_DIFF", ROUND, diff, meta))
        if waits is not None:
            waits.append(time.thread_time() - start)
        if not verdict.ok:
            raise RuntimeError(verdict.reason)
    return server.close().diff


def run_stock(updates: Sequence[Weights], fl_ctx: FLContext) -> Weights:
    """The same round through FLARE's aggregator, fed as ScatterAndGather feeds it."""
    aggregator = InTimeAccumulateWeightedAggregator(expected_data_kind=DataKind.WEIGHT_DIFF)
    aggregator.handle_event(EventType.START_RUN, fl_ctx)
    for number, diff in enumerate(updates):
        if not aggregator.accept(_answer(number, diff), fl_ctx):
            raise RuntimeError("the stock aggregator refused an update")
    return aggregator.aggregate(fl_ctx)["DXO"]["data"]


def _answer(number: int, diff: Weights) -> Shareable:
    dxo = DXO(DataKind.WEIGHT_DIFF, data=diff, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: CASES + number})
    answer = dxo.to_shareable()
    answer.set_peer_props({ReservedKey.IDENTITY_NAME: f"site-{number}"})
    answer.add_cookie(AppConstants.CONTRIBUTION_ROUND, ROUND)
    return answer


def context() -> FLContext:
    manager = FLContextManager(identity_name="server", job_id="bench")
    fl_ctx = manager.new_context()
    fl_ctx.set_prop(AppConstants.CURRENT_ROUND, ROUND, private=True, sticky=True)
    return fl_ctx


def seconds(action: Callable[[], Weights]) -> float:
    gc.collect()
    start = time.process_time()
    action()
    return time.process_time() - start


def peak_bytes(action: Callable[[], Weights]) -> int:
    gc.collect()
    tracemalloc.start()
    kept = action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return peak


def measure(filters: int, repetitions: int) -> dict[str, float]:
    """All figures for one width."""
    model = segresnet_zeros(filters)
    updates = updates_for(model)
    fl_ctx = context()

    def ours() -> Weights:
        return run_ours(model, updates)

    def stock() -> Weights:
        return run_stock(updates, fl_ctx)

    merged, reference = ours(), stock()
    times: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in range(repetitions):
        times["ours"].append(seconds(ours))
        times["stock"].append(seconds(stock))
    parameters = sum(value.size for value in model.values())
    float64_model = BYTES_PER_FLOAT64 * parameters
    ours_s, stock_s = statistics.median(times["ours"]), statistics.median(times["stock"])
    return {
        "filters": filters,
        "parameters": parameters,
        "tensors": len(model),
        "ours_s": ours_s,
        "stock_s": stock_s,
        "time_ratio": ours_s / stock_s,
        "ours_peak": peak_bytes(ours) / float64_model,
        "ours_momentum_peak": peak_bytes(lambda: run_ours(model, updates, 0.6)) / float64_model,
        "stock_peak": peak_bytes(stock) / float64_model,
        "largest_difference": max(float(np.abs(merged[name] - reference[name]).max()) for name in model),
    }


def table(filters: Sequence[int] = (16, 32), repetitions: int = 9) -> str:
    """The figures as markdown; targets: time ratio ≤ 2, peak ≤ 1.5 float64 models."""
    # FLARE warns at every update that no weight is configured; printing that would count against it.
    logging.disable(logging.CRITICAL)
    lines = [
        f"{SITES} sites, accept + aggregate; peaks in float64 models, beyond the updates themselves",
        "",
        "| parameters | stock s | ours s | ratio (≤ 2) | stock peak | ours peak (≤ 1.5) | with momentum | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in (measure(width, repetitions) for width in filters):
        lines.append(
            f"| {row['parameters'] / 1e6:.1f} M | {row['stock_s']:.3f} | {row['ours_s']:.3f} | {row['time_ratio']:.2f} "
            f"| {row['stock_peak']:.2f} | {row['ours_peak']:.2f} | {row['ours_momentum_peak']:.2f} "
            f"| {row['largest_difference']:.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
