# SPDX-License-Identifier: Apache-2.0
"""The section on experts: its sentence, its tables, its pictures and what it escapes."""

import json
import re
from base64 import b64decode
from html.parser import HTMLParser

import pytest
from made_up_run import EVIL, head, write_routed_run

from fedpac_me.evaluation.expert_picture import OwnedScans
from fedpac_me.evaluation.report import write_report
from fedpac_me.evaluation.routing import contingency_table
from fedpac_me.evaluation.routing_page import routing_sentence
from fedpac_me.evaluation.run_record import FINAL_MODEL

pytestmark = pytest.mark.slow  # whole sites, processes or pages


@pytest.fixture(scope="module")
def section(tmp_path_factory) -> str:
    run = write_routed_run(tmp_path_factory.mktemp("runs") / "routed")
    for site, name in (("site-2", "0-1"), ("site-1", "0-1"), ("site-1", "0-2"), ("site-3", "2-1"), ("site-3", "odd")):
        picture(run, site, name)
    return section_of(run)


def picture(run, site: str, name: str) -> None:
    out = run / site / "simulate_job" / "pictures" / "experts" / f"{name}.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(b"\x89PNG\r\n\x1a\n" + f"{site} {name}".encode())


def section_of(run) -> str:
    text = write_report(run).read_text()
    return text[text.index("<h2>Which expert spoke</h2>") : text.index("<h2>Rounds</h2>")]


