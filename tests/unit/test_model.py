# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet

from fedpac_me.config import Config, ModelConfig
from fedpac_me.model.backbone import build_model, get_weights, set_weights

SMALL = ModelConfig(filters=4, blocks_down=(1, 1), blocks_up=(1,))
IMAGE = torch.randn(2, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
ALL = torch.ones(2, 4)


def build(model: ModelConfig, seed: int = 0):
    return build_model(Config(method="m", title="t", seed=seed, model=model))


def test_with_all_modalities_it_is_monais_segresnet_to_the_byte():
    model = build(SMALL)
    plain = SegResNet(3, 4, 4, 3, blocks_down=(1, 1), blocks_up=(1,), norm=("INSTANCE", {"affine": True}))
    plain.load_state_dict(model.backbone.state_dict())
    assert torch.equal(model(IMAGE, ALL), plain(IMAGE))


def test_the_content_of_an_absent_channel_has_no_influence():
    model = build(SMALL)
    present = torch.tensor([[1.0, 1, 1, 0]] * 2)
    other = IMAGE.clone()
    other[:, 3] = 99
    assert torch.equal(model(IMAGE, present), model(other, present))
    assert not torch.equal(model(IMAGE, present), model(IMAGE, ALL))


def test_the_stand_in_of_an_absent_modality_learns_and_others_do_not():
    model = build(SMALL)
    model(IMAGE, torch.tensor([[1.0, 1, 1, 0]] * 2)).sum().backward()
    assert (model.missing.grad != 0).tolist() == [False, False, False, True]


@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
def test_weights_are_float32_arrays_and_go_round(norm):
    config = SMALL.model_copy(update={"norm": norm})
    one, other = build(config), build(config, 1)
    weights = get_weights(one)
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    assert not any("num_batches_tracked" in name for name in weights)
    set_weights(other, weights)
    assert all(np.array_equal(value, weights[name]) for name, value in get_weights(other).items())


def test_exported_weights_do_not_follow_the_model():
    model = build(SMALL)
    weights = get_weights(model)
    before = weights["missing"].copy()
    with torch.no_grad():
        model.missing += 1
    assert np.array_equal(weights["missing"], before)


def test_a_seed_decides_the_first_model_and_disturbs_nothing():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = build(SMALL), build(SMALL), build(SMALL, 1)
    assert torch.equal(torch.rand(1), expected)
    key = "backbone.convInit.conv.weight"
    assert torch.equal(one.state_dict()[key], same.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])


def test_tumour_is_rare_at_the_start():
    assert torch.sigmoid(build(SMALL)(IMAGE, ALL)).mean() < 0.25


def test_a_model_of_another_shape_is_refused():
    weights = get_weights(build(SMALL))
    with pytest.raises(ValueError, match="missing is"):
        set_weights(build(SMALL), {**weights, "missing": np.zeros((1,), np.float32)})
    weights.pop("missing")
    with pytest.raises(ValueError, match="1 names differ"):
        set_weights(build(SMALL), weights)
