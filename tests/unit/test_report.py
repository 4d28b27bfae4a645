# SPDX-License-Identifier: Apache-2.0
"""The report of run folders made up in the test: what it says, what it escapes, what it refuses."""

import csv
import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_run import head, write_run
from PIL import Image

from fedpac_me.errors import InputError
from fedpac_me.evaluation.calibration import CALIBRATION
from fedpac_me.evaluation.metrics import METRICS
from fedpac_me.evaluation.picture import best_slice, case_picture
from fedpac_me.evaluation.report import dice_table, write_report
from fedpac_me.evaluation.run_record import BEST_MODEL, FINAL_MODEL, read_run
from fedpac_me.evaluation.summary import FIGURES


@pytest.fixture(scope="module")
def federated(tmp_path_factory) -> Path:
    sites = {"site-1": "train", "site-2": "train", "site-5": "evaluate"}
    run = write_run(tmp_path_factory.mktemp("runs") / "demo", sites, {FINAL_MODEL: 1, BEST_MODEL: 2})
    write_report(run)
    return run


def read(run: Path) -> dict:
    return json.loads((run / "report.json").read_text(), parse_constant=pytest.fail)


def test_json_has_the_promised_fields(federated):
    report = read(federated)
    fields = (
        "method config_hash seed rounds participation sites mean worst_site spread unseen models cross_site cases_csv"
    )
    assert list(report) == fields.split()
    assert (report["method"], report["config_hash"], report["seed"]) == ("fedavg", "0123456789ab", 3)
    assert list(report["sites"]) == ["site-1", "site-2", "site-5"]
    assert list(report["sites"]["site-1"]) == ["role", "cases", *FIGURES]
    assert report["rounds"][2]["rejected"][0]["site"] == "site-1"
    assert set(report["models"]) == {"final", "best"}
    assert report["sites"] == report["models"]["final"]["sites"]
    assert report["models"]["best"]["mean"]["dice"]["mean"] < report["mean"]["dice"]["mean"]
    assert report["sites"]["site-1"]["null_predictor"]["voxel_accuracy"] > 0.9


