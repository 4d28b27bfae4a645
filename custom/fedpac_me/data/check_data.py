# SPDX-License-Identifier: Apache-2.0
"""Reading every case of a data folder once, and everything there is to say about them: ``fedpac-me check-data``.

Broken data never stops it: what is wrong with one site or case is a finding, and the others are read.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedpac_me.config import DataConfig
from fedpac_me.data.case_findings import inspect_case
from fedpac_me.data.case_pool import Inspect, Task, inspect_cases
from fedpac_me.data.file_findings import words
from fedpac_me.data.findings import SEVERITIES, CaseReport, Finding, counts_sentence, findings_table
from fedpac_me.data.label_scheme import SCHEMES
from fedpac_me.data.layouts import LAYOUTS, Case, Layout, find_case, layout_named, layout_sentence
from fedpac_me.data.pooling import site_folders
from fedpac_me.data.site import SiteSettings, folder_settings
from fedpac_me.data.splits import site_cases
from fedpac_me.errors import InputError

_PROGRESS_LINES = 10
_FILES_SHOWN = 3


@dataclass(frozen=True)
class DataReport:
    """How many cases were read, how long it took, what was found, worst first."""

    cases: int
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def has_errors(self) -> bool:
        """Whether a run would refuse the data, or its result be wrong."""
        return any(finding.severity == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        findings = [asdict(finding) for finding in self.findings]
        return {"cases": self.cases, "seconds": round(self.seconds, 2), "findings": findings}

    def text(self) -> str:
        """The table, where there is something to put in it, and one line of counts."""
        counts = f"{_cases(self.cases)} read in {self.seconds:.1f} s: {counts_sentence(self.findings)}."
        return f"{findings_table(self.findings)}\n{counts}" if self.findings else counts


@dataclass(frozen=True)
class _Found:
    name: str
    case: Case
    data_set: Path


def check_data(
    root: Path,
    workers: int | None = None,
    max_missing: int = DataConfig().max_missing_modalities,
    progress: Callable[[str], None] = lambda line: None,
    inspect: Inspect = inspect_case,
    layout: Layout | None = None,
) -> DataReport:
    """Check a folder of cases, or a data root with one folder a site; a single case's folder will do, too.

    Args:
        root: where the data is.
        workers: processes to read with; as many as there are processors when ``None``.
        max_missing: how many of the four modalities a case may lack.
        progress: told a line now and then.
        inspect: what reports on one case.
        layout: how files are named where a site's settings do not say; detected where nothing does.

    Raises:
        InputError: there is nothing of the kind at ``root``, or ``workers`` is below 1.
    """
    start = time.monotonic()
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected 1 or more.")
    found, findings = _find_everything(root, layout)
    if not found and not findings:
        raise InputError(f"{root} holds no site whose cases could be read. Name a folder of cases, or of hospitals.")
    if found:
        progress(layout_sentence([each.case for each in found]))
    reports = _inspect_found(found, max_missing, min(workers, max(len(found), 1)), inspect, progress)
    for report in reports:
        findings += report.findings
    findings += _duplicates(reports)
    findings += _mixed_labels(found, reports)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return DataReport(len(found), time.monotonic() - start, tuple(findings))


def _inspect_found(
    found: Sequence[_Found], max_missing: int, workers: int, inspect: Inspect, progress: Callable[[str], None]
) -> list[CaseReport]:
    """In the order of ``found``, whichever is ready first."""
    start, total = time.monotonic(), len(found)
    progress(f"Reading {_cases(total)} with {workers} {'process' if workers == 1 else 'processes'} ...")
    tasks = [Task(each.name, each.case, max_missing) for each in found]
    reports: dict[int, CaseReport] = {}
    for number, report in inspect_cases(tasks, inspect, workers):
        reports[number] = report
        if len(reports) * _PROGRESS_LINES % total < _PROGRESS_LINES:
            left = (time.monotonic() - start) * (total / len(reports) - 1)
            progress(f"{len(reports)} of {_cases(total)} read" + (f", about {left:.0f} s left." if left else "."))
    return [reports[number] for number in range(total)]


def _find_everything(root: Path, layout: Layout | None) -> tuple[list[_Found], list[Finding]]:
    """The cases at ``root``, each once, and what is wrong with sites and folders."""
    if not root.is_dir():
        raise InputError(
            f"There is no data folder {root}. Name an existing one; `fedpac-me phantom --out DIR` writes an example."
        )
    if (case := find_case(root, layout)) is not None:
        return [_Found(case.id, case, root)], []
    if _is_site(root):
        settings = _settings(root, layout)
        data_sets = {folder.resolve(): layout_named(settings.layout) for folder in settings.data}
        found, findings = _cases_of(data_sets, lambda folder: folder.name)
        return found, [*_unusable_split(root.name, settings, {}), *findings]
    folders = site_folders(root)
    if not folders:
        raise InputError(
            f"{root} holds no cases and no site folders. Expected one folder a case, or one folder a hospital with "
            "one folder a case in each."
        )
    return _cases_of_sites(folders, layout)


def _settings(site: Path, layout: Layout | None) -> SiteSettings:
    """A site's settings, ``layout`` in the place of what they do not say."""
    settings = folder_settings(site)
    if layout is None or settings.layout is not None:
        return settings
    return settings.model_copy(update={"layout": layout.key})


