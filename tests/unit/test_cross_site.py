# SPDX-License-Identifier: Apache-2.0
"""The matrix of models and sites: in ``report.json``, on the page, and what a site submits for it."""

import json
import re

import numpy as np
import pytest
from made_up_run import write_run

from fedpac_me.config import parse_config
from fedpac_me.data.site import folder_settings
from fedpac_me.errors import InputError
from fedpac_me.evaluation.report import write_report
from fedpac_me.evaluation.run_record import BEST_MODEL, FINAL_MODEL
from fedpac_me.learning.site import Site
from fedpac_me.model.backbone import build_model, get_weights

SITES = {"site-10": "evaluate", "site-1": "train", "site-2": "train"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    models = {FINAL_MODEL: 0, BEST_MODEL: 1, "site-1": 2, "site-2": 3}
    made = write_run(tmp_path_factory.mktemp("runs") / "shared", SITES, models, pictures=False)
    results = next(made.rglob("cross_val_results.json"))
    content = json.loads(results.read_text())
    del content["site-10"]["site-2"]  # a site that did not answer for one model
    results.write_text(json.dumps(content))
    write_report(made)
    return made


@pytest.fixture(scope="module")
def report(run):
    return json.loads((run / "report.json").read_text())


def test_every_model_has_a_row_and_every_site_a_column(report):
    matrix = report["cross_site"]
    assert matrix["models"] == ["final", "best", "site-1", "site-2"]
    assert [(column["site"], column["role"]) for column in matrix["sites"]] == [
        ("site-1", "train"),
        ("site-2", "train"),
        ("site-10", "evaluate"),
    ]
    assert list(matrix["dice"]) == ["mean", "TC", "WT", "ET"]


def test_cells_are_the_figures_of_the_models_summaries_and_a_gap_is_none(report):
    for key, rows in report["cross_site"]["dice"].items():
        for model, row in zip(report["cross_site"]["models"], rows, strict=True):
            for column, value in zip(report["cross_site"]["sites"], row, strict=True):
                if (model, column["site"]) == ("site-2", "site-10"):
                    assert value is None
                else:
                    assert value == report["models"][model]["sites"][column["site"]]["dice"][key]
    column = [row[0] for row in report["cross_site"]["dice"]["mean"]]
    assert column == sorted(column, reverse=True)  # made up to miss by 0, 1, 2, 3 voxels


def test_the_page_shades_the_cells_and_marks_a_sites_own_model(run, report):
    text = (run / "report.html").read_text()
    section = text[text.index("Every model at every site") : text.index("<h2>Rounds")]
    assert section.count("<table") == 4
    mean = section[: section.index("Region by region")]
    rows = re.findall(r'<tr><th class="text" scope="row">(.*?)</th>(.*?)</tr>', mean)
    assert [name for name, _ in rows] == ["final", "best", "of site-1", "of site-2"]
    cells = [re.findall(r'<td class="(.*?)"(?: style="--share:(\d+)%")?>(.*?)</td>', row) for _, row in rows]
    assert [[("own" in kind) for kind, _, _ in row] for row in cells] == [
        [False, False, False],
        [False, False, False],
        [True, False, False],
        [False, True, False],
    ]
    for row, values in zip(cells, report["cross_site"]["dice"]["mean"], strict=True):
        for (kind, share, shown), value in zip(row, values, strict=True):
            if value is None:
                assert ("none" in kind, share) == (True, "")
            else:
                assert (share, shown) == (f"{100 * value:.0f}", f"{value:.3f}")
    assert "as the site's last round of training left it" in section


def test_the_headline_of_a_shared_run_is_the_final_model_whatever_the_sites_submitted(report):
    assert report["sites"] == report["models"]["final"]["sites"]


def test_the_page_of_a_run_without_local_models_says_so(tmp_path):
    made = write_run(tmp_path / "plain", SITES, {FINAL_MODEL: 0, BEST_MODEL: 1}, pictures=False)
    assert "No site's own model is among them" in write_report(made).read_text()


def site_at(folder, place, **changes) -> Site:
    content = {
        "method": "m",
        "title": "t",
        "data": {"crop": 16},
        "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "own": "head"},
        "learning": {"steps_per_round": 1},
        "federation": {"rounds": 2},
        "evaluation": {"local_models": True},
    }
    return Site(folder.name, parse_config(content | changes), folder_settings(folder), place)


def weights_of(site: Site) -> dict[str, np.ndarray]:
    return get_weights(build_model(site.config))


def test_a_site_submits_what_its_last_round_left_without_its_own_part(split_site, tmp_path):
    site = site_at(split_site, tmp_path)
    weights = weights_of(site)
    site.train(weights, 0)
    assert site.local_weights() is None  # not before the last round
    update = site.train(weights, 1)
    submitted = site_at(split_site, tmp_path).local_weights()  # by another process
    assert submitted.keys() == weights.keys()
    assert any(name not in weights for name in site.trainer.model.state_dict())  # there is something it keeps
    for name, value in submitted.items():
        assert np.array_equal(value, get_weights(site.trainer.model)[name])
    assert any(np.any(value != weights[name]) for name, value in submitted.items())
    for name, step in update.diff.items():
        assert np.allclose(weights[name] + step, submitted[name], atol=1e-6)


def test_a_site_submits_nothing_unless_the_run_asks_for_it(split_site, tmp_path):
    site = site_at(split_site, tmp_path, evaluation={})
    site.train(weights_of(site), 1)
    assert site.local_weights() is None
    assert not list(tmp_path.glob("local_model*"))


def test_a_site_that_never_trains_has_none(split_site, tmp_path):
    (split_site / "site.json").write_text('{"role": "evaluate"}')
    site = site_at(split_site, tmp_path)
    site.train(weights_of(site), 1)
    assert site.local_weights() is None


def test_a_damaged_model_is_a_sentence(split_site, tmp_path):
    (tmp_path / "local_model.npz").write_bytes(b"not a model")
    with pytest.raises(InputError, match="cannot be read"):
        site_at(split_site, tmp_path).local_weights()
