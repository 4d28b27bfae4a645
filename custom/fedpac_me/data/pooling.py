# SPDX-License-Identifier: Apache-2.0
"""Data roots that stand for others: the same hospitals, fewer cases, or one more site that owns all that train.

The last is the central upper bound. Nothing is copied: the folders hold only ``site.json`` files that point at the
hospitals' own, and lists of ids.
"""

from __future__ import annotations

from pathlib import Path

from fedpac_me.data.site import SiteSettings, folder_settings
from fedpac_me.data.splits import SPLITS_FILE, Split, site_cases
from fedpac_me.storage import write_json

POOLED_SITE = "pooled"


def site_folders(root: Path) -> list[Path]:
    """The hospitals below a data root, by name."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def write_linked_root(root: Path, out: Path, cache: Path) -> None:
    """Write into ``out`` a data root with the hospitals of ``root``, their prepared scans in ``cache``.

    A hospital whose settings name a cache of its own keeps it.
    """
    for hospital in site_folders(root):
        settings = folder_settings(hospital)
        settings = settings.model_copy(update={"cache": settings.cache or cache})
        write_json(out / hospital.name / "site.json", _as_json(settings))


def write_root_with_few(root: Path, out: Path, train_cases: int) -> None:
    """Write into ``out`` a data root with the hospitals of ``root``, each with at most so many cases that train.

    They are spread evenly over the site's list; validation and test cases stay as they are.

    Raises:
        InputError: the cases of a hospital cannot be found or split.
    """
    for hospital in site_folders(root):
        settings = folder_settings(hospital)
        lists = {part: [case.id for case in cases] for part, cases in site_cases(settings).parts().items()}
        every = max(1, len(lists["train"]) // train_cases)
        write_json(out / hospital.name / SPLITS_FILE, lists | {"train": lists["train"][::every][:train_cases]})
        write_json(out / hospital.name / "site.json", _as_json(settings) | {"splits": SPLITS_FILE})


def write_pooled_root(root: Path, out: Path, cache: Path | None = None) -> None:
    """Write into ``out`` a data root with the hospitals of ``root`` and the site ``pooled`` beside them.

    ``cache`` is where the pooled site's prepared scans lie; by default in its own folder.

    Raises:
        InputError: the cases of a training hospital cannot be found or split.
    """
    whole = Split()
    folders: dict[str, None] = {}  # each once, in order: the sites of one data set share theirs
    layouts: set[str | None] = set()
    for hospital in site_folders(root):
        settings = folder_settings(hospital)
        write_json(out / hospital.name / "site.json", _as_json(settings))
        if settings.role == "train":
            folders |= dict.fromkeys(_as_json(settings)["data"])
            layouts.add(settings.layout)
            for part, cases in site_cases(settings).parts().items():
                getattr(whole, part).extend(cases)
    lists = {part: [case.id for case in cases] for part, cases in whole.parts().items()}
    write_json(out / POOLED_SITE / SPLITS_FILE, lists)
    pooled = {"data": list(folders), "role": "pooled", "splits": SPLITS_FILE}
    if cache is not None:
        pooled["cache"] = str(cache.resolve())
    if len(layouts) == 1:  # otherwise each case's own files say it
        pooled["layout"] = layouts.pop()
    write_json(out / POOLED_SITE / "site.json", pooled)


def _as_json(settings: SiteSettings) -> dict:
    paths = {"data": tuple(path.resolve() for path in settings.data)}
    paths |= {name: path.resolve() for name in ("splits", "cache") if (path := getattr(settings, name)) is not None}
    return settings.model_copy(update=paths).model_dump(mode="json", exclude_none=True)