class Tables(HTMLParser):
    """The rows of every table, as text, and all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.in_cell = True
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.tables[-1][-1][-1] += data.strip()


def test_the_sentence_names_the_protocol_first(section):
    assert "Experts follow the imaging protocol (NMI 0.86; chance 0.21) more than" in section
    assert "the hospital (NMI 0.57; chance 0.21) and more than the tumour grade (NMI 0.00; chance" in section


def test_every_table_has_a_caption_and_the_counts_are_in_the_cells(section):
    page = Tables(section)
    assert page.tags.count("table") == page.tags.count("caption") == 6
    training, site, protocol, grade, lost, far = page.tables
    assert training[1:] == [
        ["site-1", "4", "4", "0", "0"],
        ["site-2", "4", "4", "0", "0"],
        ["site-3", "0", "0", "8", "0"],
    ]
    assert site[4] == ["site-5unseen", "4", "0", "0", "0"]
    assert [row[0] for row in protocol[1:]] == ["P1", "P2", "P3", "P4"]
    assert [row[0] for row in grade[1:]] == ["HGG", "LGG"]
    dash = "\u2013"
    assert lost[1] == ["site-1", "trains", "+0.100(2)", "+0.100(2)", dash, dash, "+0.100(4)"]
    assert lost[-1] == ["All unseen sites", "+0.100(4)"]
    assert far[4] == ["site-5", "unseen", "4", "4 (100 %)", "1.50", "1.50", "0.00"]
    assert far[-2] == ["All sites that trained", "12", "0 (0 %)", "0.50", "0.50", "1.58"]


def test_shades_are_shares_of_the_row(section):
    assert re.findall(r"--share:(\d+)%", section)[:12] == [*("50", "50", "0", "0") * 2, "0", "0", "100", "0"]


def test_dead_experts_are_a_warning(section):
    warnings = re.findall(r'<p class="bad">(.*?)</p>', section)
    assert warnings == ["Expert 3 is dead: no training scan ever reached it, so it has learnt nothing."]


def test_curves_and_pictures_are_inside_the_page(section):
    assert section.count("<svg") == 2
    shown = re.findall(r'src="data:image/png;base64,([^"]*)"', section)
    assert [b64decode(uri)[8:].decode() for uri in shown] == ["site-1 0-1", "site-2 0-1", "site-1 0-2", "site-3 2-1"]
    assert not re.search(r"<script|<link|url\((?!#)|@import", section)


def test_each_expert_has_a_row_of_the_sites_pictures_below_a_sentence(section):
    shown = section[section.index("Scans that each expert owns") :]
    assert "the one at the smallest distance" in shown and "axial slice with most brain" in shown
    rows = re.findall(r"<h3>Expert (\d+).*?</h3>\s*<div class=\"owned\">(.*?)</div>", shown, re.S)
    sites = [(expert, re.findall(r"<figcaption>(.*?)</figcaption>", row)) for expert, row in rows]
    assert sites == [("0", ["site-1", "site-2", "site-1"]), ("2", ["site-3"])]


def test_a_run_whose_pictures_stayed_at_the_sites_has_no_such_part(tmp_path):
    assert "Scans that each expert owns" not in section_of(write_routed_run(tmp_path / "real"))


def test_pictures_that_the_sites_drew_are_found(tmp_path):
    run = write_routed_run(tmp_path / "drawn")
    for site, experts in (("site-1", (0, 1)), ("site-5", (1,))):
        owned = OwnedScans(site)
        for expert in experts:
            owned.add(expert, 0.5, head(24)[0], [True] * 4)
        owned.draw(run / site / "simulate_job" / "fedpac_me", FINAL_MODEL)
    text = section_of(run)
    alts = re.findall(r'alt="Test scan of (\S+) that expert (\d) reads', text)
    assert alts == [("site-1", "0"), ("site-1", "1"), ("site-5", "1")]


def test_names_from_the_run_are_escaped_and_a_thin_record_still_renders(tmp_path):
    run = write_routed_run(tmp_path / "thin")
    path = next(run.rglob("cross_val_results.json"))
    results = json.loads(path.read_text())
    for at_site in results.values():
        for found in at_site.values():
            for case in found["cases"]:
                for name in [key for key in case if key.startswith("second") or key in ("far", "distance")]:
                    del case[name]
                case["protocol"], case["grade"] = EVIL, None
    path.write_text(json.dumps(results))
    ledger = next(run.rglob("ledger.json"))
    content = json.loads(ledger.read_text())
    for entry in content["rounds"]:
        del entry["experts"]
        for line in entry["accepted"]:
            del line["expert_mass"]
    ledger.write_text(json.dumps(content))
    text = section_of(run)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text
    assert "No test scan was read a second time" in text
    assert "only one value on one side" in text
    assert "Experts follow the hospital (NMI" in text
    assert "<svg" not in text


def test_an_expert_that_missed_a_few_rounds_is_told_from_a_dead_one(tmp_path):
    run = write_routed_run(tmp_path / "missed")
    ledger = next(run.rglob("ledger.json"))
    content = json.loads(ledger.read_text())
    content["rounds"][0]["experts"]["dead"] = [0, 3]
    content["rounds"][-1]["experts"]["dead"] = [2, 3]
    ledger.write_text(json.dumps(content))
    text = section_of(run)
    assert "Expert 0 had no training scan in 1 of 5 merged rounds." in text
    assert "Expert 2 had no training scan in 1 of 5 merged rounds, the last one among them." in text


def test_agreement_of_the_sites_is_a_table_where_the_server_tells(section, tmp_path):
    assert "Agreement of the sites" not in section
    run = write_routed_run(tmp_path / "agreed")
    ledger = next(run.rglob("ledger.json"))
    content = json.loads(ledger.read_text())
    for entry in content["rounds"]:
        entry["experts"]["agreement"] = [0.5 if entry["round"] else 1.0, -0.25, None, None]
    ledger.write_text(json.dumps(content))
    text = section_of(run)
    dash = "\u2013"
    assert Tables(text).tables[-1] == [
        ["Expert", "Last round", "Mean over the rounds", "Rounds"],
        ["expert 0", "+0.50", "+0.60", "5"],
        ["expert 1", "-0.25", "-0.25", "5"],
        ["expert 2", dash, dash, "0"],
        ["expert 3", dash, dash, "0"],
    ]
    assert text.count('<td class="bad">-0.25</td>') == 2


def test_where_experts_are_hospitals_the_page_says_so(tmp_path):
    run = write_routed_run(tmp_path / "fedbn")
    content = json.loads((run / "run.json").read_text())
    content["config"]["router"] = {"keys": "site"}
    (run / "run.json").write_text(json.dumps(content))
    picture(run, "site-1", "0-1")
    text = section_of(run)
    assert "one hospital keeps to itself" in text
    assert "all scans of a site lie at one distance" in text


def table(*counts: list[int]) -> dict:
    return contingency_table({str(number): row for number, row in enumerate(counts)}, len(counts[0]))


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"site": table([9, 0], [8, 0])}, "Expert 0 spoke for every test scan"),
        ({"site": table([9, 8])}, "nothing shows whom experts follow"),
        ({"site": table([9, 0], [0, 9])}, "Experts follow the hospital (NMI 1.00; chance 0.04)."),
        ({"site": table([8, 8], [8, 8])}, "Experts hardly follow the hospital (NMI 0.00; chance 0.02)."),
        (
            {"site": table([9, 0], [0, 9]), "protocol": table([9, 0], [0, 9]), "grade": table([5, 4], [4, 5])},
            "Experts follow the imaging protocol (NMI 1.00; chance 0.04) about as much as the hospital "
            "(NMI 1.00; chance 0.04) and more than the tumour grade (NMI 0.01; chance 0.04).",
        ),
    ],
)
def test_sentences(tables, sentence):
    assert sentence in routing_sentence(tables)
