# SPDX-License-Identifier: Apache-2.0
"""The method's bad and odd inputs in one place: a sentence and nothing changed, or it works where it should."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cases import save, write_case
from fedpac_me.config import Config, load_config, parse_config
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.site import folder_settings
from fedpac_me.engine import Outcome, find_keys, first_weights, run_federation
from fedpac_me.errors import InputError
from fedpac_me.federation.schema import expert_of
from fedpac_me.federation.server_round import RoundServer, server_arguments
from fedpac_me.federation.update import DATA_KIND, Contribution
from fedpac_me.labels import MODALITIES
from fedpac_me.learning.site import SCANS_FOLDER, Site
from fedpac_me.model.backbone import build_model, get_weights

pytestmark = pytest.mark.slow  # whole sites, processes or pages

NORMS = ("batch", "instance")
PLAIN, SQUARED = range(2)
"""Two imaging styles."""


def content(experts: int = 2, norm: str = "instance", **sections) -> dict:
    return {
        "method": "m",
        "title": "t",
        "data": {"crop": 16},
        "model": {
            "filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "experts": experts, "norm": norm, "adapter_rank": 2,
        },
        "learning": {"steps_per_round": 2},
        "federation": {"rounds": 1},
        **sections,
    }  # fmt: skip


def config(*arguments, **sections) -> Config:
    return parse_config(content(*arguments, **sections))


def change(case: Path, edit: Callable[[np.ndarray], np.ndarray], modalities=MODALITIES) -> None:
    for modality in modalities:
        path = case / f"{case.name}_{modality}.nii.gz"
        if path.is_file():
            save(path, edit(np.asanyarray(nibabel.load(path).dataobj)))


def squared(image: np.ndarray) -> np.ndarray:
    return (image.astype(float) ** 2 / 100).astype(np.int16)


@pytest.fixture
def hospital(tmp_path) -> Callable[..., Path]:
    """Makes one with a training scan of each of ``styles``, one for test, and a seed for each."""

    def make(name: str, styles=(PLAIN, SQUARED), seeds=None, missing: tuple[str, ...] = ()) -> Path:
        folder = tmp_path / "data" / name
        seeds = seeds or [10 * ord(name) + number for number in range(len(styles))]
        for number, (style, seed) in enumerate(zip([*styles, PLAIN], [*seeds, 99], strict=True)):
            case = write_case(folder, f"Patient_{name}_{number}", seed=seed, missing=missing)
            if style == SQUARED:
                change(case, squared)
        ids = [case.id for case in find_cases([folder])]
        (folder / "splits.json").write_text(json.dumps({"train": ids[:-1], "test": ids[-1:]}))
        return folder

    return make


def open_site(data: Path, made: Config, folder: Path) -> Site:
    return Site(data.name, made, folder_settings(data), folder / data.name)


def run(made: Config, tmp_path: Path) -> Outcome:
    return run_federation(made, tmp_path / "data", tmp_path / "run", progress=lambda line: None)


def state(folder: Path) -> dict[str, bytes]:
    """What sites keep of their training; prepared scans are no more than another form of their files."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {str(path): (folder / path).read_bytes() for path in found if SCANS_FOLDER not in path.parts}


def as_bytes(weights: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in weights.items()}


def test_no_expert_at_all_is_refused_by_the_config(tmp_path):
    (tmp_path / "none.json").write_text(json.dumps(content(experts=0)))
    with pytest.raises(InputError, match=r"none\.json: 'model\.experts' is 0: .*greater than or equal to 1\. "):
        load_config(tmp_path / "none.json")


def test_more_experts_than_training_scans_is_a_sentence_and_fewer_still_find_their_keys(hospital, tmp_path):
    sites = [open_site(hospital(name), config(5), tmp_path) for name in "ab"]
    with pytest.raises(InputError) as error:
        find_keys(config(5), sites)
    sentence = str(error.value)
    assert "4 training scans" in sentence and "model.experts is 5" in sentence and "Lower model.experts" in sentence
    assert len(find_keys(config(2), sites).keys) == 2


@pytest.mark.parametrize("norm", NORMS)
def test_scans_that_all_look_alike_have_no_second_key(hospital, tmp_path, norm):
    for name in "ab":
        hospital(name, styles=(PLAIN, PLAIN), seeds=(0, 0))
    with pytest.raises(InputError, match=r"1 different styles, but model\.experts is 2\. Lower model\.experts"):
        run(config(2, norm), tmp_path)
    assert state(tmp_path / "run") == {}


def test_a_key_between_two_styles_that_attracts_nobody_is_a_sentence(hospital, tmp_path):
    """Site a reports one centre for its two scans, halfway between them, and nearer to none."""
    hospital("a", seeds=(0, 0))
    hospital("b", styles=(PLAIN, PLAIN), seeds=(0, 0))
    hospital("c", styles=(SQUARED, SQUARED), seeds=(0, 0))
    with pytest.raises(InputError, match=r"1 of 3 keys attract no training scan.* Lower model\.experts\."):
        run(config(3), tmp_path)
    assert state(tmp_path / "run") == {}


