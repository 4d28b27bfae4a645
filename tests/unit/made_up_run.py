# SPDX-License-Identifier: Apache-2.0
"""Run folders made up for the tests of the report, as the simulator leaves them."""

import json
from functools import cache
from pathlib import Path

import numpy as np

from fedpac_me.evaluation.calibration import case_calibration
from fedpac_me.evaluation.metrics import case_metrics
from fedpac_me.evaluation.run_record import FINAL_MODEL
from fedpac_me.labels import regions_from_labels

EVIL = "<script>alert(1)</script>"


def head(size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """An egg-shaped brain (CDHW, zero outside) with an off-centre tumour (DHW labels)."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij"))
    brain = ((grid / np.array([0.75, 0.9, 0.8]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1
    distance = np.sqrt(((grid - np.array([0.25, -0.2, 0.1]).reshape(3, 1, 1, 1)) ** 2).sum(0))
    labels = np.zeros(brain.shape, np.uint8)
    for radius, label in ((0.42, 2), (0.26, 4), (0.14, 1)):
        labels[(distance < radius) & brain] = label
    texture = np.random.default_rng(0).normal(size=(4, *brain.shape)) * 0.15
    image = (texture + np.sin(7 * grid).sum(0) * 0.3 + 0.5 * (labels > 0) + 0.7 * (labels == 4)) * brain
    return image.astype(np.float32), labels


@cache
def scores(shift: int, core: bool) -> dict:
    """Scores of a fairly sure prediction: the truth, maybe without a core, ``shift`` voxels off, and a speck."""
    image, truth = head(20)
    if not core:
        truth[truth != 0] = 2
    prediction = np.roll(truth, shift, axis=0)
    prediction[3, 10, 3] = 2
    logits = np.where(regions_from_labels(prediction), 2.0, -3.0)
    return case_metrics(prediction, truth) | case_calibration(logits, truth, np.any(image != 0, axis=0))


def evaluation(role: str, cases: int, shift: int) -> dict:
    """What a site reports: predictions that miss by ``shift`` or one voxel more; the last case has no tumour core."""
    found = [
        {"case": number, "seconds": 0.5, **scores(shift + number % 2, core=number < cases)}
        for number in range(1, cases + 1)
    ]
    return {"role": role, "cases": found}


def ledger(sites: dict[str, str], rounds: int = 6) -> dict:
    """A ledger with a rejection in round 2, no quorum in round 3 and validation in every second round."""
    trains = [site for site, role in sites.items() if role != "evaluate"]
    entries = []
    for number in range(rounds):
        accepted = [] if number == 3 else [name for name in trains if (number, name) != (2, trains[0])]
        entries.append(
            {
                "round": number,
                "outcome": "no_quorum" if number == 3 else "merged",
                "seconds": 4.0 + number % 3,
                "accepted": [{"site": site, "cases": 8, "steps": 10, "seconds": 2.0, "norm": 0.5} for site in accepted],
                "rejected": [{"site": trains[0], "reason": f"NaN in conv.weight {EVIL}"}] if number == 2 else [],
                "abstained": [site for site, role in sites.items() if role == "evaluate"],
                "bytes_up": 1_250_000 * len(accepted),
                "bytes_down": 1_250_000 * len(sites),
                "metrics": {
                    site: {"train_loss": 1.1 / (1 + number / 3) + 0.05 * at}
                    | ({"dice_mean": 0.7 - 0.6 / (number + 1) - 0.04 * at} if number % 2 == 0 else {})
                    for at, site in enumerate(trains)
                },
            }
        )
    return {"schema": 1, "signature": "ab12cd34", "rounds": entries}


def write_run(folder: Path, sites: dict[str, str], models: dict[str, int], share: str = "all", pictures=True) -> Path:
    """A run folder as the simulator leaves it; ``models`` says by how many voxels each model misses."""
    server = folder / "server" / "simulate_job"
    results = {
        site: {model: evaluation(role, 2 + at, shift) for model, shift in models.items()}
        for at, (site, role) in enumerate(sites.items())
    }
    config = {
        "method": "fedavg",
        "title": "Federated averaging",
        "seed": 3,
        "federation": {"share": share, "rounds": 6},
    }
    run = {
        "name": folder.name,
        "config": config,
        "config_hash": "0123456789ab",
        "versions": {"fedpac_me": "0.1.0", "torch": "2.13.0", "nvflare": "2.9.0"},
        "hardware": {"cpu": "2 cores", "gpu": None, "memory_gib": 8},
        "seconds_total": 93.4,
        "data": {"phantom": {"size": 48, "seed": 0}},
    }
    for path, content in (
        (folder / "run.json", run),
        (server / "ledger.json", ledger(sites)),
        (server / "cross_site_val" / "cross_val_results.json", results),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    for site, model in ((site, model) for site in sites for model in models if pictures):
        out = folder / site / "simulate_job" / "pictures" / f"{model}.png"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(b"\x89PNG\r\n\x1a\n" + f"{site} {model}".encode())
    return folder


def write_routed_run(folder: Path, experts: int = 4) -> Path:
    """Three hospitals and an unseen one, experts that follow the protocol; the last expert was never used.

    Every site tests four scans: site-1 and site-2 two of P1 (expert 0) and two of P2 (expert 1), site-3 four of P3
    (expert 2), the unseen site-5 four of P4, which is far from all and goes to expert 0.
    """
    sites = {"site-1": "train", "site-2": "train", "site-3": "train", "site-5": "evaluate"}
    protocols = {"site-1": "P1 P1 P2 P2", "site-2": "P1 P1 P2 P2", "site-3": "P3 P3 P3 P3", "site-5": "P4 P4 P4 P4"}
    speaks = {"P1": 0, "P2": 1, "P3": 2, "P4": 0}
    run = write_run(folder, sites, {FINAL_MODEL: 1}, pictures=False)
    path = next(run.rglob("cross_val_results.json"))
    results = json.loads(path.read_text())
    for site, found in results.items():
        named = protocols[site].split()
        found[FINAL_MODEL]["cases"] = [
            scores(1, True)
            | {"expert": speaks[protocol], "second_expert": 3, "distance": 1.5 if protocol == "P4" else 0.5}
            | {"far": int(protocol == "P4"), "protocol": protocol}
            | {"grade": "HGG" if number % 2 else "LGG"}
            | {f"second_{name}": scores(1, True)[name] - 0.1 for name in ("dice_TC", "dice_WT", "dice_ET")}
            for number, protocol in enumerate(named)
        ]
    path.write_text(json.dumps(results))
    _give_masses(next(run.rglob("ledger.json")), experts)
    config = json.loads((run / "run.json").read_text())
    config["config"]["model"] = {"experts": experts}
    (run / "run.json").write_text(json.dumps(config))
    return run


def _give_masses(path: Path, experts: int) -> None:
    masses = {"site-1": [4.0, 4.0], "site-2": [4.0, 4.0], "site-3": [0.0, 0.0, 8.0]}
    content = json.loads(path.read_text())
    for entry in content["rounds"]:
        total = [0.0] * experts
        for line in entry["accepted"]:
            line["expert_mass"] = masses[line["site"]] + [0.0] * (experts - len(masses[line["site"]]))
            total = [before + mass for before, mass in zip(total, line["expert_mass"], strict=True)]
        entry["experts"] = {"mass": total, "dead": [expert for expert, mass in enumerate(total) if mass == 0]}
    path.write_text(json.dumps(content))
