# SPDX-License-Identifier: Apache-2.0
"""PACL: what the network makes of a region should depend neither on the perspective nor on the hospital.

λ_view · L_view + λ_prototype · L_prototype, both InfoNCE (van den Oord et al. 2018, equation 4) over the embeddings of
regions that PACM makes, see ``embeddings``.

The same region of *another* scan is neither positive nor negative in L_view: pushing it away would undo L_prototype,
which pulls all hospitals' enhancing tumour together. Negatives are other regions: of the scan, of the rest of the
batch, and of the queue. So the loss is a proper one at batch 1 as soon as two regions are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fedpac_me.config import ContrastConfig
from fedpac_me.federation.prototypes import CONTRAST_REGIONS, read_prototypes
from fedpac_me.learning.losses import ALONE, Whole
from fedpac_me.model.embeddings import Embeddings, RegionEmbedder, in_full, region_masks


def view_loss(
    one: Embeddings, other: Embeddings, negatives: Tensor | None, negative_regions: Tensor | None, temperature: float
) -> Tensor:
    """L_view: a region in one perspective finds itself in the other among all other regions; both ways, averaged.

    0 with a usable gradient (of zeros) where there is nothing to tell apart.

    Args:
        one, other: the same crops in two perspectives; a region counts where both see it.
        negatives: more vectors (N, D) to tell it from, such as the queue's.
        negative_regions: (N) their regions; those of the anchor's own region are left out. ``None`` leaves none out.
        temperature: τ, what similarities are divided by.
    """
    there = _agreement(one, other, negatives, negative_regions, temperature)
    return (there + _agreement(other, one, negatives, negative_regions, temperature)) / 2


def _agreement(
    one: Embeddings, other: Embeddings, negatives: Tensor | None, negative_regions: Tensor | None, temperature: float
) -> Tensor:
    """-log( exp(own/τ) / (exp(own/τ) + Σ exp(negative/τ)) ), mean over the regions that both see."""
    batch, regions = one.valid.shape
    region = torch.arange(regions, device=one.valid.device).repeat(batch)
    candidates, candidate_regions = other.vectors.flatten(0, 1), region
    usable = other.valid.flatten()
    if negatives is not None:
        candidates = torch.cat([candidates, negatives.to(candidates)])
        # No region has the number -1.
        unknown = negative_regions if negative_regions is not None else region.new_full((len(negatives),), -1)
        candidate_regions = torch.cat([region, unknown])
        usable = torch.cat([usable, usable.new_ones(len(negatives))])
    counted = (region[:, None] != candidate_regions) & usable
    counted.fill_diagonal_(True)
    logits = _similarity(one.vectors.flatten(0, 1), candidates, temperature)
    losses = logits.masked_fill(~counted, -torch.inf).logsumexp(1) - logits.diagonal()
    return _mean_where(losses, (one.valid & other.valid).flatten())


def prototype_loss(
    embeddings: Embeddings, prototypes: Tensor, prototype_regions: Tensor, temperature: float, whole: Whole = ALONE
) -> Tensor:
    """L_prototype: -log( Σ over prototypes of my region exp(sim/τ) / Σ over all prototypes exp(sim/τ) ).

    A region has a prototype an expert, each of them as good an answer (FedPCL, Tan et al. 2022, equation 5, with
    several positives inside the logarithm). Mean over the regions that are there and have one; 0 with a usable
    gradient where none has.

    Args:
        embeddings: of a batch.
        prototypes: (P, D) unit vectors.
        prototype_regions: (P) index into ``CONTRAST_REGIONS``.
        temperature: τ, what similarities are divided by.
        whole: the batch over whose regions the mean is taken, where ``embeddings`` are of a part.
    """
    vectors = embeddings.vectors.flatten(0, 1)
    if len(prototypes) == 0:
        return vectors.sum() * 0
    batch, regions = embeddings.valid.shape
    region = torch.arange(regions, device=vectors.device).repeat(batch)
    mine = region[:, None] == prototype_regions
    known = mine.any(1)
    logits = _similarity(vectors, prototypes.to(vectors), temperature)
    # A row without a positive would be log 0 and its gradient NaN, which no mask takes away afterwards.
    positives = logits.masked_fill(~(mine | ~known[:, None]), -torch.inf)
    return _mean_where(logits.logsumexp(1) - positives.logsumexp(1), embeddings.valid.flatten() & known, whole)


def _similarity(vectors: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Cosine over τ in full precision: at τ = 0.1 bfloat16 would round it to steps of 0.03."""
    with torch.autocast(vectors.device.type, enabled=False):
        return in_full(vectors) @ in_full(others).T / temperature


def _mean_where(losses: Tensor, counted: Tensor, whole: Whole = ALONE) -> Tensor:
    """Mean of the finite ``losses`` that are ``counted``; 0 where none is."""
    return (losses * counted).sum() / whole.total(counted.sum()).clamp_min(1)


