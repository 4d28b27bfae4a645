# SPDX-License-Identifier: Apache-2.0
"""The federations of a comparison: phantoms written on demand, folders of hospitals, splits of one folder of cases."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpac_me.comparison.identity import data_hash
from fedpac_me.data.checks import require_sites
from fedpac_me.data.federation_split import site_root
from fedpac_me.data.phantom import write_phantom
from fedpac_me.data.phantom.hospitals import PARTS
from fedpac_me.data.phantom.kinds import DEMO, kind_named
from fedpac_me.data.phantom.writer import SETTINGS_FILE, phantom_facts, read_phantom_settings
from fedpac_me.data.pooling import site_folders, write_root_with_few
from fedpac_me.data.site import folder_settings
from fedpac_me.data.splits import site_cases
from fedpac_me.errors import InputError

USUAL_SIZE = 48
"""Edge of a phantom's volumes in voxels, as ``fedpac-me phantom`` has it."""

NOT_WRITTEN = "not written yet"
_TRAINS = "train"


@dataclass(frozen=True)
class DataSet:
    """One federation on disk.

    Attributes:
        name: in tables and in the names of runs.
        root: one folder a site.
        sites: role of each site, and its cases by part.
        hash: of the content, see ``identity.data_hash``.
        phantom: version, kind, seed and size where the scans are synthetic.
    """

    name: str
    root: Path
    sites: dict[str, dict[str, Any]]
    hash: str
    phantom: dict[str, Any] | None = None

    @property
    def training_sites(self) -> int:
        """How many of them train."""
        return sum(site["role"] == _TRAINS for site in self.sites.values())

    @property
    def kind(self) -> str:
        """Phantoms of one kind are alike; data of one's own is a kind by itself."""
        return self.phantom["kind"] if self.phantom else self.name

    @property
    def facts(self) -> dict[str, Any]:
        """What may be told of it: numbers, no folder and no id."""
        return {"hash": self.hash, "sites": self.sites, **({"phantom": self.phantom} if self.phantom else {})}


@dataclass(frozen=True)
class Phantom:
    """Synthetic hospitals, written below ``out`` when they are needed."""

    out: Path
    seed: int
    size: int = USUAL_SIZE
    kind: str = DEMO

    @property
    def folder(self) -> Path:
        """Where they lie, or will."""
        kind = "" if self.kind == DEMO else f"-{self.kind}"
        size = "" if self.size == USUAL_SIZE else f"-size-{self.size}"
        return self.out / "data" / f"phantom{kind}-{self.seed}{size}"

    @property
    def written(self) -> bool:
        """Whether they are there."""
        return read_phantom_settings(self.folder) is not None

    def write(self, tell: Callable[[str], None]) -> None:
        """Write them unless they are there."""
        if not self.written:
            kind = "" if self.kind == DEMO else f"{self.kind} "
            tell(f"Writing the {kind}phantom of seed {self.seed} to {self.folder} ...")
            write_phantom(self.folder, size=self.size, seed=self.seed, kind=self.kind)

    def expected(self, train_cases: int | None = None) -> DataSet:
        """What will be there; without a hash, since nothing of it has been seen yet."""
        hospitals = kind_named(self.kind).hospitals
        sites = {one.name: {"role": one.role, **dict(zip(PARTS, one.cases, strict=True))} for one in hospitals}
        if train_cases is not None:
            sites = {name: site | {"train": min(site["train"], train_cases)} for name, site in sites.items()}
        return DataSet(self.folder.name, self.folder, sites, NOT_WRITTEN)


@contextmanager
def opened(sources: Sequence[Path], train_cases: int | None = None) -> Iterator[list[DataSet]]:
    """The data sets of folders with one folder a hospital, or of files of ``fedpac-me split``; every file is read once.

    With ``train_cases`` each site trains on at most so many.

    Raises:
        InputError: neither of the two, two of one name, no site that trains, or cases that cannot be found or split.
    """
    names = [_name(source) for source in sources]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"Two data sets are called {twice[0]}, after their folders. Rename or link one of them.")
    with ExitStack() as stack:
        roots = [stack.enter_context(_root(source)) for source in sources]
        if train_cases is not None:
            few = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedpac_me_few_")))
            for name, root in zip(names, roots, strict=True):
                write_root_with_few(root, few / name, train_cases)
            roots = [few / name for name in names]
        yield [_described(name, root) for name, root in zip(names, roots, strict=True)]


def _root(source: Path) -> Any:
    if source.is_file():
        return site_root(None, source)
    if (source / "name_mapping.csv").is_file():
        raise InputError(
            f"{source} holds cases of many hospitals in one folder. Make their sites with `fedpac-me split --data "
            f"{source} --min-cases 8 --out splits.json` and name that file in --data."
        )
    require_sites(source)
    return site_root(source, None)


def _name(source: Path) -> str:
    plain = source.resolve()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain.stem if plain.is_file() else plain.name).strip("-") or "data"


def _described(name: str, root: Path) -> DataSet:
    found = {}
    for folder in site_folders(root):
        settings = folder_settings(folder)
        found[folder.name] = (settings, site_cases(settings))
    sites = {
        site: {"role": settings.role, **{part: len(cases) for part, cases in split.parts().items()}}
        for site, (settings, split) in found.items()
    }
    if not any(site["role"] == _TRAINS for site in sites.values()):
        raise InputError(f"No site of {name} trains. Give at least one the role 'train' in its site.json.")
    settings = read_phantom_settings(root) if (root / SETTINGS_FILE).is_file() else None
    phantom = phantom_facts(settings) if settings else None
    return DataSet(name, root, sites, data_hash(found), phantom)
