# SPDX-License-Identifier: Apache-2.0
"""Which rounds a site took part in: from ledgers made up here, and in the report's page and JSON."""

import json

import pytest
from made_up_run import write_run

from fedpac_me.evaluation.participation import as_ranges, participation
from fedpac_me.evaluation.report import write_report
from fedpac_me.evaluation.run_record import FINAL_MODEL


def entry(number, accepted=(), rejected=(), abstained=()):
    return {
        "round": number,
        "accepted": [{"site": site} for site in accepted],
        "rejected": [{"site": site, "reason": "late"} for site in rejected],
        "abstained": list(abstained),
    }


def test_every_round_is_in_one_list_of_every_site():
    rounds = [
        entry(0, ["site-1", "site-10"], abstained=["site-2"]),
        entry(1, ["site-1"], rejected=["site-10", "(server)"], abstained=["site-2"]),
        entry(2, ["site-1"]),
    ]
    assert participation(rounds) == {
        "site-1": {"took_part": [0, 1, 2], "refused": [], "silent": []},
        "site-2": {"took_part": [0, 1], "refused": [], "silent": [2]},
        "site-10": {"took_part": [0], "refused": [1], "silent": [2]},
    }
    assert list(participation(rounds)) == ["site-1", "site-2", "site-10"]


def test_a_late_answer_does_not_take_the_round_from_a_site_that_took_part():
    rounds = [entry(0, ["site-1"], rejected=["site-1"])]
    assert participation(rounds)["site-1"] == {"took_part": [0], "refused": [], "silent": []}


def test_no_rounds_no_sites():
    assert participation([]) == {}


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([], "–"), ([3], "3"), ([0, 1, 2], "0-2"), ([0, 2, 3, 7], "0, 2-3, 7")],  # noqa: RUF001
)
def test_rounds_in_words(numbers, words):
    assert as_ranges(numbers) == words


def test_the_report_says_it_of_a_site_that_was_refused_and_one_that_is_gone(tmp_path):
    sites = {"site-1": "train", "site-2": "train", "site-5": "evaluate"}
    page = write_report(write_run(tmp_path / "run", sites, {FINAL_MODEL: 0}, pictures=False)).read_text()
    found = json.loads((tmp_path / "run/report.json").read_text())["participation"]
    # The made-up ledger refuses site-1 in round 2 and has nobody in round 3.
    assert found["site-1"] == {"took_part": [0, 1, 4, 5], "refused": [2], "silent": [3]}
    assert found["site-2"] == {"took_part": [0, 1, 2, 4, 5], "refused": [], "silent": [3]}
    assert '<td>4 of 6</td><td class="text wrap">0-1, 4-5</td><td class="text wrap bad">2</td>' in page
