# SPDX-License-Identifier: Apache-2.0
"""Which of FLARE's privacy filters a hospital can put on its updates: the real filters, then the server's check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.filters.dxo_blocker import DXOBlocker
from nvflare.app_common.filters.exclude_vars import ExcludeVars
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
from nvflare.app_common.filters.svt_privacy import SVTPrivacy

from federation.contributions import ROUND, honest, model
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.update import Contribution, check


def filtered(privacy_filter, contribution: Contribution) -> Contribution:
    """The contribution as it arrives from a site with this filter."""
    sent = DXO(DataKind.WEIGHT_DIFF, data=dict(contribution.diff), meta=dict(contribution.meta)).to_shareable()
    arrived = from_shareable(privacy_filter.process(sent, FLContext()))
    return replace(contribution, diff=arrived.data, meta=arrived.get_meta_props())


def verdict_on(contribution: Contribution):
    return check(Schema.learn(model()), contribution, ROUND, already=())


@pytest.mark.parametrize(
    "privacy_filter",
    [PercentilePrivacy(percentile=50, gamma=1e-3), SVTPrivacy(fraction=0.5, epsilon=1.0, gamma=1e-3)],
    ids=["PercentilePrivacy", "SVTPrivacy"],
)
def test_a_filter_that_changes_values_is_compatible(privacy_filter):
    arrived = filtered(privacy_filter, honest())
    verdict = verdict_on(arrived)
    assert verdict.ok, verdict.reason
    assert any(not np.array_equal(arrived.diff[name], value) for name, value in honest().diff.items())
    assert (verdict.cases, verdict.metrics) == (10, honest().meta["metrics"])


def test_percentile_privacy_bounds_every_entry():
    arrived = filtered(PercentilePrivacy(percentile=0, gamma=1e-3), honest())
    assert max(np.abs(value).max() for value in arrived.diff.values()) == np.float32(1e-3)


@pytest.mark.parametrize(
    ("excluded", "words"),
    [
        ("trunk", "Every shared tensor must come, 2 of 2 are missing, the first is 'trunk.bias'"),
        (["head.experts.0.bias"], "The tensors of expert 0 go together or not at all"),
        ("experts.0", "Expert 0 was left out, so its mass must be 0"),
    ],
)
def test_a_filter_that_leaves_layers_out_gets_the_update_refused(excluded, words):
    verdict = verdict_on(filtered(ExcludeVars(exclude_vars=excluded), honest()))
    assert (verdict.ok, words in verdict.reason) == (False, True), verdict.reason


def test_an_expert_that_the_site_did_not_use_may_be_left_out():
    unused = honest(expert_mass=[0.0, 10.0])
    assert verdict_on(filtered(ExcludeVars(exclude_vars="experts.0"), unused)).ok


def test_a_blocked_update_does_not_leave_the_site():
    with pytest.raises(Exception, match="is blocked"):
        filtered(DXOBlocker([DataKind.WEIGHT_DIFF]), honest())


@pytest.mark.parametrize(
    "privacy_filter",
    [PercentilePrivacy(), SVTPrivacy(), ExcludeVars(exclude_vars="trunk")],
    ids=lambda one: type(one).__name__,
)
def test_a_site_that_never_trains_passes_every_filter(privacy_filter):
    abstaining = replace(honest(abstained=True), diff={})
    assert verdict_on(filtered(privacy_filter, abstaining)).abstained
