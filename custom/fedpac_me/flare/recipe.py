# SPDX-License-Identifier: Apache-2.0
"""From a config to a FLARE job: the same definition for export, simulator, POC and production."""

from __future__ import annotations

from pathlib import Path

from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.widgets.convert_to_fed_event import ConvertToFedEvent
from nvflare.app_common.widgets.streaming import ANALYTIC_EVENT_TYPE
from nvflare.app_common.widgets.validation_json_generator import ValidationJsonGenerator
from nvflare.app_common.workflows.cross_site_model_eval import CrossSiteModelEval
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.app_opt.pt.file_model_locator import PTFileModelLocator
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe

from fedpac_me.code_version import this_code
from fedpac_me.config import Config
from fedpac_me.federation.run_state import RunState
from fedpac_me.federation.server_round import server_arguments
from fedpac_me.flare.aggregator import ExpertWiseAggregator
from fedpac_me.flare.bundle import bundle_package
from fedpac_me.flare.code_check import CodeCheck
from fedpac_me.flare.executor import FedPacMeExecutor
from fedpac_me.flare.freed_memory import FreedMemory
from fedpac_me.flare.job_config import PERSISTOR
from fedpac_me.flare.key_search import EVERY_LIVING_SITE, TASK_STYLE, KeySearchController
from fedpac_me.flare.model_sender import model_generator
from fedpac_me.flare.persistor import FedPacMePersistor
from fedpac_me.flare.resume import ResumeController, RunStateKeeper
from fedpac_me.flare.returning_sites import KnownSites
from fedpac_me.flare.selector import BestModelSelector
from fedpac_me.flare.simulator_turns import SimulatorTurns
from fedpac_me.flare.tracking import add_receivers

_LOCATOR = "locator"
_SELECTOR = "selector"
_RUN_STATE = "run_state"


class FedPacMeRecipe(Recipe):
    """Rounds of training, then an evaluation of the final and the best model at every site.

    Args:
        config: what to run.
        name: name of the job.
        installed: leave the package out of the job; server and sites must have it installed and allowed.
        resume: the file of the ``RunState`` to go on from.
        mlflow: tracking URI of an MLflow server that gets the figures of every round, too.
    """

    def __init__(
        self,
        config: Config,
        name: str,
        installed: bool = False,
        resume: Path | None = None,
        mlflow: str | None = None,
    ) -> None:
        job = FedJob(name=name, min_clients=max(1, config.federation.quorum))
        self._code = bundle_package(job, installed)
        _add_server_components(job, config)
        add_receivers(job, mlflow)
        state = None if resume is None else RunState.read(resume)
        if resume is not None:
            job.add_file_to_server(str(resume), app_folder_type="config")
            components = [PERSISTOR, AppConstants.DEFAULT_AGGREGATOR_ID, _SELECTOR, _RUN_STATE]
            job.to_server(ResumeController(resume.name, components), id="resume")
        elif config.model.experts > 1:
            job.to_server(KeySearchController(config.to_dict(), PERSISTOR), id="keys")
        _add_workflows(job, config, start=0 if state is None else state.round + 1)
        executor = FedPacMeExecutor(config.to_dict(), this_code(), None if state is None else state.job)
        job.to_clients(executor, tasks=_tasks())
        job.to_clients(ConvertToFedEvent([ANALYTIC_EVENT_TYPE]))
        job.to_clients(FreedMemory(), id="freed_memory")
        super().__init__(job)


def _add_server_components(job: FedJob, config: Config) -> None:
    aggregator = ExpertWiseAggregator(server_arguments(config), config.federation.abort_after_failed_rounds)
    job.to_server(SimulatorTurns(), id="simulator_turns")  # first: it must act before the sites begin
    job.to_server(CodeCheck(this_code()), id="code")
    job.to_server(KnownSites(), id="known_sites")
    job.to_server(FedPacMePersistor(config.to_dict()), id=PERSISTOR)
    job.to_server(PTFileModelLocator(pt_persistor_id=PERSISTOR), id=_LOCATOR)
    job.to_server(model_generator(config.federation.download), id=AppConstants.DEFAULT_SHAREABLE_GENERATOR_ID)
    job.to_server(aggregator, id=AppConstants.DEFAULT_AGGREGATOR_ID)
    job.to_server(BestModelSelector(aggregator_id=AppConstants.DEFAULT_AGGREGATOR_ID), id=_SELECTOR)
    job.to_server(RunStateKeeper(config.to_dict()), id=_RUN_STATE)
    job.to_server(ValidationJsonGenerator(), id="results")


def _add_workflows(job: FedJob, config: Config, start: int) -> None:
    submits = config.federation.share == "nothing" or config.evaluation.local_models
    job.to_server(
        ScatterAndGather(
            # A round waits for every living site; the aggregator's quorum decides what is enough.
            min_clients=EVERY_LIVING_SITE,
            start_round=start,
            num_rounds=config.federation.rounds - start,
            wait_time_after_min_received=0,
            train_timeout=config.federation.round_timeout,
            persistor_id=PERSISTOR,
            ignore_result_error=True,
        ),
        id="training",
    )
    job.to_server(
        CrossSiteModelEval(
            model_locator_id=_LOCATOR,
            submit_model_task_name=AppConstants.TASK_SUBMIT_MODEL if submits else "",
        ),
        id="evaluation",
    )


def _tasks() -> list[str]:
    return [TASK_STYLE, AppConstants.TASK_TRAIN, AppConstants.TASK_VALIDATION, AppConstants.TASK_SUBMIT_MODEL]
