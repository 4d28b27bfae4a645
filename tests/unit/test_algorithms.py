# SPDX-License-Identifier: Apache-2.0
"""The hooks of each algorithm for themselves, by hand or on problems whose answer is known."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from small_federation import batches, config
from torch import nn

from fedpac_me.errors import InputError
from fedpac_me.federation.schema import CONTROL, is_statistic
from fedpac_me.learning.algorithms.algorithm import Algorithm
from fedpac_me.learning.algorithms.choice import chosen_algorithm
from fedpac_me.learning.algorithms.fedprox import FedProx
from fedpac_me.learning.algorithms.moon import model_contrast
from fedpac_me.learning.algorithms.scaffold import Scaffold
from fedpac_me.learning.predict import load_run_model
from fedpac_me.learning.site_state import SiteState
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model, get_weights
from fedpac_me.model.checkpoint import FINAL_MODEL
from fedpac_me.model.controls import controlled, give_controls
from fedpac_me.model.exported import export_program
from fedpac_me.model.own import is_own, own_state

CPU = torch.device("cpu")


class Point(nn.Module):
    """A place in the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(2, dtype=torch.float64))


def trainer(made) -> Trainer:
    model = build_model(made)
    made_trainer = Trainer(model, made, CPU, chosen_algorithm(model, made, CPU))
    made_trainer.algorithm.begin(None)
    return made_trainer


def test_fedprox_adds_mu_times_the_way_from_the_received_model() -> None:
    point = Point()
    algorithm = FedProx(point, 0.5)
    algorithm.begin(None)
    with torch.no_grad():
        point.place += torch.tensor([2.0, -1.0])
    point.place.grad = torch.tensor([1.0, 1.0], dtype=torch.float64)
    algorithm.adjust_gradients()
    assert point.place.grad.tolist() == [2.0, 0.5]


def test_fedprox_gives_no_gradient_to_what_has_none() -> None:
    point = Point()
    algorithm = FedProx(point, 0.5)
    algorithm.begin(None)
    algorithm.adjust_gradients()
    assert point.place.grad is None


def test_scaffold_corrects_by_c_less_its_own_and_sends_its_mean_gradient() -> None:
    point = Point()
    give_controls(point)
    algorithm = Scaffold(point)
    (name, place, control), *_ = controlled(point)
    control += torch.tensor([1.0, 2.0])
    algorithm.begin(SiteState({}, {}, {"control": {name: torch.tensor([0.5, 0.5])}}))
    for gradient, corrected in (([1.0, 0.0], [1.5, 1.5]), ([3.0, 0.0], [3.5, 1.5])):
        place.grad = torch.tensor(gradient, dtype=torch.float64)
        algorithm.adjust_gradients()
        assert place.grad.tolist() == corrected
    algorithm.end_round()
    assert control.tolist() == [2.0, 0.0]  # minus the received one this is what is sent
    assert algorithm.kept()["control"][name].tolist() == [2.0, 0.0]


def test_a_site_without_a_control_of_its_own_corrects_nothing() -> None:
    point = Point()
    give_controls(point)
    for _, place, control in controlled(point):
        control += 7.0
        place.grad = torch.ones_like(place)
    algorithm = Scaffold(point)
    algorithm.begin(None)
    algorithm.adjust_gradients()
    assert point.place.grad.tolist() == [1.0, 1.0]


def test_scaffold_comes_to_the_optimum_from_which_averaging_drifts() -> None:
    """Two quadratics ½ (x - b)ᵀ A (x - b) of different curvature; five steps of SGD a round."""
    curvature = torch.tensor([[2.0, 0.5], [0.5, 2.0]], dtype=torch.float64)
    centre = torch.tensor([[1.0, -1.0], [-2.0, 3.0]], dtype=torch.float64)
    optimum = (curvature * centre).sum(0) / curvature.sum(0)
    distances = {}
    for kind in (Algorithm, Scaffold):
        sites = [_quadratic_site(kind) for _ in curvature]
        states: list[SiteState | None] = [None, None]
        shared = {name: torch.zeros_like(value) for name, value in sites[0].model.state_dict().items()}
        for _ in range(30):
            sent = []
            for number, site in enumerate(sites):
                site.model.load_state_dict(shared)
                site.begin(states[number])
                _descend(site, curvature[number], centre[number])
                states[number] = SiteState({}, {}, copy.deepcopy(site.kept()))
                sent.append(copy.deepcopy(site.model.state_dict()))
            shared = {name: (sent[0][name] + sent[1][name]) / 2 for name in shared}
        distances[kind] = float((shared["place"] - optimum).norm())
    assert distances[Scaffold] < 1e-6
    assert distances[Algorithm] > 0.1


def _quadratic_site(kind: type[Algorithm]) -> Algorithm:
    point = Point()
    give_controls(point)
    return kind(point)


