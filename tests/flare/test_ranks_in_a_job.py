# SPDX-License-Identifier: Apache-2.0
"""A site of two ranks in the real simulator, whose job processes are started by ``-m`` and bring their code along."""

from __future__ import annotations

import json

import numpy as np

from cases import write_case
from fedpac_me.config import load_config
from fedpac_me.engine import run_federation
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint

TOLERANCE = 1e-5


def test_a_site_with_two_ranks_ends_with_the_model_of_one_rank(train_module, tiny_config, tmp_path):
    config_file, data = tmp_path / "shared.json", tmp_path / "sites"
    content = json.loads(tiny_config.read_text())
    content |= {"method": "shared", "model": content["model"] | {"norm": "instance"}}
    config_file.write_text(json.dumps(content))
    for site in ("site-1", "site-2"):
        ids = [f"{site}_{index}" for index in range(3)]
        for index, case_id in enumerate(ids):
            write_case(data / site, case_id, edge=20, seed=index)
        (data / site / "splits.json").write_text(json.dumps({"train": ids[:2], "test": ids[2:]}))
    ours = run_federation(load_config(config_file), data, tmp_path / "engine", lambda line: None).weights
    (data / "site-1" / "site.json").write_text('{"ranks": 2}')
    words = ["--config", config_file, "--data", data, "--runs", tmp_path / "runs"]
    assert train_module.main([str(word) for word in words]) == 0
    flares = read_checkpoint(find_checkpoint(tmp_path / "runs" / "shared"))
    assert ours.keys() == flares.keys()
    assert all(np.allclose(ours[name], flares[name], rtol=0, atol=TOLERANCE) for name in ours)
    # Had the site not asked for ranks, the bytes would be the same.
    assert any(ours[name].tobytes() != flares[name].tobytes() for name in ours)
