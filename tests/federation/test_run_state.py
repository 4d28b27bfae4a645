# SPDX-License-Identifier: Apache-2.0
"""The server's state between two rounds: what is saved is what is read, and nothing else is taken for one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation.ledger import Ledger, RoundRecord
from fedpac_me.federation.run_state import RunState, find_state, server_parts, states_in
from fedpac_me.federation.server_round import RoundServer

PROTOTYPES = {"experts": 2, "dimension": 3, "batch": 2, "minimum_count": 0.0, "decay": 0.5}


def made(number: int = 4, **parts) -> RunState:
    ledger = Ledger("signature")
    for known in range(number + 1):
        ledger.add(RoundRecord(known, "merged"))
    weights = {"layer.weight": np.float32([[1, 2], [3, number]]), "scalar": np.array(7, np.float32)}
    return RunState("job-1", number, {"seed": 3}, ledger, weights, **parts)


@pytest.fixture
def full() -> RunState:
    prototypes = {"sums": np.full((2, 4, 3), 0.1), "counts": np.ones((2, 4))}
    return made(
        meta={"round": 4, "prototypes": {"dimension": 3, "entries": [{"vector": [0.1, 1 / 3]}]}},
        failed_rounds_in_a_row=2,
        usual_norms=[[[1.5, 0.25], [1 / 3, 0.0]]],
        velocity={"layer.weight": np.float32([[0.5, 0], [0, 1]])},
        prototypes=prototypes,
        best_score=1 / 3,
        best={"layer.weight": np.zeros((2, 2), np.float32), "scalar": np.array(1, np.float32)},
    )


def test_what_is_read_is_what_was_saved_to_the_last_bit(full, tmp_path):
    read = RunState.read(full.save(tmp_path))
    for group in ("weights", "best", "velocity", "prototypes"):
        ours, theirs = getattr(full, group), getattr(read, group)
        assert {name: (v.dtype, v.shape, v.tobytes()) for name, v in ours.items()} == {
            name: (v.dtype, v.shape, v.tobytes()) for name, v in theirs.items()
        }
    assert read.ledger.to_json() == full.ledger.to_json()
    for name in ("job", "round", "config", "meta", "failed_rounds_in_a_row", "usual_norms", "best_score"):
        assert getattr(read, name) == getattr(full, name)


def test_a_server_goes_on_where_the_other_stopped(full):
    server = RoundServer(server_momentum=0.5, prototypes=PROTOTYPES, clip_norm_factor=3.0)
    full.load_into(server)
    parts = server_parts(server)
    assert (parts["failed_rounds_in_a_row"], parts["usual_norms"]) == (2, full.usual_norms)
    for group in ("velocity", "prototypes"):
        assert {n: v.tobytes() for n, v in parts[group].items()} == {
            n: v.tobytes() for n, v in getattr(full, group).items()
        }


def test_a_server_without_prototypes_has_none():
    server = RoundServer()
    made().load_into(server)
    assert server_parts(server) == {"failed_rounds_in_a_row": 0, "usual_norms": [], "velocity": {}, "prototypes": {}}


def test_the_newest_two_are_kept(tmp_path):
    for number in (0, 1, 2, 10):
        made(number).save(tmp_path)
    (tmp_path / "state-notes.npz").write_bytes(b"a person's own file")
    assert [number for number, _ in states_in(tmp_path)] == [2, 10]


def test_going_back_deletes_no_newer_state(tmp_path):
    for number in (5, 6, 1):
        made(number).save(tmp_path)
    assert [number for number, _ in states_in(tmp_path)] == [1, 5, 6]


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = made(1).save(tmp_path)

    def full_disk(file, array, **how):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full_disk)
    with pytest.raises(OSError, match="No space left"):
        made(2).save(tmp_path)
    assert find_state(tmp_path)[0] == path
    assert [entry.name for entry in tmp_path.iterdir()] == ["state-1.npz"]


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -30])
def test_a_truncated_state_is_refused(full, tmp_path, cut):
    path = full.save(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"holds no state of a run that can be read .* Name a run's folder"):
        RunState.read(path)


def test_no_flipped_bit_of_any_value_is_overlooked(full, tmp_path):
    path = full.save(tmp_path)
    sound = path.read_bytes()
    values = full.weights["layer.weight"].tobytes()
    start = sound.index(values)
    for offset in range(len(values)):
        content = bytearray(sound)
        content[start + offset] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError):
            RunState.read(path)


class _RunsWhenRead:
    """What a malicious sender would put into an array of objects."""

    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return (open, (str(self.ran), "w"))


def _content(state: RunState) -> tuple:
    arrays = [
        (group, name, v.tobytes())
        for group in ("weights", "best", "velocity")
        for name, v in getattr(state, group).items()
    ]
    return state.job, state.round, state.config, state.ledger.to_json(), state.meta, state.best_score, sorted(arrays)


def _rewritten(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays["header"].tobytes()) | changes
    np.savez(path, **{**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)})


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"signature": "of another model"},
        {"job": "../../somewhere"},
        {"job": None},
        {"round": "last"},
        {"ledger": {}},
        {"failed_rounds_in_a_row": None},
    ],
)
def test_a_foreign_header_is_refused(full, tmp_path, changes):
    path = full.save(tmp_path)
    _rewritten(path, **changes)
    with pytest.raises(InputError):
        RunState.read(path)


def test_code_in_it_is_refused_not_run(full, tmp_path):
    path, ran = full.save(tmp_path), tmp_path / "ran"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{**arrays, "velocity/layer.weight": np.array([_RunsWhenRead(ran)], dtype=object)})
    with pytest.raises(InputError, match=r"holds no state of a run that can be read.*Object arrays cannot be loaded"):
        RunState.read(path)
    assert not ran.exists()


def test_no_flipped_bit_of_the_file_changes_a_state_or_escapes_as_another_error(tmp_path):
    path = made(1, best_score=0.5).save(tmp_path)
    sound, expected = path.read_bytes(), _content(RunState.read(path))
    refused = 0
    for offset in range(len(sound)):
        content = bytearray(sound)
        content[offset] ^= 1 << offset % 8
        path.write_bytes(content)
        try:
            assert _content(RunState.read(path)) == expected  # a date in the archive, say
        except InputError:
            refused += 1
    assert refused > len(sound) / 2


def test_arrays_of_no_known_group_are_refused(full, tmp_path):
    path = full.save(tmp_path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **arrays, **{"extra/thing": np.zeros(2)})
    with pytest.raises(InputError, match="KeyError"):
        RunState.read(path)


def test_the_newest_readable_state_of_a_run_is_found_and_what_was_passed_over_is_told(tmp_path):
    folder = tmp_path / "run" / "server" / "job" / "fedpac_me"
    for number in (1, 2):
        made(number).save(folder)
    (folder / "state-2.npz").write_bytes(b"damaged")
    made(7).save(tmp_path / "run" / "server" / "job" / "app_server" / "config")  # with which it began
    path, state, damaged = find_state(tmp_path / "run")
    assert (path, state.round) == (folder / "state-1.npz", 1)
    assert len(damaged) == 1 and "state-2.npz holds no state" in damaged[0]
    assert find_state(path)[0] == find_state(folder)[0] == path


def test_a_run_of_damaged_states_says_what_is_wrong_with_each(tmp_path):
    for number in (1, 2):
        (tmp_path / f"state-{number}.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"state-2\.npz .*state-1\.npz"):
        find_state(tmp_path)


def test_two_runs_below_one_folder_are_not_guessed_between(tmp_path):
    for run in ("a", "b"):
        made().save(tmp_path / run / "fedpac_me")
    with pytest.raises(InputError, match="found those of 2"):
        find_state(tmp_path)