def test_csv_has_one_row_per_case_and_model(federated):
    with open(federated / "cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 + 3 + 4)
    assert list(rows[0]) == ["model", "site", "role", "case", *METRICS, *CALIBRATION, "seconds"]


class Page(HTMLParser):
    """Collects what a browser would open or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.captions = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]


def test_page_stands_alone_and_every_table_says_its_convention(federated):
    text = (federated / "report.html").read_text()
    page = Page(text)
    assert not {"script", "link"} & set(page.tags)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import", text)
    assert page.tags.count("table") == page.tags.count("caption") == 11
    assert [b64decode(link.split(",")[1])[8:].decode() for link in page.links if link[0] == "d"] == [
        f"{site} {FINAL_MODEL}" for site in ("site-1", "site-2", "site-5")
    ]
    assert page.tags.count("svg") == 3
    assert all(words in text for words in ("BraTS 2020", "MONAI", "predicting no tumour at all"))
    assert all(
        words in text for words in ("lesions of the truth are 26-connected", "inside the brain", "15 equal bins")
    )
    order = [
        "Sites",
        "Lesions, volumes and calibration",
        "Final and best model",
        "Every model at every site",
        "Rounds",
        "One case per site",
        "Who took part",
        "Ledger",
        "How it was made",
    ]
    assert re.findall(r"<h2>(.*?)</h2>", text) == order
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower().replace("nan in conv", "")


@pytest.mark.parametrize(("evaluation", "told"), [({"small_parts_mm3": 20.0}, True), ({"small_parts_mm3": 0.0}, False)])
def test_the_page_says_what_was_left_out(tmp_path, evaluation, told):
    run = write_run(tmp_path / "demo", {"site-1": "train"}, {FINAL_MODEL: 1})
    record = json.loads((run / "run.json").read_text())
    record["config"]["evaluation"] = evaluation
    (run / "run.json").write_text(json.dumps(record))
    write_report(run)
    assert ("of up to 20 mm³ were left out" in (run / "report.html").read_text()) == told
    assert ("mm³ were left out" in (run / "report.html").read_text()) == told


def test_page_escapes_names_and_reasons(tmp_path):
    run = write_run(tmp_path / "evil", {"<script>x": "train", "b&$_^": "evaluate"}, {FINAL_MODEL: 0}, pictures=False)
    text = write_report(run).read_text()
    assert "script" not in Page(text).tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;script&gt;x" in text


def test_page_says_what_was_odd_about_an_update(tmp_path):
    run = write_run(tmp_path / "odd", {"site-1": "train", "site-2": "train"}, {FINAL_MODEL: 0}, pictures=False)
    (path,) = run.rglob("ledger.json")
    content = json.loads(path.read_text())
    content["rounds"][0]["accepted"][1]["flags"] = ["points against the others (cosine -0.90)"]
    content["rounds"][0]["notes"] = ["Expert 0 was moved by 2 sites"]
    path.write_text(json.dumps(content))
    text = write_report(run).read_text()
    assert text.count("<br>Expert 0 was moved by 2 sites</td>") == 1
    assert read(run)["rounds"][0]["notes"] == ["Expert 0 was moved by 2 sites"]
    assert text.count("points against the others (cosine -0.90)") == 1
    assert read(run)["rounds"][0]["accepted"][1]["flags"] == ["points against the others (cosine -0.90)"]
    assert "flags" not in read(run)["rounds"][0]["accepted"][0]


def test_page_without_pictures_says_why(tmp_path):
    run = write_run(tmp_path / "real", {"site-1": "train"}, {FINAL_MODEL: 0}, pictures=False)
    text = write_report(run).read_text()
    assert "pictures never leave a site" in text
    assert "No best model was evaluated" in text


def test_local_runs_judge_each_site_by_its_own_model(tmp_path):
    sites = {"site-1": "train", "site-2": "train", "site-5": "evaluate"}
    run = write_run(tmp_path / "local", sites, {"site-1": 0, "site-2": 2}, share="nothing")
    text, report = write_report(run).read_text(), read(run)
    at = {model: report["models"][model]["sites"] for model in ("site-1", "site-2")}
    assert report["sites"]["site-1"] == at["site-1"]["site-1"]
    assert report["sites"]["site-2"] == at["site-2"]["site-2"]
    both = (at["site-1"]["site-5"]["dice"]["WT"] + at["site-2"]["site-5"]["dice"]["WT"]) / 2
    assert report["sites"]["site-5"]["dice"]["WT"] == pytest.approx(both)
    assert "Every model at every site" in text
    assert text.count("<img") == 3


def test_a_pooled_site_without_test_cases_is_named_but_not_scored(tmp_path):
    run = write_run(tmp_path / "central", {"pooled": "pooled", "site-1": "train"}, {FINAL_MODEL: 0}, pictures=False)
    results = next(run.rglob("cross_val_results.json"))
    content = json.loads(results.read_text())
    content["pooled"][FINAL_MODEL]["cases"] = []
    results.write_text(json.dumps(content))
    text, report = write_report(run).read_text(), read(run)
    assert list(report["sites"]) == ["site-1"]
    assert (report["mean"]["sites"], report["worst_site"]["site"]) == (1, "site-1")
    assert "without a test result: pooled" in text


def test_dice_table_is_aligned(federated):
    lines = dice_table(read(federated)).splitlines()
    assert lines[0].split() == ["site", "role", "cases", "TC", "WT", "ET", "mean", "null"]
    assert [line.split()[0] for line in lines[1:]] == ["site-1", "site-2", "site-5", "mean", "mean"]
    assert len({len(line) for line in lines}) == 1


def test_the_same_run_gives_the_same_bytes(federated):
    before = {name: (federated / name).read_bytes() for name in ("report.html", "report.json", "cases.csv")}
    write_report(federated)
    assert before == {name: (federated / name).read_bytes() for name in before}


def test_nan_in_a_ledger_is_a_gap(tmp_path):
    run = write_run(tmp_path / "gap", {"site-1": "train"}, {FINAL_MODEL: 0}, pictures=False)
    damage(run, "ledger.json", lambda text: text.replace('"train_loss": 1.1', '"train_loss": NaN'))
    write_report(run)
    assert read(run)["rounds"][0]["metrics"]["site-1"]["train_loss"] is None


def damage(run: Path, name: str, change) -> None:
    path = next(run.rglob(name))
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda run: (run / "run.json").unlink(), "no run.json"),
        (lambda run: next(run.rglob("ledger.json")).unlink(), "holds no ledger.json"),
        (lambda run: next(run.rglob("cross_val_results.json")).unlink(), "did the run finish"),
        (lambda run: damage(run, "ledger.json", lambda text: text[:50]), "cannot be read as JSON"),
        (lambda run: damage(run, "ledger.json", lambda text: text.replace('"schema": 1', '"schema": 9')), "schema"),
        (lambda run: damage(run, "run.json", lambda text: "[]"), "damaged or of another version"),
        (lambda run: damage(run, "cross_val_results.json", lambda text: "{}"), "no evaluated case"),
        (lambda run: damage(run, "cross_val_results.json", lambda text: text.replace("dice_WT", "x")), "dice_WT"),
        (lambda run: damage(run, "cross_val_results.json", lambda text: text.replace("SRV_", "OLD_")), "final model"),
        (lambda run: (run / "ledger.json").write_text("{}"), "different files named ledger.json"),
    ],
)
def test_damaged_runs_are_refused_in_a_sentence_and_nothing_is_written(tmp_path, harm, sentence):
    run = write_run(tmp_path / "run", {"site-1": "train"}, {FINAL_MODEL: 0}, pictures=False)
    harm(run)
    with pytest.raises(InputError, match=sentence):
        write_report(run)
    assert not [path.name for path in run.iterdir() if path.name.startswith(("report", "cases"))]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        read_run(tmp_path / "missing")


def test_best_slice_prefers_truth_then_prediction_then_the_middle():
    empty, truth, prediction = (np.zeros((4, 4, 9), np.uint8) for _ in range(3))
    truth[:2, :2, 3] = 2
    prediction[:, :, 7] = 4
    assert best_slice(truth, prediction) == 3
    assert best_slice(empty, prediction) == 7
    assert best_slice(empty, empty) == 4


@pytest.mark.parametrize(("present", "panels"), [((1, 1, 1, 1), 4), ((1, 0, 1, 0), 3), ((0, 1, 0, 0), 3)])
def test_picture_has_a_panel_per_shown_scan_and_label_map(tmp_path, present, panels):
    image, labels = head(24)
    out = tmp_path / "pictures" / "model.png"
    case_picture(image * np.reshape(present, (4, 1, 1, 1)), present, labels, labels, out, "site $1, case 1")
    with Image.open(out) as picture:
        assert picture.width == pytest.approx(panels * 190, abs=2)
    assert out.stat().st_size < 60_000
    assert [path.name for path in out.parent.iterdir()] == ["model.png"]


def test_picture_of_nothing_is_refused(tmp_path):
    image, labels = head(24)
    with pytest.raises(InputError, match="at least one modality"):
        case_picture(image, [False] * 4, labels, labels, tmp_path / "a.png", "a")
    with pytest.raises(InputError, match="do not share a grid"):
        case_picture(image, [True] * 4, labels[:5], labels, tmp_path / "a.png", "a")
    assert not list(tmp_path.iterdir())