class EmbeddingQueue:
    """The last ``size`` embeddings, oldest first, without their graphs."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._vectors: Tensor | None = None
        self._regions: Tensor | None = None

    def push(self, embeddings: Embeddings) -> None:
        """Append the valid vectors of a batch, sample by sample, and drop the oldest beyond ``size``."""
        regions = torch.arange(embeddings.valid.shape[1], device=embeddings.valid.device).expand_as(embeddings.valid)
        vectors, regions = embeddings.vectors.detach()[embeddings.valid], regions[embeddings.valid]
        if self._vectors is not None and self._regions is not None:
            vectors, regions = torch.cat([self._vectors, vectors]), torch.cat([self._regions, regions])
        first = max(len(vectors) - self.size, 0)
        self._vectors, self._regions = vectors[first:], regions[first:]

    def tensors(self) -> tuple[Tensor | None, Tensor | None]:
        """Vectors (N, D) and regions (N), as ``view_loss`` takes them; ``None`` twice while nothing was pushed."""
        return self._vectors, self._regions


class PrototypeSums:
    """A round's embeddings, summed an expert and region: all that the server learns of them."""

    def __init__(self, experts: int, dimension: int) -> None:
        self._sums = torch.zeros(experts, len(CONTRAST_REGIONS), dimension, dtype=torch.float64)
        self._counts = torch.zeros(experts, len(CONTRAST_REGIONS), dtype=torch.int64)

    def add(self, embeddings: Embeddings, experts: Sequence[int]) -> None:
        """Add a batch's valid vectors; ``experts``: who spoke for each sample."""
        vectors = embeddings.vectors.detach().double() * embeddings.valid[..., None]
        self._sums, self._counts = self._sums.to(vectors.device), self._counts.to(vectors.device)
        # Sample by sample: index_add_ has no fixed order on CUDA.
        for sample, expert in enumerate(experts):
            self._sums[expert] += vectors[sample]
            self._counts[expert] += embeddings.valid[sample]

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Sums (E, R, D) and counts (E, R), R as ``CONTRAST_REGIONS``."""
        return self._sums, self._counts

    def add_sums(self, sums: Tensor, counts: Tensor) -> None:
        """Add what another process has summed: its ``tensors``."""
        self._sums, self._counts = self._sums + sums.to(self._sums), self._counts + counts.to(self._counts)

    def to_meta(self) -> dict[str, dict[str, Any]]:
        """{region: {'sum': a vector an expert, 'count': one an expert}}, builtins only."""
        sums, counts = self._sums.cpu(), self._counts.cpu()
        return {
            region: {"sum": sums[:, number].tolist(), "count": counts[:, number].tolist()}
            for number, region in enumerate(CONTRAST_REGIONS)
        }


class ContrastLoss:
    """PACL of one site: both terms, their schedule, the queue, and the sums for the server.

    Nothing is kept from round to round, so an executor that is built anew for every task gives the same bytes.
    """

    def __init__(
        self,
        config: ContrastConfig,
        embedder: RegionEmbedder,
        experts: int,
        rounds: int,
        whole: Whole = ALONE,
    ) -> None:
        """``embedder``: the travelling network's own, so that all sites' embeddings mean the same; ``rounds`` of the
        whole federation; ``whole``: the batch, where this loss sees a part. Other parts are no negatives of the views.
        """
        self.whole = whole
        self.config = config
        self.experts = experts
        self.rounds = rounds
        self.embedder = embedder
        self.queue = EmbeddingQueue(config.queue)
        self.begin_round(0, None)

    def begin_round(self, round_number: int, prototypes: object) -> None:
        """Start a round (from 0) with the server's ``prototypes``. Raises ``InputError``: they cannot be used."""
        vectors, regions = read_prototypes(prototypes, self.config.dimension)
        self._prototypes = torch.from_numpy(vectors), torch.from_numpy(regions)
        self._weight = self.weight(round_number)
        # The server needs sums a round ahead; before that nothing is computed at all.
        self._collects = self.config.prototype_weight > 0 and self.weight(round_number + 1) > 0
        self.sums = PrototypeSums(self.experts, self.config.dimension)
        self.queue.clear()

    def weight(self, round_number: int) -> float:
        """0 before the share ``start`` of the rounds, then growing linearly to 1 over the share ``ramp``."""
        since = round_number - self.config.start * self.rounds
        if since < 0:
            return 0.0
        length = self.config.ramp * self.rounds
        return min(since / length, 1.0) if length else 1.0

    def wants_second(self, step: int) -> bool:
        """Whether a second perspective would be looked at in this step (from 0)."""
        return self._weight * self.config.view_weight > 0 and step % self.config.view_every == 0

    def __call__(
        self,
        features: Sequence[Tensor],
        image: Tensor,
        regions: Tensor,
        experts: Sequence[int] = (),
        second: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The terms to add to the segmentation loss, already weighted: 'view' and 'prototype', or fewer.

        Args:
            features: the decoder's, each BCDHW, from coarse to fine.
            image, regions: BCDHW, what they were made from.
            experts: who spoke for each sample; empty where the model has none.
            second: features of another perspective of the same crops, voxel on voxel.
        """
        pulls = self._weight * self.config.prototype_weight > 0 and len(self._prototypes[0]) > 0
        views = self._weight * self.config.view_weight > 0 and second is not None
        if not (pulls or views or self._collects):
            return {}
        levels = self.embedder.levels
        masks = region_masks(image, regions, features[:levels][-1].shape[2:])
        with torch.set_grad_enabled(torch.is_grad_enabled() and (pulls or views)):
            own = self.embedder(features[:levels], masks)
        if self._collects:
            self.sums.add(own, experts or [0] * len(image))
        terms: dict[str, Tensor] = {}
        if pulls:
            prototypes = (known.to(image.device) for known in self._prototypes)
            pull = prototype_loss(own, *prototypes, self.config.temperature, self.whole)
            terms["prototype"] = self._weight * self.config.prototype_weight * pull
        if views:
            other = self.embedder(second[:levels], masks)
            agreement = view_loss(own, other, *self.queue.tensors(), self.config.temperature)
            terms["view"] = self._weight * self.config.view_weight * agreement
            self.queue.push(own)
        return terms

    def sums_meta(self) -> dict[str, dict[str, Any]] | None:
        """What the site sends as 'prototypes' after the round; ``None`` where the server has no use for it yet."""
        return self.sums.to_meta() if self._collects else None
