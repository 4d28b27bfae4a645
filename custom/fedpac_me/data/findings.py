# SPDX-License-Identifier: Apache-2.0
"""What a check of the data found: single findings, and the table that counts equal ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Error: a run refuses the data, or its result would be wrong. Warning: look at it. Note: good to know."""

_CASES_SHOWN = 3
_SENTENCES_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """``sentence`` says what there is and what to do; it does not name the case, so that equal ones can be counted."""

    severity: Severity
    code: str
    case: str
    sentence: str


@dataclass
class CaseReport:
    """What one case was found to be.

    Attributes:
        case: its name in the findings.
        findings: in the order of its files.
        fingerprints: of each modality a hash of its voxels, whatever margin, axes and number type the file has.
        labels: those in its segmentation, without 0; empty where they are no labels.
    """

    case: str
    findings: list[Finding] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)
    labels: frozenset[int] = frozenset()

    def add(self, severity: Severity, code: str, sentence: str) -> None:
        """Add a finding of this case."""
        self.findings.append(Finding(severity, code, self.case, sentence))


def findings_table(findings: Iterable[Finding]) -> str:
    """Two lines for each kind of finding: how many cases and which, then the sentence. Worst first."""
    kinds: dict[tuple[Severity, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for finding in findings:
        kinds[finding.severity, finding.code][finding.sentence].append(finding.case)
    width = max([len("finding"), *(len(code) for _, code in kinds)])
    lines = [f"{'severity':<8}  {'finding':<{width}}  cases  which"]
    for severity, code in sorted(kinds, key=lambda kind: (SEVERITIES.index(kind[0]), kind[1])):
        for sentence, cases in _shortened(kinds[severity, code]):
            lines.append(f"{severity:<8}  {code:<{width}}  {len(cases):>5}  {_first_few(cases)}")
            lines.append(f"{'':<8}  {sentence}")
    return "\n".join(lines)


def counts_sentence(findings: Sequence[Finding]) -> str:
    """``2 errors, 1 warning, no notes``."""
    counts = [sum(finding.severity == severity for finding in findings) for severity in SEVERITIES]
    return ", ".join(
        f"{count or 'no'} {severity}{'' if count == 1 else 's'}"
        for severity, count in zip(SEVERITIES, counts, strict=True)
    )


def _shortened(sentences: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """The most common sentences of one kind, and one entry for all that differ from those in their figures."""
    ordered = sorted(sentences.items(), key=lambda entry: -len(entry[1]))
    if len(ordered) <= _SENTENCES_SHOWN + 1:
        return ordered
    rest = [case for _, cases in ordered[_SENTENCES_SHOWN:] for case in cases]
    return [*ordered[:_SENTENCES_SHOWN], ("The same with other figures; --json has each sentence.", rest)]


def _first_few(cases: Sequence[str]) -> str:
    more = len(cases) - _CASES_SHOWN
    return ", ".join(cases[:_CASES_SHOWN]) + (f" and {more} more" if more > 0 else "")
