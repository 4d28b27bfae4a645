# SPDX-License-Identifier: Apache-2.0
"""A site's cases as columns of numbers, one row a case, and the sums that may be asked of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedpac_me.data.institutions import Subject, read_name_mapping
from fedpac_me.data.layouts import Case
from fedpac_me.data.site import SiteSettings
from fedpac_me.data.split_plan import grade_of, mapping_beside
from fedpac_me.data.splits import site_cases
from fedpac_me.data_stats.case_figures import QUANTILES, CaseFigures, measure_case
from fedpac_me.data_stats.features import CASES, GRADES, PARTS, RAW, SPACING, UNUSABLE, VOLUMES, Z_SCORES
from fedpac_me.errors import InputError

_NO_GRADE = GRADES[-1]
_OUTERMOST = (0.5, 99.5)


@dataclass(frozen=True)
class SiteFigures:
    """The usable cases of a site, and how many more there are."""

    cases: tuple[CaseFigures, ...]
    unusable: int = 0

    def features(self) -> list[str]:
        """The features that at least one case says something about."""
        return [feature for feature, values in self._columns.items() if values.size]

    def count(self, feature: str) -> int:
        """How many cases say something about ``feature``."""
        return int(self._columns[feature].size)

    def sum(self, feature: str) -> float:
        """Sum over the cases; of intensities, that of the cases' medians."""
        return float(self._columns[feature].sum())

    def deviation(self, feature: str) -> float:
        """Standard deviation between the cases; 0 for a single one."""
        values = self._columns[feature]
        return float(values.std(ddof=1)) if values.size > 1 else 0.0

    def variance_around(self, feature: str, mean: float, count: float) -> float:
        """What the site adds to the variance of all ``count`` cases of the federation, whose mean is ``mean``."""
        return float(((self._columns[feature] - mean) ** 2).sum() / max(count - 1, 1))

    def extremes(self, feature: str) -> tuple[float, float]:
        """Between which intensities all but the outermost voxels lie: the very extremes would be one patient's."""
        low, high = np.percentile(self._rows(feature), _OUTERMOST)
        return float(low), float(high)

    def histogram(self, feature: str, bins: int, low: float, high: float) -> list[tuple[float, float, float]]:
        """Lower edge, upper edge and number of cases of each bin; a case is spread over the bins as its voxels are.

        What lies outside the range is in the outermost bins. A feature that is no intensity has no bins.
        """
        if feature not in (*RAW.values(), *Z_SCORES.values()) or not low < high:
            return []
        counts, edges = np.histogram(np.clip(self._rows(feature), low, high), bins=bins, range=(low, high))
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), (counts / QUANTILES).tolist(), strict=True))

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        cases = self.cases
        columns = {CASES: [1] * len(cases), UNUSABLE: [0] * len(cases) + [1] * self.unusable}
        columns |= {part: [case.part == part for case in cases] for part in PARTS}
        grades = [case.grade if case.grade in GRADES else _NO_GRADE for case in cases]
        columns |= {grade: [1] * grades.count(grade) for grade in GRADES}
        columns |= {name: [case.volumes_ml[name] for case in cases if case.volumes_ml] for name in VOLUMES}
        columns |= {name: [case.spacing_mm[axis] for case in cases] for axis, name in enumerate(SPACING)}
        medians = {feature: np.median(self._rows(feature), axis=1) for feature in (*RAW.values(), *Z_SCORES.values())}
        return {name: np.asarray(values, dtype=np.float64) for name, values in (columns | medians).items()}

    def _rows(self, feature: str) -> np.ndarray:
        """A row of quantiles for each case that has the modality."""
        rows = [values for case in self.cases for name, values in _quantiles(case) if name == feature]
        return np.reshape(rows, (len(rows), QUANTILES))


def read_site(settings: SiteSettings, tell: Callable[[str], None]) -> SiteFigures:
    """Read all cases of a site once. A case that cannot be used is left out; ``tell`` hears which and why.

    Raises:
        InputError: the cases cannot be found or split, or none of them can be used.
    """
    parts = site_cases(settings).parts()
    grades: dict[str, Subject] = {}
    for folder in settings.data:
        if (mapping := mapping_beside(folder)) is not None:
            grades |= read_name_mapping(mapping)
    todo = [(case, part, grade_of(case, grades)) for part, members in parts.items() for case in members]
    # Threads suffice: unpacking and arithmetic, where the time goes, let go of the interpreter.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        measured = list(pool.map(_measured, todo))
    usable = tuple(found for found in measured if isinstance(found, CaseFigures))
    for sentence in (found for found in measured if isinstance(found, str)):
        tell(f"Left out of the statistics: {sentence}")
    if not usable:
        raise InputError(f"None of the site's {len(todo)} cases can be used; `fedpac-me check-data` says why.")
    return SiteFigures(usable, len(measured) - len(usable))


def _measured(job: tuple[Case, str, str]) -> CaseFigures | str:
    """The case's figures, or the sentence that says why there are none."""
    try:
        return measure_case(*job)
    except InputError as error:
        return str(error)
    except Exception as error:  # whatever it is, the other cases are to be read
        return f"Case {job[0].id}: reading it ended in {type(error).__name__}: {error}"


def _quantiles(case: CaseFigures) -> Iterator[tuple[str, Sequence[float]]]:
    for modality, found in case.intensities.items():
        yield RAW[modality], found.quantiles
        yield Z_SCORES[modality], found.z_scores
