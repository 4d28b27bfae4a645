# SPDX-License-Identifier: Apache-2.0
"""One batch, several processes: each rank takes the gradient of its samples, the leader takes the step.

The leader, rank 0, is the site's own process. It alone has the optimiser, the algorithm and all else that lasts; the
others have a network, which gets the leader's parameters in every step. The losses of the parts add up to the loss of
the batch (``losses.Whole``), so the result is that of one process, to rounding. What would mix samples of several parts
is refused. Samples go through shared memory; parameters, gradients and counts through gloo on a CPU, NCCL on GPUs.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch import multiprocessing

from fedpac_me.config import Config
from fedpac_me.data.crops import Batch
from fedpac_me.learning.contrast import PrototypeSums
from fedpac_me.learning.losses import Whole
from fedpac_me.learning.rank_limits import rank_devices, require_shared_memory
from fedpac_me.learning.rank_work import PATIENCE, Failure, Group, Parted, flat, flat_gradients, set_gradients, work
from fedpac_me.learning.trainer import Trainer, TrainingFailed

_GRACE_SECONDS = 10.0
"""For a process that is on its way out."""


class Ranks:
    """The processes that share the batches of one site. They start with the first round, and afresh after a failure;
    they end with this object.
    """

    def __init__(self, count: int, config: Config, device: torch.device) -> None:
        """``count`` processes, this one on ``device`` the first. Raises ``InputError``: they cannot share the work."""
        self.count = count
        self._config = config
        self._devices = rank_devices(count, config, device)
        self._team: _Team | None = None

    @property
    def whole(self) -> Whole:
        """The batch, to a loss that sees the leader's part of it."""
        return Whole(self.count, lambda count: self._team.group.total(count))

    def begin_round(self, round_number: int, prototypes: object) -> None:
        """See ``Trainer.begin_round``. Raises ``TrainingFailed``: a process cannot be started."""
        if self._team is not None and not self._team.is_whole:
            self.close()
        with self._or_failed():
            if self._team is None:
                self._team = _Team(self._config, self._devices)
                self._team.start()
            self._team.tell("begin_round", round_number, prototypes)

    def gradients(self, trainer: Trainer, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """``trainer.gradients`` of the whole ``batch``, which any device may hold; ``trainer`` is the leader's.

        Raises:
            TrainingFailed: a process has ended, or does not answer.
            MemoryError: it had none left.
        """
        parameters = list(trainer.model.parameters())
        learning = [one for one in parameters if one.requires_grad]
        mine, *parts = batch.parts(self.count)
        require_shared_memory(batch)
        with self._or_failed():
            for connection, part in zip(self._team.connections, parts, strict=True):
                connection.send(("gradients", part, step, [one.requires_grad for one in parameters]))
            self._team.group.from_leader(flat(parameters))
            terms = trainer.gradients(mine.to(trainer.device), step)
            self._team.heard()
            summed = self._team.group.to_leader(flat_gradients(learning, terms))
        return set_gradients(learning, terms, summed)

    def add_sums_to(self, sums: PrototypeSums) -> None:
        """Add what the others have summed in this round. Raises ``TrainingFailed``."""
        with self._or_failed():
            self._team.tell("sums")
            for others in self._team.heard():
                sums.add_sums(*others)

    def close(self) -> None:
        """End the processes; another round starts new ones."""
        if self._team is not None:
            self._team.close()
            self._team = None

    @contextmanager
    def _or_failed(self) -> Iterator[None]:
        """After any error the ranks no longer know what the others are at: they end, and the error says why."""
        try:
            yield
        except (Parted, EOFError, OSError) as error:
            failure = self._team.failure(next(iter(error.args), None) if isinstance(error, Parted) else None)
            self.close()
            raise failure from error
        except BaseException:
            self.close()
            raise


class _Team:
    """Ranks 1 and up, seen from the leader."""

    def __init__(self, config: Config, devices: Sequence[torch.device]) -> None:
        self.group: Group | None = None
        self.connections: list[Connection] = []
        self._processes: list[multiprocessing.Process] = []
        self._folder = tempfile.mkdtemp(prefix="fedpac_me_ranks_")
        self._config, self._devices = config, devices
        self._end = weakref.finalize(self, _end, self._processes, self.connections, self._folder)

    def start(self) -> None:
        """Start the processes and meet them; what they import takes seconds."""
        count = len(self._devices)
        context = multiprocessing.get_context("spawn")
        for rank, device in enumerate(self._devices[1:], start=1):
            here, there = context.Pipe()
            arguments = (there, self._folder, rank, count, self._config, device)
            process = context.Process(target=work, args=arguments, daemon=True)
            process.start()
            there.close()  # so that the pipe ends with the process
            self._processes.append(process)
            self.connections.append(here)
        self.heard()  # a meeting with somebody who never comes would take as long as the patience
        try:
            self.group = Group(self._folder, 0, count, self._devices[0])
        except RuntimeError as error:
            raise Parted from error

    @property
    def is_whole(self) -> bool:
        """Whether all processes live."""
        return all(process.is_alive() for process in self._processes)

    def tell(self, *message: object) -> None:
        """Have every rank call a method."""
        for connection in self.connections:
            connection.send(message)

    def heard(self) -> list[Any]:
        """What each has to say."""
        return [_heard(connection) for connection in self.connections]

    def failure(self, said: Failure | None) -> Exception:
        """Why the ranks have parted; ``said`` is what one of them has told already."""
        wait([process.sentinel for process in self._processes], _GRACE_SECONDS)
        words = [one for one in (said, *map(_last_words, self.connections)) if one is not None]
        if any(one.out_of_memory for one in words):
            return MemoryError("another rank is out of memory")
        reasons = [f"has failed with {one.kind}" for one in words]
        # Who ends with code 0 has only followed another.
        reasons += [f"has ended with code {process.exitcode}" for process in self._processes if process.exitcode]
        return TrainingFailed(
            f"one of the {len(self._devices)} processes that share this site's training "
            f"{reasons[0] if reasons else 'does not answer'}; nothing of this round is sent, the next one starts new "
            'processes. If it happens again, set "ranks" to 1 in the site\'s settings.'
        )

    def close(self) -> None:
        """End all."""
        if self.group is not None:
            self.group.abort()
        self._end()


def _heard(connection: Connection) -> Any:
    if not connection.poll(PATIENCE.total_seconds()):
        raise Parted
    words = connection.recv()
    if isinstance(words, Failure):
        raise Parted(words)
    return words


def _last_words(connection: Connection) -> Failure | None:
    with suppress(EOFError, OSError):
        while connection.poll():
            words = connection.recv()
            if isinstance(words, Failure):
                return words
    return None


def _end(processes: list[multiprocessing.Process], connections: list[Connection], folder: str) -> None:
    for connection in connections:
        connection.close()  # at which a rank ends
    for process in processes:
        process.join(_GRACE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
    shutil.rmtree(folder, ignore_errors=True)