@pytest.mark.parametrize("norm", NORMS)
def test_a_site_that_never_acquires_a_modality_takes_part(hospital, tmp_path, norm):
    hospital("a")
    lacking = hospital("b", missing=("flair",))
    made = config(2, norm)
    outcome = run(made, tmp_path)
    (record,) = outcome.ledger.rounds
    assert [line.site for line in record.accepted] == ["a", "b"]
    assert sum(record.accepted[1].expert_mass) == 2
    assert all(np.isfinite(value).all() for value in outcome.weights.values())
    (row,) = outcome.evaluations["b"]["cases"]
    assert row["expert"] in (0, 1) and np.isfinite(row["distance"])
    site = open_site(lacking, made, tmp_path / "again")
    stand_ins = site.train(outcome.weights, 0).diff["missing"]
    assert stand_ins.astype(bool).tolist() == [modality == "flair" for modality in MODALITIES]


@pytest.mark.parametrize("norm", NORMS)
def test_a_site_with_one_training_scan_trains_its_expert_and_no_other(hospital, tmp_path, norm):
    hospital("a")
    hospital("b", styles=(SQUARED,))
    made = config(2, norm)
    assert made.learning.batch == 2
    outcome = run(made, tmp_path)
    one = outcome.ledger.rounds[0].accepted[1]
    assert (one.site, one.cases, sorted(one.expert_mass)) == ("b", 1, [0, 1])
    assert all(np.isfinite(value).all() for value in outcome.weights.values())
    update = open_site(tmp_path / "data" / "b", made, tmp_path / "again").train(outcome.weights, 0)
    assert {expert_of(name) for name in update.diff} == {None, int(np.argmax(one.expert_mass))}
    assert all(np.isfinite(value).all() for value in update.diff.values())


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (np.zeros_like, "is zero everywhere"),
        (lambda image: (image != 0) * np.int16(70), "same value everywhere in the brain"),
    ],
    ids=["zero", "constant"],
)
def test_a_scan_without_a_brain_is_named_to_its_own_site_and_sends_nothing(hospital, tmp_path, edit, words):
    data, made = hospital("a"), config(2)
    change(data / "Patient_a_1", edit)
    site = open_site(data, made, tmp_path / "run")
    for ask in (lambda: site.answer({"ask": "sums"}), lambda: site.train(get_weights(build_model(made)), 0)):
        with pytest.raises(InputError) as error:
            ask()
        sentence = str(error.value)
        assert sentence.startswith("Case Patient_a_1: t1 ") and words in sentence and "emove the " in sentence
    assert state(tmp_path / "run") == {}


def test_prototypes_of_another_dimension_are_a_sentence_and_that_round_leaves_nothing(hospital, tmp_path):
    data = hospital("a")
    made = config(
        1, contrast={"prototype_weight": 0.1, "dimension": 8, "start": 0.0}, federation={"rounds": 2, "quorum": 1}
    )
    weights = first_weights(made, [])
    strange = {"prototypes": {"dimension": 4, "entries": [{"expert": 0, "region": "oedema", "vector": [1.0, 0, 0, 0]}]}}
    site, spared = (open_site(data, made, tmp_path / folder) for folder in ("run", "spared"))
    assert as_bytes(site.train(weights, 0).diff) == as_bytes(spared.train(weights, 0).diff)
    before = state(tmp_path / "run")
    with pytest.raises(InputError, match=r"dimension 4, but contrast\.dimension is 8 here.*older checkpoint"):
        site.train(weights, 1, server_meta=strange)
    assert before and state(tmp_path / "run") == before
    assert as_bytes(site.train(weights, 1).diff) == as_bytes(spared.train(weights, 1).diff)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_masses_that_do_not_sum_to_the_cases_are_refused_and_leave_no_byte(hospital, tmp_path, factor):
    made = config(2, "batch", federation={"rounds": 1, "quorum": 1})
    sites = [open_site(hospital(name, styles=(style,) * 2), made, tmp_path) for name, style in (("a", 0), ("b", 1))]
    weights = first_weights(made, sites)
    updates = [site.train(weights, 0) for site in sites]
    good, honest = (
        Contribution(name, DATA_KIND, 0, one.diff, one.meta) for name, one in zip("ab", updates, strict=True)
    )
    bad = replace(honest, meta=honest.meta | {"expert_mass": [factor * mass for mass in honest.meta["expert_mass"]]})

    def merged(*contributions: Contribution) -> tuple[dict[str, bytes], list[str]]:
        server = RoundServer(**server_arguments(made))
        assert server.begin(0, weights) == ""
        reasons = [server.accept(given).reason for given in contributions]
        return as_bytes(server.close().diff), reasons

    sentence = f"'expert_mass' must sum to the 2 cases of the site, got {2 * factor:g}."
    alone, both = merged(good)[0], merged(good, honest)[0]
    assert alone and alone != both
    assert merged(good, bad) == (alone, ["", sentence])
    assert merged(bad, good) == (alone, [sentence, ""])
    assert merged(bad, good, honest) == (both, [sentence, "", ""])