def _descend(site: Algorithm, curvature: torch.Tensor, centre: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(site.model.parameters(), lr=0.2)
    for _ in range(5):
        optimizer.zero_grad()
        (0.5 * curvature * (site.model.place - centre).square()).sum().backward()
        site.adjust_gradients()
        optimizer.step()
    site.end_round()


def test_every_shared_parameter_that_learns_has_a_control_which_is_a_statistic() -> None:
    made = config(
        algorithm={"name": "scaffold"}, model={"experts": 2, "adapter_rank": 1, "own": "all", "shared_affine": False}
    )
    model = build_model(made)
    learning = {name for name, value in model.named_parameters() if value.requires_grad and not is_own(name)}
    controls = [name for name in model.state_dict() if name.endswith(CONTROL)]
    assert {name.removesuffix(CONTROL) for name in controls} == {name for name, *_ in controlled(model)} == learning
    assert all(map(is_statistic, controls))


@pytest.mark.slow
def test_a_program_has_no_controls() -> None:
    made = config(algorithm={"name": "scaffold"})
    model = build_model(made)
    names = export_program(model, made).state_dict.keys()
    assert names and not any(name.endswith(CONTROL) for name in names)
    assert any(name.endswith(CONTROL) for name in model.state_dict())


def test_the_model_contrastive_loss_by_hand() -> None:
    one, across = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    # Similarities 1 and 0, over a temperature of 1/2: -log(e² / (e² + 1)).
    assert model_contrast(one, one, across, 0.5).item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert model_contrast(one, one, one, 0.5).item() == pytest.approx(math.log(2))


def test_the_model_contrastive_loss_pulls_towards_the_received_features_and_from_the_previous() -> None:
    features = torch.tensor([[1.0, 1.0]], requires_grad=True)
    model_contrast(features, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5).backward()
    step = -features.grad[0]
    assert step[0] > 0 > step[1]


def test_moon_looks_at_the_previous_model_from_the_second_round_on() -> None:
    made = config(algorithm={"name": "moon"})
    one = trainer(made)
    first = one.train_round(batches(2), 0)
    assert "moon" not in first.terms
    one.algorithm.begin(SiteState({}, {}, copy.deepcopy(one.algorithm.kept())))
    # It was just received as it had been left: both similarities are the same until a step is made.
    second = one.train_round(batches(1), 2)
    assert second.terms["moon"] == pytest.approx(math.log(2), abs=1e-5)


def test_fedrep_trains_its_own_layer_and_then_the_others() -> None:
    made = config(
        model={"own": "last_layer"},
        algorithm={"name": "fedrep", "head_steps": 2},
        learning={"steps_per_round": 5, "weight_decay": 0.1},
    )
    snapshots = []
    for steps in (0, 2, 5):
        one = trainer(made)
        one.train_round(batches(steps), 0)
        snapshots.append((get_weights(one.model), {n: v.numpy().copy() for n, v in own_state(one.model).items()}))
    (body, head), (body_after_head, head_after_head), (body_after_all, head_after_all) = snapshots
    assert _same(body, body_after_head) and not _same(head, head_after_head)
    assert _same(head_after_head, head_after_all) and not _same(body_after_head, body_after_all)


def _same(one, other) -> bool:
    return all(np.array_equal(value, other[name]) for name, value in one.items())


def test_before_training_the_network_with_its_own_last_layer_is_the_plain_one_to_the_byte() -> None:
    image, present = torch.randn(1, 4, 16, 16, 16), torch.ones(1, 4)
    plain, own = build_model(config()), build_model(config(model={"own": "last_layer"}))
    assert torch.equal(plain(image, present), own(image, present))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithm": {"name": "fedprox"}, "federation": {"share": "nothing", "quorum": 0}}, "share to 'all'"),
        ({"algorithm": {"name": "fedrep"}}, "set model.own to 'last_layer'"),
        (
            {"algorithm": {"name": "fedrep", "head_steps": 2}, "model": {"own": "last_layer"}},
            "head_steps is 2 of 2 learning.steps_per_round",
        ),
        (
            {
                "algorithm": {"name": "fedrep", "head_steps": 1},
                "model": {"own": "last_layer", "experts": 2},
                "router": {"refine": "figures"},
            },
            "leave router.refine out",
        ),
        ({"algorithm": {"name": "ditto"}, "model": {"own": "head"}}, "leave model.own out"),
        (
            {"algorithm": {"name": "ditto"}, "contrast": {"view_weight": 1}, "evaluation": {"local_models": True}},
            "leave contrast and evaluation.local_models out",
        ),
        ({"federation": {"server_adam": {}, "server_momentum": 0.5}}, "set server_momentum to 0"),
        ({"federation": {"server_adam": {}, "share": "nothing", "quorum": 0}}, "leave server_adam out"),
        ({"algorithm": {"name": "fedsgd"}}, "'algorithm.name' is 'fedsgd'"),
    ],
)
def test_contradictions_are_refused_with_a_sentence(changes, sentence) -> None:
    with pytest.raises(InputError) as error:
        config(**changes)
    assert sentence in str(error.value)


def finished_run(made, folder):
    """What ``load_run_model`` reads of a run."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"config": made.to_dict()}))
    weights = {name: torch.from_numpy(value) for name, value in get_weights(build_model(made)).items()}
    torch.save({"model": weights}, folder / FINAL_MODEL)
    return folder


def test_a_network_without_its_last_layer_is_not_taken_for_one(tmp_path) -> None:
    made = config(model={"own": "last_layer"})
    run = finished_run(made, tmp_path / "run")
    with pytest.raises(InputError, match="Name with --own the folder"):
        load_run_model(run)
    mine = {name: torch.rand_like(value) for name, value in own_state(build_model(made)).items()}
    SiteState({}, mine).save(tmp_path / "site", 0)
    model, _ = load_run_model(run, tmp_path / "site")
    assert all(torch.equal(value, mine[name]) for name, value in own_state(model).items())


def test_a_sites_model_of_a_run_of_dittos_is_its_whole_own(tmp_path) -> None:
    made = config(algorithm={"name": "ditto"})
    run = finished_run(made, tmp_path / "run")
    mine = {name: torch.rand_like(value) for name, value in build_model(made).state_dict().items()}
    SiteState({}, mine).save(tmp_path / "site", 0)
    model, _ = load_run_model(run, tmp_path / "site")
    assert all(torch.equal(value, mine[name]) for name, value in model.state_dict().items())
