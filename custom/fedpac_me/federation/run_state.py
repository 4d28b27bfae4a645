# SPDX-License-Identifier: Apache-2.0
"""What the server knows after a round, as one file from which another job goes on.

The file holds arrays, one of which is a header of JSON: see ``array_file``. A damaged one is told, and nothing in a
malicious one is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedpac_me.array_file import read_arrays, write_arrays
from fedpac_me.errors import InputError
from fedpac_me.federation.ledger import Ledger
from fedpac_me.federation.schema import signature
from fedpac_me.federation.server_round import RoundServer
from fedpac_me.run_folder import require_name

SCHEMA = 1
JOB_FOLDER = "fedpac_me"
"""Where a job writes, at the server and at a site. A job that goes on has a state among its configuration too."""
STATES_KEPT = 2
"""Of a running job: where the newest file is damaged, the one before it is used."""

_HEADER = "header"
_WEIGHTS, _BEST, _VELOCITY, _PROTOTYPES = "weights", "best", "velocity", "prototypes"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class RunState:
    """A federation between two rounds.

    Args:
        job: id of the job whose sites keep what goes with this.
        round: the last one that was finished.
        config: the resolved configuration.
        ledger: of all rounds so far.
        weights: the global model, float32.
        meta: what goes out with the model, builtins.
        failed_rounds_in_a_row: rounds without quorum, up to this one.
        usual_norms: of ``NormBound.state``.
        velocity, prototypes: of ``ServerStep.state`` and ``PrototypeServer.state``.
        best_score, best: the best round's validation Dice and its model; ``None`` and empty before there is one.
    """

    job: str
    round: int
    config: dict[str, Any]
    ledger: Ledger
    weights: Arrays
    meta: dict[str, Any] = field(default_factory=dict)
    failed_rounds_in_a_row: int = 0
    usual_norms: list[list[list[float]]] = field(default_factory=list)
    velocity: Arrays = field(default_factory=dict)
    prototypes: Arrays = field(default_factory=dict)
    best_score: float | None = None
    best: Arrays = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Write the state into ``folder``, atomically; of older ones the newest is kept. Raises ``OSError``."""
        path = folder / f"state-{self.round}.npz"
        header = {
            "schema": SCHEMA,
            "job": self.job,
            "round": self.round,
            "signature": signature(self.weights),
            "config": self.config,
            "ledger": self.ledger.to_json(),
            "meta": self.meta,
            "failed_rounds_in_a_row": self.failed_rounds_in_a_row,
            "usual_norms": self.usual_norms,
            "best_score": self.best_score,
        }
        arrays = {_HEADER: np.frombuffer(json.dumps(header, allow_nan=False).encode(), np.uint8)}
        for group in (_WEIGHTS, _BEST, _VELOCITY, _PROTOTYPES):
            arrays |= {f"{group}/{name}": value for name, value in getattr(self, group).items()}
        write_arrays(path, arrays)
        for number, known in states_in(folder)[:-STATES_KEPT]:
            if number < self.round:
                known.unlink(missing_ok=True)
        return path

    @classmethod
    def read(cls, path: Path) -> RunState:
        """The state that ``save`` wrote.

        Raises:
            InputError: the file is missing, damaged, or something else.
        """
        try:
            arrays = read_arrays(path)
            header = json.loads(arrays.pop(_HEADER).tobytes())
            groups = _grouped(arrays)
            models = [groups[_WEIGHTS], *([groups[_BEST]] if groups[_BEST] else [])]
            if header["schema"] != SCHEMA or {signature(model) for model in models} != {header["signature"]}:
                raise ValueError("its header is of another format or another model")
            require_name(header["job"])
            return cls(
                job=header["job"],
                round=int(header["round"]),
                config=header["config"],
                ledger=Ledger.from_json(header["ledger"]),
                meta=header["meta"],
                failed_rounds_in_a_row=int(header["failed_rounds_in_a_row"]),
                usual_norms=header["usual_norms"],
                best_score=None if header["best_score"] is None else float(header["best_score"]),
                **groups,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path} holds no state of a run that can be read ({type(error).__name__}: {error}). "
                "Name a run's folder, or a state-<round>.npz below it."
            ) from None

    def load_into(self, server: RoundServer) -> None:
        """Let ``server`` go on from here. Raises ``InputError`` when the state does not fit it."""
        server.server_step.load_state(self.velocity)
        server.norm_bound.load_state(self.usual_norms)
        if server.prototypes is not None and self.prototypes:
            server.prototypes.load_state(self.prototypes)
        server.failed_rounds_in_a_row = self.failed_rounds_in_a_row


def server_parts(server: RoundServer) -> dict[str, Any]:
    """The arguments of ``RunState`` that a server between two rounds knows."""
    return {
        "failed_rounds_in_a_row": server.failed_rounds_in_a_row,
        "usual_norms": server.norm_bound.state(),
        "velocity": server.server_step.state(),
        "prototypes": server.prototypes.state() if server.prototypes is not None else {},
    }


def states_in(folder: Path) -> list[tuple[int, Path]]:
    """(round, file) of every state directly in ``folder``, by round."""
    numbers = [(path.stem.removeprefix("state-"), path) for path in folder.glob("state-*.npz")]
    return sorted((int(number), path) for number, path in numbers if number.isdecimal())


def find_state(run: Path) -> tuple[Path, RunState, list[str]]:
    """The newest readable state of a run's folder, or the one that ``run`` is; where it lies, and what was passed over.

    Raises:
        InputError: there is none.
    """
    if run.is_file():
        return run, RunState.read(run), []
    folders = {run} if states_in(run) else {path.parent for path in run.rglob(f"{JOB_FOLDER}/state-*.npz")}
    if len(folders) != 1:
        raise InputError(
            f"Expected the states of one run below {run}, found those of {len(folders)}. A job writes one at the "
            "server after every round; name a run's folder, or a state-<round>.npz."
        )
    damaged = []
    for _, path in reversed(states_in(folders.pop())):
        try:
            return path, RunState.read(path), damaged
        except InputError as error:
            damaged.append(str(error))
    raise InputError(" ".join(damaged) or f"No state of a run below {run} can be read.")


def _grouped(arrays: Mapping[str, np.ndarray]) -> dict[str, Arrays]:
    groups: dict[str, Arrays] = {group: {} for group in (_WEIGHTS, _BEST, _VELOCITY, _PROTOTYPES)}
    for name, value in arrays.items():
        group, _, key = name.partition("/")
        groups[group][key] = value
    return groups
