# SPDX-License-Identifier: Apache-2.0
"""What is told of a job's log at the server."""

from __future__ import annotations

from itertools import pairwise

from fedpac_me.flare.job_log import last_error, told_by

AT = "2026-01-01 10:00:00,000 -"
BY = "[identity=fedpac_me, run=1, wf=training]"
LOG = f"""{AT} ScatterAndGather - INFO - {BY} - Contribution from site-2 ACCEPTED by the aggregator at round 0.
{AT} ScatterAndGather - INFO - {BY} - Contribution from site-1 ACCEPTED by the aggregator at round 0.
{AT} ExpertWiseAggregator - WARNING - {BY} - Update of site-3 refused: it holds NaN.
{AT} ScatterAndGather - INFO - {BY} - Contribution from site-3 REJECTED by the aggregator at round 0.
{AT} progress - INFO - round 1/2  merged  2 updates
{AT} ScatterAndGather - INFO - {BY} - Contribution from site-1 ACCEPTED by the aggregator at round 1.
a line of a traceback
{AT} fedpac_me.progress - INFO - round 2/2  merged  1 updates
{AT} ServerRunner - ERROR - {BY} - first
{AT} ServerRunner - ERROR - {BY} - last
"""


def test_rounds_with_their_sites_and_refusals_in_order():
    assert told_by(LOG) == [
        "Update of site-3 refused: it holds NaN.",
        "round 1/2  merged  2 updates  from site-1 site-2",
        "round 2/2  merged  1 updates  from site-1",
    ]


def test_a_log_that_grows_is_told_as_a_longer_list():
    lines = LOG.splitlines(keepends=True)
    told = [told_by("".join(lines[:end])) for end in range(len(lines) + 1)]
    assert told[0] == []
    for shorter, longer in pairwise(told):
        assert longer[: len(shorter)] == shorter


def test_the_last_error_is_the_reason():
    assert last_error(LOG) == "last"
    assert last_error("nothing of the kind") is None
