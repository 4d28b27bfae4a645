# SPDX-License-Identifier: Apache-2.0
"""How the sites of a split differ: cases, grades, tumour volumes, what their scans look like. No ids.

A federation whose sites differ in grade cannot tell what it learned about sites from what it learned about grades; in
BraTS2020 most sources hold one grade only. Hence the last line: how much of the grade the site gives away.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpac_me.data.federation_split import FederationSplit, SiteCases
from fedpac_me.data.layouts import Case
from fedpac_me.data.nifti import read_volume
from fedpac_me.data.scan import load_scan
from fedpac_me.data.style import STYLE, known_figures
from fedpac_me.evaluation.contingency import entropy_bits, expected_mutual_information, normalised_mutual_information
from fedpac_me.labels import MODALITIES, REGIONS, regions_from_labels

VERSION = 1
_MM3_PER_ML = 1000


@dataclass(frozen=True)
class CaseFigures:
    """What one case adds to its site's figures.

    Attributes:
        volumes_ml: of the regions, in the order of ``REGIONS``.
        intensities: median raw intensity inside the head, in the order of ``MODALITIES``; NaN where absent.
        style: ``data.style``; NaN where absent.
    """

    volumes_ml: np.ndarray
    intensities: np.ndarray
    style: np.ndarray


def audit_split(
    split: FederationSplit,
    cases: Mapping[str, Case],
    grades: Mapping[str, str],
    images: bool = True,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The audit as plain JSON types. Reads every scan once; without ``images`` it counts and reads nothing.

    Raises:
        InputError: a case is unusable.
    """
    figures: dict[str, CaseFigures] = {}
    if images:
        ids = [id_ for site in split.sites.values() for id_ in site.ids()]
        progress(f"Reading {len(ids)} cases once to measure them ...")
        # Threads suffice: unpacking and arithmetic, where the time goes, let go of the interpreter.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            figures = dict(zip(ids, pool.map(measure, [cases[id_] for id_ in ids]), strict=True))
    sites = {name: _site(site, grades, figures) for name, site in split.sites.items()}
    return {"version": VERSION, "how": split.how, "sites": sites, "site_and_grade": _site_and_grade(sites)}


def measure(case: Case) -> CaseFigures:
    """Figures of one case.

    Raises:
        InputError: the case is unusable.
    """
    scan = load_scan(case, max_missing=len(MODALITIES) - 1)
    voxels = regions_from_labels(scan.labels).reshape(len(REGIONS), -1).sum(axis=1)
    style = np.where(known_figures(scan.style), scan.style, np.nan)
    return CaseFigures(voxels * float(np.prod(scan.spacing_mm)) / _MM3_PER_ML, _intensities(case), style)


def audit_table(audit: Mapping[str, Any]) -> str:
    """The audit as a table for the console."""
    sites = audit["sites"]
    found = {grade for site in sites.values() for grade in site["grades"]}
    grades = sorted(found, key=lambda grade: (not grade, grade))  # those without a grade last
    measured = any("volumes_ml" in site for site in sites.values())
    header = ["site", "role", "cases", "train", "valid", "test", *(grade or "no grade" for grade in grades)]
    header += [*(f"{region} mL" for region in REGIONS), *MODALITIES] if measured else []
    rows = [header, *(_row(name, site, grades, measured) for name, site in sites.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    if measured:
        lines.append("mL and raw intensities: the median case of each site.")
    return "\n".join([*lines, _sentence(audit["site_and_grade"])])


def _intensities(case: Case) -> np.ndarray:
    # Read again, and only for this: a scan holds normalised intensities, in which the scanner's gain no longer shows.
    medians = np.full(len(MODALITIES), np.nan)
    for modality, path in case.images.items():
        volume = read_volume(path).data
        medians[MODALITIES.index(modality)] = float(np.median(volume[volume != 0]))
    return medians


def _site(site: SiteCases, grades: Mapping[str, str], figures: Mapping[str, CaseFigures]) -> dict[str, Any]:
    parts = site.parts()
    facts = {
        "role": site.role,
        "cases": len(site.ids()),
        "parts": {part: len(ids) for part, ids in parts.items()},
        "grades": _counts(site.ids(), grades),
        "grades_of_parts": {part: _counts(ids, grades) for part, ids in parts.items()},
    }
    return {**facts, **_measured([figures[id_] for id_ in site.ids()])} if figures else facts


def _counts(ids: Sequence[str], grades: Mapping[str, str]) -> dict[str, int]:
    return dict(sorted(Counter(grades[id_] for id_ in ids).items()))


def _measured(figures: Sequence[CaseFigures]) -> dict[str, Any]:
    volumes, intensities, styles = (
        np.stack([getattr(each, name) for each in figures]) for name in ("volumes_ml", "intensities", "style")
    )
    return {
        "volumes_ml": {
            region: {"median": _median(column), "smallest": float(column.min()), "largest": float(column.max())}
            for region, column in zip(REGIONS, volumes.T, strict=True)
        },
        "median_intensity": dict(zip(MODALITIES, map(_median, intensities.T), strict=True)),
        "style": {name: _median(column) for name, column in zip(STYLE, styles.T, strict=True) if "present" not in name},
    }


def _median(values: np.ndarray) -> float | None:
    there = values[~np.isnan(values)]
    return float(np.median(there)) if there.size else None


def _site_and_grade(sites: Mapping[str, Any]) -> dict[str, Any]:
    """Over the cases whose grade is known."""
    grades = sorted({grade for site in sites.values() for grade in site["grades"] if grade})
    table = [[site["grades"].get(grade, 0) for grade in grades] for site in sites.values()]
    table = [row for row in table if any(row)]
    normalised = normalised_mutual_information(table)
    of_sites, of_grades = entropy_bits(map(sum, table)), entropy_bits(map(sum, zip(*table, strict=True)))
    return {
        "cases": sum(map(sum, table)),
        "grades": grades,
        "normalised_mutual_information": normalised,
        "by_chance": expected_mutual_information(table),
        # Many sites of one grade each settle the grade, yet are far from 1 above: the grade does not settle the site.
        "of_the_grade": normalised * (of_sites + of_grades) / 2 / of_grades if of_grades else 0.0,
    }


def _sentence(relation: Mapping[str, Any]) -> str:
    if not relation["cases"]:
        return "No case's grade is known, so nothing can be said about site and grade."
    if len(relation["grades"]) == 1:
        return f"Every case with a known grade is {relation['grades'][0]}: site and grade cannot be confounded."
    return (
        f"Site and grade: normalised mutual information {relation['normalised_mutual_information']:.3f} "
        f"(0: independent, 1: each follows from the other; {relation['by_chance']:.3f} by chance) over "
        f"{relation['cases']} cases; the site settles {relation['of_the_grade']:.0%} of the grade."
    )


def _row(name: str, site: Mapping[str, Any], grades: Sequence[str], measured: bool) -> list[str]:
    row = [name, site["role"], site["cases"], *site["parts"].values()]
    row += [site["grades"].get(grade, 0) for grade in grades]
    if measured:
        row += [f"{site['volumes_ml'][region]['median']:.1f}" for region in REGIONS]
        row += ["-" if (m := site["median_intensity"][modality]) is None else f"{m:.0f}" for modality in MODALITIES]
    return [str(cell) for cell in row]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The two columns of words to the left, numbers to the right."""
    return [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
