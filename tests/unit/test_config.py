# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from fedpac_me.config import load_config, parse_config
from fedpac_me.errors import InputError

CONFIGS = sorted((Path(__file__).parents[2] / "app_configs").rglob("*.json"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_and_named_after_its_file(path):
    assert load_config(path).method == path.stem


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"roundz": 3}, "unknown key 'roundz'"),
        ({"federation": {"roundz": 3}}, "unknown key 'federation.roundz'"),
        ({"federation": {"rounds": "3"}}, "'federation.rounds' is '3'"),
        ({"federation": {"rounds": True}}, "'federation.rounds' is True"),
        ({"federation": {"rounds": 0}}, "'federation.rounds' is 0"),
        ({"learning": {"learning_rate": float("nan")}}, "'learning.learning_rate' is nan"),
        ({"model": {"blocks_up": [1]}}, "one entry fewer"),
        ({"method": "../escape"}, "'method' is '../escape'"),
        ({"data": 3}, "'data' is 3"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, content, words):
    base = {"method": "m", "title": "t"}
    with pytest.raises(InputError, match=r"config\.json") as error:
        load_config(write(tmp_path / "config.json", {**base, **content}))
    assert words in str(error.value)


def test_extends_lays_sections_over_each_other(tmp_path):
    write(tmp_path / "a.json", {"method": "a", "title": "t", "federation": {"rounds": 5, "quorum": 1}})
    write(tmp_path / "b.json", {"extends": "a.json", "method": "b", "federation": {"rounds": 7}})
    config = load_config(tmp_path / "b.json", {"seed": 9})
    assert (config.method, config.federation.rounds, config.federation.quorum, config.seed) == ("b", 7, 1, 9)


def test_a_circle_of_extends_is_refused(tmp_path):
    write(tmp_path / "a.json", {"extends": "b.json"})
    write(tmp_path / "b.json", {"extends": "a.json"})
    with pytest.raises(InputError, match="circle"):
        load_config(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_file_that_is_not_a_json_object_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.json"):
        load_config(tmp_path / "a.json")


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="There is no config file"):
        load_config(tmp_path / "none.json")


def test_the_hash_depends_on_values_not_on_how_they_were_written():
    one = parse_config({"method": "m", "title": "t", "learning": {"learning_rate": 1}})
    same = parse_config({"title": "t", "learning": {"learning_rate": 1.0}, "method": "m", "seed": 0})
    other = parse_config({"method": "m", "title": "t", "seed": 1})
    assert one.hash == same.hash != other.hash
    assert parse_config(one.to_dict()) == one


def test_a_validators_own_full_stop_is_not_doubled():
    with pytest.raises(InputError) as error:
        parse_config({"federation": {"robust": "median", "max_site_share": 0.4}})
    assert ".." not in str(error.value) and "leave 'max_site_share' out. The fields" in str(error.value)
