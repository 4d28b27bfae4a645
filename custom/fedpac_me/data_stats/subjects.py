# SPDX-License-Identifier: Apache-2.0
"""Subjects that lie at two sites, found by comparing salted hashes of their images.

A site hashes the fingerprint of each image's voxels (``data.findings``) with a salt that is drawn for one job and kept
nowhere. Hashes of two jobs cannot be compared, and no table of public data sets' hashes made beforehand helps. What
the salt does not prevent: whoever holds it, server and sites, can hash an image that he has and learn whether a list of
hashes that he holds has it, too. The server holds all lists; a site only hears which of its own hashes are elsewhere.
Images are the same when their voxels are: one that was registered, filtered or rescaled anew is not found.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedpac_me.data_stats.case_figures import CaseFigures
from fedpac_me.errors import InputError

_SALT_BYTES = 32
_DIGITS = 2 * hashlib.sha256().digest_size

Subjects = Sequence[Sequence[str]]
"""The hashes of each subject's images."""


def draw_salt() -> str:
    """A salt for one job, in hexadecimal digits."""
    return secrets.token_hex(_SALT_BYTES)


def hashed_subjects(cases: Iterable[CaseFigures], salt: str) -> list[list[str]]:
    """The subjects of a site, sorted by their hashes, so that their order tells nothing of the site's own."""
    return sorted(_hashes(case, salt) for case in cases)


def own_cases(cases: Iterable[CaseFigures], salt: str, hashes: Iterable[str]) -> list[str]:
    """The ids of the cases that one of ``hashes`` belongs to."""
    wanted = set(hashes)
    return [case.id for case in cases if not wanted.isdisjoint(_hashes(case, salt))]


def require_subjects(answer: Any) -> list[list[str]]:
    """``answer`` as a list of lists of hashes.

    Raises:
        InputError: it is something else.
    """
    if isinstance(answer, list) and all(isinstance(subject, list) for subject in answer):
        hashes = [digest for subject in answer for digest in subject]
        if all(isinstance(digest, str) and len(digest) == _DIGITS for digest in hashes):
            return answer
    raise InputError(f"The answer is no list of lists of hashes of {_DIGITS} digits.")


def shared_hashes(subjects: Mapping[str, Subjects]) -> dict[str, list[str]]:
    """Of each site, its hashes that another has, too."""
    everyone = {site: {digest for subject in own for digest in subject} for site, own in subjects.items()}
    return {
        site: sorted(own & set().union(*(others for other, others in everyone.items() if other != site)))
        for site, own in everyone.items()
    }


def count_shared(subjects: Mapping[str, Subjects]) -> dict[str, dict[str, int]]:
    """How many subjects of each site are at each other one, too: they share an image."""
    everyone = {site: {digest for subject in own for digest in subject} for site, own in subjects.items()}
    return {
        site: {
            other: sum(not theirs.isdisjoint(subject) for subject in own)
            for other, theirs in everyone.items()
            if other != site
        }
        for site, own in subjects.items()
    }


def _hashes(case: CaseFigures, salt: str) -> list[str]:
    key = bytes.fromhex(salt)
    return sorted(hmac.new(key, print_.encode(), hashlib.sha256).hexdigest() for print_ in case.fingerprints.values())
