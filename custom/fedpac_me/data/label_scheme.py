# SPDX-License-Identifier: Apache-2.0
"""How a data set writes enhancing tumour: 4 in BraTS up to 2022, 3 from 2023 on. In memory it is ``ENHANCING``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fedpac_me.data.nifti import read_volume
from fedpac_me.errors import InputError
from fedpac_me.labels import ENHANCING, LABELS

ENHANCING_UP_TO_2022, ENHANCING_FROM_2023 = 4, 3
SCHEMES = (ENHANCING_UP_TO_2022, ENHANCING_FROM_2023)
_VALUES_SHOWN = 5


@dataclass(frozen=True)
class LabelScheme:
    """What stands for enhancing tumour in files, and the words that say how that is known."""

    enhancing: int
    reason: str

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels of a file, in the order of ``LABELS``."""
        return tuple(self.enhancing if label == ENHANCING else label for label in LABELS)

    def to_internal(self, volume: np.ndarray, case_id: str) -> np.ndarray:
        """A file's labels (DHW, any number type) as uint8 of ``LABELS``.

        Raises:
            InputError: a value is not a label of the scheme; whole numbers may come as floats.
        """
        if not (np.issubdtype(volume.dtype, np.number) or volume.dtype == bool) or np.iscomplexobj(volume):
            raise InputError(f"Case {case_id}: its segmentation holds {volume.dtype} values; expected whole numbers.")
        unknown = sorted(set(np.unique(volume).tolist()) - set(self.labels))
        if unknown:
            raise InputError(self._refusal(case_id, unknown))
        labels = volume.astype(np.uint8)
        labels[labels == self.enhancing] = ENHANCING
        return labels

    def from_internal(self, labels: np.ndarray) -> np.ndarray:
        """Labels (DHW, of ``LABELS``) as a file of the scheme holds them, uint8."""
        return np.where(labels == ENHANCING, self.enhancing, labels).astype(np.uint8)

    def _refusal(self, case_id: str, unknown: Sequence[float]) -> str:
        values = ", ".join(f"{value:g}" for value in unknown[:_VALUES_SHOWN])
        sentence = (
            f"Case {case_id} has unknown labels in its segmentation: {values}. "
            f"Expected only 0, 1, 2 and, for enhancing tumour, {self.enhancing}: {self.reason}."
        )
        if not set(unknown) & set(SCHEMES):
            return f"{sentence} Correct the segmentation or move the case out of the data folder."
        return (
            f"{sentence} Enhancing tumour is 4 in BraTS up to 2022 and 3 from 2023 on (where the collections after "
            "treatment label the resection cavity 4), so one data folder cannot hold both. Relabel the odd cases or "
            "move them to a data folder of their own."
        )


class DataSetScheme:
    """The label scheme of a data set, found when first asked for: listing cases must not read volumes."""

    def __init__(self, segmentations: Sequence[tuple[str, Path]], default: LabelScheme) -> None:
        """``segmentations`` are ids and files in order of the ids; ``default`` is for a data set without 3 and 4."""
        self._segmentations = segmentations
        self._default = default

    @cached_property
    def scheme(self) -> LabelScheme:
        """By the first case, in order of the ids, that holds either 3 or 4: one of low grade may have neither.

        A file that cannot be read or holds both decides nothing here: reading that case will say so.
        """
        for case_id, path in self._segmentations:
            found = _enhancing_labels(path)
            if len(found) == 1:
                return LabelScheme(found[0], f"case {case_id} of the same data set has label {found[0]}")
        return self._default


def _enhancing_labels(path: Path) -> list[int]:
    try:
        labels = read_volume(path).data
    except InputError:
        return []
    return [label for label in SCHEMES if np.any(labels == label)]
