# SPDX-License-Identifier: Apache-2.0
"""Prepared scans on disk, mapped into memory: read and normalised once, however often crops are cut from them.

An entry is one file of tensors, named by what it was made from: the content of the case's files and what is done to
them. It is uncompressed, so that a crop reads no more than its own voxels. MONAI's ``PersistentDataset`` reads whole
entries, names them by path, and stops at one that was cut short.
"""

from __future__ import annotations

import hashlib
import logging
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from fedpac_me.config import DataConfig
from fedpac_me.data.layouts import Case, require_complete
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.errors import InputError
from fedpac_me.storage import atomic_path

PREPARATION = 1
"""Counts the changes to what ``load_scan`` makes of a case or to how it is written: older entries are left alone."""
_OPEN = 16
_PROGRESS_SECONDS = 10
_CHECKSUM = "checksum"

_log = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PreparedScan:
    """A scan with labels, its arrays on disk, and the voxels that a crop may be centred on (flat indices into DHW).

    Attributes:
        scan: see ``data.scan``. Its arrays must not be written to: the next user gets the same ones.
        tumour: indices of tumour.
        brain: indices of other brain.
    """

    scan: Scan
    tumour: np.ndarray
    brain: np.ndarray


class ScanCache:
    """The prepared scans of one site in ``folder``. However many there are, at most 16 are open."""

    def __init__(self, folder: Path, config: DataConfig) -> None:
        self._folder = folder
        self.config = config
        self._paths: dict[str, Path] = {}
        self._open = lru_cache(maxsize=_OPEN)(_read)

    def load(self, case: Case) -> PreparedScan:
        """The prepared scan of ``case``, made now where there is none, or a damaged one.

        Raises:
            InputError: the case is unusable (see ``load_scan``), or the folder cannot be written to.
        """
        if case.id in self._paths:
            try:
                return self._open(self._paths[case.id])
            except (OSError, RuntimeError):  # somebody cleared the folder, or hurt it
                del self._paths[case.id]
        path = self._folder / f"{self._key(case)}.pt"
        if not _is_sound(path):
            self._write(path, case)
        self._paths[case.id] = path
        return self._open(path)

    def prepare(self, cases: Sequence[Case]) -> None:
        """Load every case once, so that what is wrong is known before training."""
        for case in telling_progress(cases):
            self.load(case)

    def _key(self, case: Case) -> str:
        """Says what an entry was made from: files by content, and every choice that changes the result."""
        data = self.config
        require_complete(case, data.max_missing_modalities)
        digest = hashlib.sha256(repr((PREPARATION, data.resample, case.scheme.enhancing)).encode())
        for part, path in (*case.images.items(), ("seg", case.seg)):
            try:
                with open(path, "rb") as file:
                    digest.update(f"{part} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
            except OSError:  # reading the volume will say so in words
                digest.update(part.encode())
        return digest.hexdigest()

    def _write(self, path: Path, case: Case) -> None:
        data = self.config
        tensors = _tensors(load_scan(case, data.max_missing_modalities, resample=data.resample))
        tensors[_CHECKSUM] = torch.tensor(_checksum(tensors))
        try:
            with atomic_path(path) as temporary:
                torch.save(tensors, temporary)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"The prepared scans cannot be written to {self._folder}: {error}. Make room or allow writing there, "
                "or name another folder as 'cache' in the site's settings."
            ) from None


def telling_progress(cases: Sequence[Case]) -> Iterator[Case]:
    """The cases, each to be prepared, with a log line now and then that says how far it is."""
    last = time.monotonic()
    for number, case in enumerate(cases, start=1):
        yield case
        if time.monotonic() - last > _PROGRESS_SECONDS:
            last = time.monotonic()
            _log.info("Preparing scans: %d of %d", number, len(cases))


def _tensors(scan: Scan) -> Tensors:
    tumour = scan.labels > 0
    brain = np.any(scan.image != 0, axis=0)
    arrays = {
        "image": scan.image,
        "labels": scan.labels,
        "tumour": np.flatnonzero(tumour).astype(np.int32),
        "brain": np.flatnonzero(brain & ~tumour).astype(np.int32),
        "present": scan.present,
        "box": np.array([(part.start, part.stop) for part in scan.box]),
        "shape": np.array(scan.shape),
        "affine": scan.affine,
        "style": scan.style,
        "file_orientation": scan.file_orientation,
    }
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _mapped(path: Path) -> Tensors:
    return torch.load(path, mmap=True, weights_only=True)


def _read(path: Path) -> PreparedScan:
    arrays = {name: tensor.numpy() for name, tensor in _mapped(path).items()}
    scan = Scan(
        image=arrays["image"],
        present=arrays["present"],
        labels=arrays["labels"],
        box=tuple(slice(int(start), int(stop)) for start, stop in arrays["box"]),
        shape=tuple(int(edge) for edge in arrays["shape"]),
        affine=arrays["affine"],
        style=arrays["style"],
        file_orientation=arrays["file_orientation"],
    )
    return PreparedScan(scan, arrays["tumour"], arrays["brain"])


def _is_sound(path: Path) -> bool:
    """Whether the file is there and is what was written. Looked at once a process, as it takes a read of it all."""
    if not path.is_file():
        return False
    try:
        tensors = _mapped(path)
        return int(tensors.pop(_CHECKSUM)) == _checksum(tensors)
    except Exception:  # whatever torch or its zip reader makes of a damaged file
        return False


def _checksum(tensors: Tensors) -> int:
    checksum = 0
    for name, tensor in tensors.items():
        checksum = zlib.crc32(tensor.numpy(), zlib.crc32(name.encode(), checksum))
    return checksum
