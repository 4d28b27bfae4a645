# SPDX-License-Identifier: Apache-2.0
"""A case that cannot be read is left out and counted; a site with too many of them stops instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from fedpac_me.data.layouts import Case
from fedpac_me.data.scan_cache import telling_progress
from fedpac_me.errors import InputError

Loaded = TypeVar("Loaded")


class ReadableCases:
    """Remembers which cases of a site could not be used, and why.

    Args:
        most: the largest share of a list of cases that may be left out.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self.unusable: dict[str, str] = {}
        """The reason of each, by id. Both name patients: they stay at the site."""

    @property
    def figures(self) -> dict[str, float]:
        """What may leave the site: how many there are, if any."""
        return {"unusable_cases": float(len(self.unusable))} if self.unusable else {}

    def load(self, case: Case, cases: Sequence[Case], load: Callable[[Case], Loaded]) -> Loaded | None:
        """What ``load`` makes of one of the ``cases``; ``None`` where it cannot.

        Raises:
            InputError: too many of the ``cases`` are unusable; the text has the reasons.
        """
        try:
            return load(case)
        except InputError as error:
            self.unusable[case.id] = str(error)
        reasons = [self.unusable[other.id] for other in cases if other.id in self.unusable]
        if len(reasons) > self._most * len(cases):
            raise InputError(
                f"{' '.join(reasons[:5])} {len(reasons)} of {len(cases)} cases cannot be used; data.max_unusable "
                f"allows a share of {self._most:g}."
            )
        return None

    def among(self, cases: Sequence[Case], load: Callable[[Case], object]) -> list[Case]:
        """The cases that ``load``, which may take its time, can read; raises as ``load`` does."""
        return [case for case in telling_progress(cases) if self.load(case, cases, load) is not None]
