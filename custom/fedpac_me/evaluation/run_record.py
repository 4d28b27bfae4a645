# SPDX-License-Identifier: Apache-2.0
"""What a finished run left behind, read and checked, whether simulated or downloaded from a real federation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fedpac_me.errors import InputError
from fedpac_me.evaluation.case_rows import MOST_EXPERTS, checked_case

FINAL_MODEL = "SRV_FL_global_model.pt"
BEST_MODEL = "SRV_best_FL_global_model.pt"
"""Names under which FLARE's cross-site evaluation files the server's last model and the one its selector kept."""

_SERVER_PREFIX = "SRV_"
_PNG = b"\x89PNG\r\n\x1a\n"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


_Masses = list[Annotated[float, Field(ge=0, allow_inf_nan=False)]]
_Cosine = Annotated[float, Field(ge=-1, le=1)]
_Number = Annotated[int, Field(ge=0, lt=MOST_EXPERTS)]


def _is_none(value: Any) -> bool:
    return value is None


class _Federation(BaseModel):
    model_config = ConfigDict(extra="allow")
    share: str = "all"


class _Config(BaseModel):
    """The little that a report asks of a config; the rest is shown as it is, so that old runs stay readable."""

    model_config = ConfigDict(extra="allow")
    method: str
    title: str = ""
    seed: int | None = None
    federation: _Federation = _Federation()


class _Run(_Part):
    name: str
    config: _Config
    config_hash: str
    versions: dict[str, Any] = {}
    hardware: dict[str, Any] = {}
    seconds_total: float | None = None
    data: dict[str, Any] = {}


class _Accepted(_Part):
    site: str
    cases: int | None = None
    steps: int | None = None
    seconds: float | None = None
    norm: float | None = None
    # Left out where a run has none, so that the report of a run without experts stays what it was.
    expert_mass: _Masses | None = Field(None, max_length=MOST_EXPERTS, exclude_if=_is_none)
    # What the server found odd; ledgers have it only where there is something.
    flags: list[str] | None = Field(None, exclude_if=_is_none)


class _Rejected(_Part):
    site: str
    reason: str


class _Experts(_Part):
    mass: _Masses = Field([], max_length=MOST_EXPERTS)
    dead: list[_Number] = []
    # Ledgers older than this figure have none.
    agreement: list[_Cosine | None] | None = Field(None, max_length=MOST_EXPERTS, exclude_if=_is_none)


class _Round(_Part):
    round: int
    outcome: str
    seconds: float | None = None
    accepted: list[_Accepted] = []
    rejected: list[_Rejected] = []
    abstained: list[str] = []
    bytes_up: int | None = None
    bytes_down: int | None = None
    metrics: dict[str, dict[str, Any]] = {}
    experts: _Experts | None = Field(None, exclude_if=_is_none)
    # What a robust merge left as it was; ledgers have it only where there is something.
    notes: list[str] | None = Field(None, exclude_if=_is_none)


class _Ledger(_Part):
    version: Literal[1] = Field(alias="schema")
    signature: str = ""
    rounds: list[_Round]


class _Evaluation(_Part):
    role: Literal["train", "evaluate", "pooled"]
    cases: list[dict[str, Any]]


_EVALUATIONS = TypeAdapter(dict[str, dict[str, _Evaluation]])


@dataclass(frozen=True)
class RunRecord:
    """A run folder's content in plain Python types.

    Attributes:
        config: the resolved config.
        data: where the scans came from; has ``phantom`` when they are synthetic.
        rounds: the server's ledger, one dict a round.
        models: ``{model: {site: {"role", "cases"}}}``, the models named as FLARE names them.
        pictures: ``{site: {model without .pt: PNG}}``; empty where pictures stayed at the sites.
        expert_pictures: ``{expert: [(site, PNG)]}``, scans that each expert owns; likewise.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    config_hash: str
    versions: dict[str, Any]
    hardware: dict[str, Any]
    seconds_total: float | None
    data: dict[str, Any]
    signature: str
    rounds: list[dict[str, Any]]
    models: dict[str, dict[str, dict[str, Any]]]
    pictures: dict[str, dict[str, Path]]
    expert_pictures: dict[int, list[tuple[str, Path]]] = field(default_factory=dict)

    @property
    def local_only(self) -> bool:
        """Whether every site kept its own model."""
        return self.config["federation"]["share"] == "nothing"

    @property
    def local_models(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The models that belong to one site each, by that site."""
        return {model: sites for model, sites in self.models.items() if not model.startswith(_SERVER_PREFIX)}


def read_run(folder: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        InputError: the folder, ``run.json``, ``ledger.json`` or ``cross_val_results.json`` is missing, damaged or
            found twice with different content.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no run folder {folder}. `python jobs/train.py --name NAME` writes runs/NAME.")
    if not (folder / "run.json").is_file():
        raise InputError(f"{folder} is not a run folder: it has no run.json, which jobs/train.py writes.")
    run = _checked(_Run, folder / "run.json")
    ledger = _checked(_Ledger, _only(folder, "ledger.json", "the server's record of its rounds"))
    models = _by_model(_only(folder, "cross_val_results.json", "the evaluation at the end; did the run finish?"))
    sites = {site for at_sites in models.values() for site in at_sites}
    return RunRecord(
        folder=folder,
        **run,
        signature=ledger["signature"],
        rounds=ledger["rounds"],
        models=models,
        pictures=_pictures(folder, sites),
        expert_pictures=_expert_pictures(folder, sites),
    )


def model_key(model: str) -> str:
    """A model's name without the file suffix that FLARE adds to the server's."""
    return model.removesuffix(".pt")


def _only(folder: Path, name: str, meaning: str) -> Path:
    found = sorted(path for path in folder.rglob(name) if path.is_file())
    if not found:
        raise InputError(f"{folder} holds no {name} ({meaning}).")
    if len({path.read_bytes() for path in found}) > 1:
        places = ", ".join(str(path.relative_to(folder)) for path in found)
        raise InputError(f"{folder} holds different files named {name} ({places}); a report is about one run.")
    return found[0]


def _load(path: Path) -> Any:
    """Read JSON; NaN and Infinity, which Python writes although JSON has no such thing, become ``None``."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as JSON: {error}. It may be cut off; fetch or make it again."
        ) from None


