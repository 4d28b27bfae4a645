# SPDX-License-Identifier: Apache-2.0
"""What a running job survives: a site's processes killed, a site that hangs, a network that is cut; and what it does
not, the death of its own process at the server, told in a sentence. Real processes, one federation and one long job.

Each fixture waits for what it is about and gives the rounds that the site missed; the report at the end must say so.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time

import psutil
import pytest

from fedpac_me.flare.processes import end_processes, processes_of
from network import Cable
from poc_tools import Federation, free_port, start, until

SITE = "site-2"
"""The one to which everything happens."""

ROUNDS = 28
LIMIT = 20
"""Seconds after which a round closes without the late."""

A_MINUTE = 60
LONG = 300.0


@pytest.fixture(scope="module")
def cable():
    """``None`` where this user may not make networks."""
    cable = Cable()
    try:
        yield cable.lay()
    except (OSError, subprocess.CalledProcessError):
        yield None
    finally:
        cable.remove()


@pytest.fixture(scope="module")
def federation(tmp_path_factory, hospitals, cable):
    """Three hospitals, of which the last never trains; the second is at the other end of the cable if there is one."""
    made = Federation(tmp_path_factory.mktemp("staying"))
    up = made.script("up", "3", "--data", hospitals, "--port", str(free_port()))
    try:
        assert up.code == 0, up.out + up.err
        if cable is not None:
            kill(made.processes_at(SITE))
            cable.lead(made.kit(SITE))
            start_site(made, cable)
        yield made
    finally:
        end_processes(made.poc.workspace)
    assert processes_of(made.poc.workspace) == []


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_config):
    """A config that needs one site only and does not wait for the others for ever."""
    content = json.loads(tiny_config.read_text())
    content["federation"] |= {"rounds": ROUNDS, "quorum": 1, "round_timeout": LIMIT}
    content["learning"]["steps_per_round"] = 20
    path = tmp_path_factory.mktemp("config") / "long.json"
    path.write_text(json.dumps(content))
    return path


class Job:
    """The long job while it runs."""

    def __init__(self, federation, job_id):
        self.federation, self.id = federation, job_id

    def rounds_with(self, site):
        return [
            line["round"]
            for line in self.federation.ledger(self.id)
            if any(of["site"] == site for of in line["accepted"])
        ]

    def rounds_without(self, site):
        return sorted({line["round"] for line in self.federation.ledger(self.id)} - set(self.rounds_with(site)))

    def until_a_round_with(self, site):
        before = len(self.rounds_with(site))
        until(lambda: len(self.rounds_with(site)) > before, f"a round with {site}", LONG)

    def until_rounds_without(self, site, number):
        before = len(self.rounds_without(site))
        until(lambda: len(self.rounds_without(site)) >= before + number, f"{number} rounds without {site}", LONG)

    def process_at(self, site):
        (found,) = [one for one in self.federation.processes_at(site) if self.id in one.info["cmdline"]]
        return found


def kill(processes):
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)


def start_site(federation, cable):
    log = federation.kit(SITE) / "log.txt"

    def times_joined():
        return log.read_text().count("Successfully registered client")

    before = times_joined()
    start(federation.kit(SITE), *([] if cable is None else ["ip", "netns", "exec", cable.namespace]))
    until(lambda: times_joined() > before, f"{SITE} at the server", LONG)


@pytest.fixture(scope="module")
def watched_to_death(federation, config):
    """What ``watch.sh`` says of a job whose process at the server is killed."""
    doomed = Job(federation, federation.submit(federation.export(config, "doomed")))
    told = []
    watcher = threading.Thread(target=lambda: told.append(federation.script("watch", doomed.id)))
    watcher.start()
    doomed.until_a_round_with("site-1")
    kill([doomed.process_at("server")])
    watcher.join(timeout=LONG)
    return told[0]


@pytest.fixture(scope="module")
def job(federation, config, watched_to_death):
    job = Job(federation, federation.submit(federation.export(config, "long")))
    job.until_a_round_with(SITE)
    return job


@pytest.fixture(scope="module")
def after_killed_process(job):
    kill([job.process_at(SITE)])
    job.until_a_round_with(SITE)
    return job.rounds_without(SITE)


@pytest.fixture(scope="module")
def without_killed_client(job, cable, after_killed_process):
    before = job.rounds_without(SITE)
    kill(job.federation.processes_at(SITE))
    job.until_rounds_without(SITE, 1)
    start_site(job.federation, cable)
    job.until_a_round_with(SITE)
    return sorted({*job.rounds_without(SITE)} - {*before})


@pytest.fixture(scope="module")
def without_hung_site(job, without_killed_client):
    before, process = job.rounds_without(SITE), job.process_at(SITE)
    until(lambda: caught_in_training(job, process), f"{SITE} in training", LONG)
    job.until_rounds_without(SITE, 1)
    process.resume()
    job.until_a_round_with(SITE)
    return sorted({*job.rounds_without(SITE)} - {*before})


def caught_in_training(job, process):
    """Stop the process while it trains; false when it did not, or was through before it stopped."""
    log = job.federation.kit(SITE) / job.id / "log.txt"

    def trains():
        text = log.read_text()
        return text.count("got task assignment: name=train") > text.count("task result sent")

    if not trains():
        return False
    process.suspend()
    if trains():
        return True
    process.resume()
    return False


@pytest.fixture(scope="module")
def without_network(job, cable, without_hung_site):
    if cable is None:
        return None
    before, began = job.rounds_without(SITE), time.monotonic()
    cable.cut()
    job.until_rounds_without(SITE, 1)
    until(lambda: time.monotonic() - began > A_MINUTE, "a minute")
    cable.mend()
    job.until_a_round_with(SITE)
    return sorted({*job.rounds_without(SITE)} - {*before})


@pytest.fixture(scope="module")
def report(job, without_network):
    watched = job.federation.script("watch", job.id, "--run", "runs/long")
    assert watched.code == 0, watched.out + watched.err
    return json.loads((job.federation.place / "runs/long/report.json").read_text())


def test_a_job_process_that_was_killed_is_started_again_and_the_job_goes_on(after_killed_process, report):
    assert len(after_killed_process) <= 3
    assert len(report["rounds"]) == ROUNDS


def test_rounds_close_without_a_client_that_was_killed_until_it_is_started_again(without_killed_client, report):
    assert_missed(without_killed_client, report)


def test_rounds_close_without_a_site_that_hangs_and_its_late_answer_is_not_taken(without_hung_site, job, report):
    assert_missed(without_hung_site, report)
    # FLARE's client asks before it sends, and keeps the answer of a task that is over to itself.
    log = (job.federation.place / "runs/long/workspace/log.txt").read_text()
    assert any(f"peer={SITE}," in line and line.rstrip().endswith("is not found") for line in log.splitlines())


def test_rounds_close_without_a_site_whose_network_is_cut_for_a_minute(without_network, report):
    if without_network is None:
        pytest.skip("This user may not make network namespaces (`ip netns add`), so no cable was cut")
    assert_missed(without_network, report)


def assert_missed(rounds, report):
    """The site missed these rounds, which the other one carried, and was there again before the last."""
    assert rounds
    site, other = report["participation"][SITE], report["participation"]["site-1"]
    assert {*rounds} <= {*site["silent"], *site["refused"]}
    assert {*rounds} <= {*other["took_part"]}
    assert max(site["took_part"]) > max(rounds)


def test_the_death_of_the_servers_job_ends_the_watching_with_a_sentence_and_the_next_job_runs(watched_to_death, report):
    assert watched_to_death.code == 1
    assert "the job's process there was killed" in watched_to_death.err
    assert len(report["rounds"]) == ROUNDS
