# SPDX-License-Identifier: Apache-2.0
"""The least a FLARE federation can be: stock aggregator, idle executors. Arguments: folder, clients, rounds."""

from __future__ import annotations

import sys

from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
from nvflare.job_config.api import FedJob

from null_executor import NullExecutor
from seeded_model import SegResNet16


def main(folder: str, clients: int, rounds: int) -> int:
    """Run it; the exit code of the simulator."""
    job = FedJob(name="stock", min_clients=clients)
    job.to_server(PTFileModelPersistor(model=SegResNet16()), id="persistor")
    job.to_server(FullModelShareableGenerator(), id="shareable_generator")
    job.to_server(InTimeAccumulateWeightedAggregator(expected_data_kind="WEIGHT_DIFF"), id="aggregator")
    # As in fedpac_me.flare.recipe: a round waits for every living site.
    workflow = ScatterAndGather(
        min_clients=1000, num_rounds=rounds, wait_time_after_min_received=0, persistor_id="persistor"
    )
    job.to_server(workflow, id="training")
    job.to_clients(NullExecutor(), tasks=["train"])
    return job.simulator_run(f"{folder}/stock", n_clients=clients, threads=clients) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