def _checked(form: type[BaseModel], path: Path) -> dict[str, Any]:
    content = _load(path)
    try:
        return form.model_validate(content).model_dump()
    except ValidationError as error:
        raise InputError(_sentence(path, error)) from None


def _by_model(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Turn FLARE's ``{site: {model: result}}`` round, so that each model stands with all sites."""
    content = _load(path)
    try:
        results = _EVALUATIONS.validate_python(content)
    except ValidationError as error:
        raise InputError(_sentence(path, error)) from None
    models: dict[str, dict[str, dict[str, Any]]] = {}
    for site, at_site in results.items():
        for model, evaluation in at_site.items():
            cases = [
                checked_case(case, f"{path.name}: case {number} of {site} under {model}")
                for number, case in enumerate(evaluation.cases, start=1)
            ]
            models.setdefault(model, {})[site] = {"role": evaluation.role, "cases": cases}
    if not any(found["cases"] for at_sites in models.values() for found in at_sites.values()):
        raise InputError(f"{path} holds no evaluated case; there is nothing to report.")
    return models


def _pictures(folder: Path, sites: set[str]) -> dict[str, dict[str, Path]]:
    pictures: dict[str, dict[str, Path]] = {}
    for site, path in _site_files(folder, sites, "pictures/*.png"):
        pictures.setdefault(site, {})[model_key(path.stem)] = path
    return pictures


def _expert_pictures(folder: Path, sites: set[str]) -> dict[int, list[tuple[str, Path]]]:
    pictures: dict[int, list[tuple[str, Path]]] = {}
    for site, path in _site_files(folder, sites, "pictures/experts/*.png"):
        name = re.fullmatch(r"([0-9]{1,3})-[0-9]+", path.stem)
        if name:
            pictures.setdefault(int(name[1]), []).append((site, path))
    return dict(sorted(pictures.items()))


def _site_files(folder: Path, sites: set[str], pattern: str) -> Iterator[tuple[str, Path]]:
    """PNG files below a site's folder, with the site."""
    for path in sorted(folder.rglob(pattern)):
        site = next((part for part in path.relative_to(folder).parts if part in sites), None)
        if site is not None and path.is_file() and path.read_bytes().startswith(_PNG):
            yield site, path


def _sentence(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the whole file"
    return f"{path} is damaged or of another version: {field}: {first['msg']} ({error.error_count()} faults)."
