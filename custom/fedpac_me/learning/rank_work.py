# SPDX-License-Identifier: Apache-2.0
"""What a rank that is not the leader does (see ``ranks``), and how the ranks of a site talk to each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist

from fedpac_me.config import Config
from fedpac_me.data.crops import Batch
from fedpac_me.learning.device import prepare_torch
from fedpac_me.learning.losses import Whole
from fedpac_me.learning.out_of_memory import is_out_of_memory
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model

PATIENCE = timedelta(minutes=30)
"""How long one rank waits for another that is still there: compiling a network takes minutes."""


class Parted(Exception):
    """Another rank is gone; with its ``Failure`` where that is known."""


@dataclass(frozen=True)
class Failure:
    """Last words of a rank: the kind of error, which unlike its text may leave the site."""

    kind: str
    out_of_memory: bool


class Group:
    """Collectives of ``count`` ranks that meet in a file of ``folder``, over the loopback device: nothing is open to
    the outside. Not torch's default group, since sites of a simulation may live in one process.

    Every method raises ``Parted`` where gloo says that a rank is gone; NCCL does not say so.
    """

    def __init__(self, folder: str, rank: int, count: int, device: torch.device) -> None:
        """Waits for the others."""
        store = dist.FileStore(f"{folder}/ranks", count)
        if device.type == "cuda":
            os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
            self._group = dist.ProcessGroupNCCL(store, rank, count, PATIENCE)
            return
        options = dist.ProcessGroupGloo._Options()
        options._timeout = PATIENCE
        options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
        self._group = dist.ProcessGroupGloo(store, rank, count, options)

    def from_leader(self, values: torch.Tensor) -> torch.Tensor:
        """The leader's ``values``; the others' are overwritten."""
        return self._done("broadcast", values)

    def to_leader(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of all ``values`` at the leader, nothing of use elsewhere."""
        return self._done("reduce", values)

    def total(self, count: torch.Tensor) -> torch.Tensor:
        """The sum of all ``count`` everywhere."""
        return self._done("allreduce", count.clone())

    def abort(self) -> None:
        """Let go of the others, who are told so."""
        self._group.abort()

    def _done(self, collective: str, values: torch.Tensor) -> torch.Tensor:
        try:
            getattr(self._group, collective)([values]).wait()
        except RuntimeError as error:
            raise Parted from error
        return values


def flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """All values in one row, whatever their memory format."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def flat_gradients(parameters: Sequence[torch.Tensor], terms: dict[str, torch.Tensor]) -> torch.Tensor:
    """A row that may be added up over ranks: gradients, which parameters have one, and the terms of the loss.

    One that no rank has must stay ``None``: weight decay and moments would act on zeros.
    """
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    there = torch.tensor([float(one.grad is not None) for one in parameters], device=gradients[0].device)
    return flat([*gradients, there, *(term.float() for term in terms.values())])


def set_gradients(
    parameters: Sequence[torch.Tensor], terms: dict[str, torch.Tensor], summed: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Give the parameters the gradients of the sum of ``flat_gradients``; returns its terms of the loss."""
    *gradients, there, values = summed.split([one.numel() for one in parameters] + [len(parameters), len(terms)])
    for parameter, gradient, has in zip(parameters, gradients, there.tolist(), strict=True):
        # Laid out in memory as the parameter is, which the fused optimiser wants.
        parameter.grad = torch.empty_like(parameter).copy_(gradient.view(parameter.shape)) if has else None
    return dict(zip(terms, values, strict=True))


def work(connection: Connection, folder: str, rank: int, count: int, config: Config, device: torch.device) -> None:
    """The life of rank ``rank``: answers the leader's calls of ``_Rank``'s methods until the leader lets go."""
    try:
        prepare_torch(device, config.learning.cpu_threads)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        connection.send(None)
        rank_here = _Rank(connection, Group(folder, rank, count, device), count, config, device)
        while True:
            name, *arguments = connection.recv()
            getattr(rank_here, name)(*arguments)
    except (EOFError, Parted):
        pass
    except Exception as error:
        with suppress(OSError):
            connection.send(Failure(type(error).__name__, is_out_of_memory(error)))
        raise


class _Rank:
    """A trainer that never steps."""

    def __init__(self, connection: Connection, group: Group, count: int, config: Config, device: torch.device) -> None:
        self._connection = connection
        self._group = group
        self._trainer = Trainer(build_model(config), config, device, whole=Whole(count, group.total))
        self._trainer.model.train()

    def begin_round(self, round_number: int, prototypes: object) -> None:
        self._trainer.begin_round(None, round_number, prototypes)

    @torch.no_grad()
    def _receive(self, learning: list[bool]) -> None:
        parameters = list(self._trainer.model.parameters())
        values = self._group.from_leader(flat(parameters)).split([one.numel() for one in parameters])
        for parameter, value, learns in zip(parameters, values, learning, strict=True):
            parameter.copy_(value.view(parameter.shape))
            parameter.requires_grad_(learns)
            parameter.grad = None

    def gradients(self, part: Batch, step: int, learning: list[bool]) -> None:
        self._receive(learning)
        terms = self._trainer.gradients(part.to(self._trainer.device), step)
        self._connection.send(None)  # before the sum, in which NCCL would wait for ever for a rank that is gone
        self._group.to_leader(
            flat_gradients([one for one in self._trainer.model.parameters() if one.requires_grad], terms)
        )

    def sums(self) -> None:
        self._connection.send([one.cpu() for one in self._trainer.contrast.sums.tensors()])
