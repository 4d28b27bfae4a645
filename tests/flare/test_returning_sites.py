# SPDX-License-Identifier: Apache-2.0
"""Who is taken back into a running job: an engine that only remembers. ``test_staying_up`` does it with processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from nvflare.apis.client import Client
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import RunProcessKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReturnCode, make_reply

from fedpac_me.flare.returning_sites import ReturningSites
from poc_tools import until

JOB = "the-job"


class Engine:
    """One job with two sites, of which site-2 has registered again."""

    def __init__(
        self, takes_back=ReturnCode.OK, resources=(True, "reserved"), answer="Start the client app..."
    ) -> None:
        known = {"one": Client("site-1", "one"), "old": Client("site-2", "old")}
        self.run_processes = {JOB: {RunProcessKey.PARTICIPANTS: known}}
        job = SimpleNamespace(meta={}, resource_spec={}, get_deployment=lambda: {"app": ["@ALL"]})
        self.job_runner = SimpleNamespace(running_jobs={JOB: job})
        self.takes_back, self.resources, self.answer = takes_back, resources, answer
        self.started, self.dead = [], []

    def new_context(self):
        return FLContext()

    def get_clients(self):
        return [Client("site-1", "one"), Client("site-2", "new"), Client("site-3", "stranger to the job")]

    def send_app_command(self, job_id, topic, data, timeout):
        return make_reply(self.takes_back)

    def check_client_resources(self, job, needs, fl_ctx):
        return dict.fromkeys(needs, self.resources)

    def start_client_job(self, job, sites, fl_ctx):
        self.started.append({site: (info.app_name, info.token) for site, info in sites.items()})
        return [SimpleNamespace(reply=SimpleNamespace(body=self.answer))]

    def notify_dead_job(self, job_id, site, reason):
        self.dead.append((job_id, site, reason))

    @property
    def participants(self):
        return {token: one.name for token, one in self.run_processes[JOB][RunProcessKey.PARTICIPANTS].items()}


def heartbeat(component, engine):
    context = SimpleNamespace(get_engine=lambda: engine)
    component.handle_event(EventType.CLIENT_HEARTBEAT_PROCESSED, context)


def test_a_site_with_a_new_token_is_known_by_it_and_its_job_is_started_once():
    component, engine = ReturningSites(), Engine()
    for _ in range(3):
        heartbeat(component, engine)
    until(lambda: bool(engine.started), "the job started again")
    assert engine.participants == {"one": "site-1", "new": "site-2"}
    heartbeat(component, engine)
    assert (engine.started, engine.dead) == ([{"site-2": ("app", "reserved")}], [])
    clients = engine.job_runner.running_jobs[JOB].meta["job_clients"]
    assert [client["name"] for client in clients] == ["site-1", "site-2"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"takes_back": ReturnCode.BAD_REQUEST_DATA}, "the job takes no site back"),
        ({"resources": (False, "no GPU")}, "its resources are not enough (no GPU)"),
        ({"answer": "ERROR: no such app"}, "ERROR: no such app"),
    ],
)
def test_a_site_that_cannot_be_taken_back_is_said_to_be_gone_so_that_nobody_waits_for_it(options, reason):
    component, engine = ReturningSites(), Engine(**options)
    heartbeat(component, engine)
    until(lambda: bool(engine.dead), "the job told")
    assert engine.dead == [(JOB, "site-2", reason)]
