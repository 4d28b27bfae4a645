# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fedpac_me.errors import InputError
from fedpac_me.model.checkpoint import FINAL_MODEL, find_checkpoint, read_checkpoint
from fedpac_me.run_info import weights_hash


def test_a_checkpoint_is_found_and_read(tmp_path):
    path = tmp_path / "server" / FINAL_MODEL
    path.parent.mkdir()
    torch.save({"model": {"a": torch.ones(2)}}, path)
    assert read_checkpoint(find_checkpoint(tmp_path))["a"].tolist() == [1, 1]


def test_none_or_two_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match="found 0"):
        find_checkpoint(tmp_path)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / FINAL_MODEL).touch()
    with pytest.raises(InputError, match="found 2"):
        find_checkpoint(tmp_path)


class Malicious:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def test_code_in_a_checkpoint_is_refused_not_run(tmp_path, capsys):
    torch.save({"model": Malicious()}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "x.pt")
    assert "ran" not in capsys.readouterr().out


def test_the_hash_sees_names_shapes_and_values_but_not_order():
    weights = {"a": np.ones(2, np.float32), "b": np.zeros((1, 2), np.float32)}
    same = dict(reversed(weights.items()))
    assert weights_hash(weights) == weights_hash(same)
    others = [{**weights, "a": np.array([1, 2], np.float32)}, {**weights, "b": np.zeros((2, 1), np.float32)}]
    assert len({weights_hash(other) for other in [weights, *others, {"a": weights["a"]}]}) == 4
