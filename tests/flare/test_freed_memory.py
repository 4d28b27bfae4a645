# SPDX-License-Identifier: Apache-2.0
"""Objects that only refer to each other, as FLARE leaves them, and who lets go of them."""

from __future__ import annotations

import gc
import json
import weakref

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext

from fedpac_me.config import parse_config
from fedpac_me.flare.freed_memory import FreedMemory
from fedpac_me.flare.recipe import FedPacMeRecipe


class Left:
    """Refers to itself, so that nothing but a collection ends it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def nobody_else_collects():
    gc.disable()
    yield
    gc.enable()


def freed_by(component, event) -> bool:
    left = weakref.ref(Left())
    component.handle_event(event, FLContext())
    return left() is None


@pytest.mark.parametrize("event", [EventType.AFTER_SEND_TASK_RESULT, EventType.CLIENT_HEARTBEAT_PROCESSED])
def test_what_is_left_is_freed_after_a_task_or_a_heartbeat_and_not_all_the_time(event):
    component, now = FreedMemory(seconds=10.0), [100.0]
    component._clock = lambda: now[0]
    assert freed_by(component, event)
    now[0] = 109.9
    assert not freed_by(component, event)
    now[0] = 110.0
    assert freed_by(component, event)


def test_a_site_that_still_works_is_left_alone():
    assert not freed_by(FreedMemory(), EventType.AFTER_TASK_EXECUTION)


def test_every_job_brings_it_to_the_sites(tmp_path):
    FedPacMeRecipe(parse_config({"method": "any", "title": "Any"}), "any").export(str(tmp_path))
    client = json.loads((tmp_path / "any/app/config/config_fed_client.json").read_text())
    (found,) = [part for part in client["components"] if part["id"] == "freed_memory"]
    assert found["path"] == "fedpac_me.flare.freed_memory.FreedMemory"