def _is_site(folder: Path) -> bool:
    if (folder / "site.json").is_file():
        return True
    try:
        return any(find_case(child) is not None for child in site_folders(folder))
    except InputError:  # a case it is, if an ambiguous one
        return True


def _cases_of_sites(folders: Sequence[Path], layout: Layout | None) -> tuple[list[_Found], list[Finding]]:
    findings: list[Finding] = []
    owners: dict[Path, list[str]] = {}
    layouts: dict[Path, Layout | None] = {}
    members: dict[Path, list[str]] = {}
    for site in folders:
        try:
            settings = _settings(site, layout)
        except InputError as error:
            findings.append(Finding("error", "unusable-site", site.name, str(error)))
            continue
        if settings.role != "pooled":  # all its cases are other sites'
            for folder in settings.data:
                owners.setdefault(folder.resolve(), []).append(site.name)
                layouts[folder.resolve()] = layout_named(settings.layout)
            findings += _unusable_split(site.name, settings, members)

    def name(folder: Path) -> str:
        sites = members.get(folder) or owners[folder.parent]
        return f"{sites[0]}/{folder.name}"

    found, others = _cases_of(layouts, name)
    return found, [*findings, *others, *_shared(members)]


def _unusable_split(site: str, settings: SiteSettings, members: dict[Path, list[str]]) -> list[Finding]:
    """Whatever but its images keeps a site from starting; notes in ``members`` which case folders are its own."""
    try:
        parts = site_cases(settings).parts()
    except InputError as error:
        return [Finding("error", "unusable-site", site, str(error))]
    for case in (case for cases in parts.values() for case in cases):
        members.setdefault(next(iter(case.images.values())).parent.resolve(), []).append(site)
    return []


def _shared(members: dict[Path, list[str]]) -> list[Finding]:
    return [
        Finding(
            "error",
            "case-at-two-sites",
            f"{sites[0]}/{folder.name}",
            f"The case belongs to {words(sites)}. Leave it to one of them: another's test cases must not train.",
        )
        for folder, sites in members.items()
        if len(sites) > 1
    ]


def _cases_of(
    data_sets: Mapping[Path, Layout | None], name: Callable[[Path], str]
) -> tuple[list[_Found], list[Finding]]:
    """The cases directly below the folders, called what ``name`` makes of each, and the folders that are none."""
    found: list[_Found] = []
    findings: list[Finding] = []
    for data_set, layout in data_sets.items():
        for child in site_folders(data_set) if data_set.is_dir() else []:
            try:
                case = find_case(child, layout)
            except InputError as error:
                findings.append(Finding("error", "two-layouts", name(child), str(error)))
                continue
            if case is None:
                findings.append(_no_case(name(child), child))
            else:
                found.append(_Found(name(child), case, data_set))
    return found, findings


def _no_case(name: str, folder: Path) -> Finding:
    files = sorted(path.name for path in folder.glob("*.nii*"))
    if not files:
        sentence = "The folder holds no NIfTI file and is passed over. Nothing to do if it is no case."
        return Finding("note", "not-a-case", name, sentence)
    known = " Or ".join(layout.sentence for layout in LAYOUTS)
    shown = f"{', '.join(files[:_FILES_SHOWN])}{' and others' if len(files) > _FILES_SHOWN else ''}"
    sentence = f"The folder holds {shown}, but no image of a known name. Rename them as in {known}"
    return Finding("error", "no-known-image", name, sentence)


def _duplicates(reports: Iterable[CaseReport]) -> list[Finding]:
    """One finding for each later case that shares an image with an earlier one."""
    first: dict[str, CaseReport] = {}
    findings: list[Finding] = []
    for report in reports:
        shared: dict[str, list[str]] = defaultdict(list)
        for modality, fingerprint in report.fingerprints.items():
            other = first.setdefault(fingerprint, report)
            if other is not report:
                shared[other.case].append(modality)
        for other_case, modalities in shared.items():
            holds = "holds" if len(modalities) == 1 else "hold"
            sentence = (
                f"{words(modalities)} {holds} the same voxels as in {other_case}. Keep one of the two: a subject must "
                "not be trained on and tested."
            )
            findings.append(Finding("error", "duplicated-subject", report.case, sentence))
    return findings


def _mixed_labels(found: Sequence[_Found], reports: Sequence[CaseReport]) -> list[Finding]:
    """Those cases of a data folder that write enhancing tumour unlike most of them; one folder has one scheme."""
    cases: dict[Path, dict[int, list[str]]] = defaultdict(lambda: {label: [] for label in SCHEMES})
    for each, report in zip(found, reports, strict=True):
        for label in report.labels & set(SCHEMES):
            cases[each.data_set][label].append(report.case)
    findings: list[Finding] = []
    for by_label in cases.values():
        odd, usual = sorted(SCHEMES, key=lambda label: len(by_label[label]))
        sentence = (
            f"Label {odd}, but {usual} stands for enhancing tumour in most cases of the data folder "
            f"({len(by_label[usual])}). Relabel the odd cases, or move them to a data folder of their own."
        )
        findings += [Finding("error", "mixed-labels", case, sentence) for case in by_label[odd]]
    return findings


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"
