# SPDX-License-Identifier: Apache-2.0
"""A site whose client is started again gets back into the jobs that it was in.

FLARE 2.9.0 gives a client that starts again a new token, while a running job knows the old one: the site is neither
asked anything more nor found to be gone, and a round without a time limit waits for it for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, ReturnCode, RunProcessKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import Job, JobMetaKey
from nvflare.apis.job_scheduler_spec import DispatchInfo
from nvflare.utils.job_launcher_utils import get_resource_manager_spec

_TOPIC = "fedpac_me.sites"
_SECONDS = 10.0


class ReturningSites(FLComponent):
    """In the server's kit (see ``kits.configure_kit``): starts a running job again at a client that came back."""

    def __init__(self) -> None:
        super().__init__()
        self._looking = threading.Lock()
        self._starting = threading.Lock()
        self._seen: set[tuple[str, str]] = set()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Looks after every heartbeat. The rest takes seconds, in which the client must not wait for its reply."""
        if event_type == EventType.CLIENT_HEARTBEAT_PROCESSED:
            with self._looking:
                for job_id, token, client in self._returned(fl_ctx.get_engine()):
                    self._seen.add((job_id, client.token))
                    threading.Thread(
                        target=self._bring_back, args=(fl_ctx.get_engine(), job_id, token, client), daemon=True
                    ).start()

    def _returned(self, engine: Any) -> Iterator[tuple[str, str, Client]]:
        """Jobs that know a client by a token that it has no more, with that token and the client as it is now."""
        now = {client.name: client for client in engine.get_clients()}
        for job_id, process in list(engine.run_processes.items()):
            for token, before in dict(process.get(RunProcessKey.PARTICIPANTS) or {}).items():
                client = now.get(before.name)
                if client is not None and client.token != token and (job_id, client.token) not in self._seen:
                    yield job_id, token, client

    def _bring_back(self, engine: Any, job_id: str, old_token: str, client: Client) -> None:
        with self._starting, engine.new_context() as fl_ctx:
            job, process = engine.job_runner.running_jobs.get(job_id), engine.run_processes.get(job_id)
            if job is None or process is None:
                return
            others = {token: one for token, one in process[RunProcessKey.PARTICIPANTS].items() if token != old_token}
            process[RunProcessKey.PARTICIPANTS] = others | {client.token: client}
            job.meta[JobMetaKey.JOB_CLIENTS] = [one.to_dict() for one in (*others.values(), client)]
            told = engine.send_app_command(job_id, _TOPIC, {}, _SECONDS)
            takes_back = told is not None and told.get_return_code() == ReturnCode.OK
            why_not = _start(engine, job, client.name, fl_ctx) if takes_back else "the job takes no site back"
            if why_not:
                self.log_warning(fl_ctx, f"{client.name} is back but out of job {job_id}: {why_not}")
                engine.notify_dead_job(job_id, client.name, why_not)
            else:
                self.log_info(fl_ctx, f"{client.name} is back in job {job_id}")


def _start(engine: Any, job: Job, site: str, fl_ctx: FLContext) -> str:
    """Start the job at the site, where it was deployed before; why that is impossible, or an empty string."""
    needs = get_resource_manager_spec({**job.meta, JobMetaKey.RESOURCE_SPEC.value: job.resource_spec}, site)
    enough, token = engine.check_client_resources(job, {site: needs}, fl_ctx).get(site, (False, "no answer"))
    if not enough:
        return f"its resources are not enough ({token})"
    app = next(iter(job.get_deployment()))
    replies = engine.start_client_job(job, {site: DispatchInfo(app, needs, token)}, fl_ctx)
    answers = [str(reply.reply.body) if reply.reply else "no answer" for reply in replies] or ["no answer"]
    return "" if answers[0].startswith("Start") else answers[0]


class KnownSites(FLComponent):
    """In the job, at the server: asks the parent process again who takes part when ``ReturningSites`` says so."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Listens from the start of the run; a simulator has no parent process."""
        if event_type == EventType.START_RUN and not fl_ctx.get_prop(FLContextKey.SIMULATE_MODE, False):
            fl_ctx.get_engine().register_app_command(_TOPIC, _ask_again)


def _ask_again(topic: str, data: Any, fl_ctx: FLContext) -> dict:
    fl_ctx.get_engine().sync_clients_from_main_process()
    return {}
