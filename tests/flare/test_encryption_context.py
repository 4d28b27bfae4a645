# SPDX-License-Identifier: Apache-2.0
"""``poc/provision.sh --he``: where FLARE's context for homomorphic encryption goes; TenSEAL itself is a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fedpac_me
from fedpac_me.errors import InputError
from fedpac_me.flare import project_file
from flare_tools import ROOT, run_command
from poc_tools import Federation, free_port

STAND_IN = """
class SCHEME_TYPE: CKKS, BFV = 1, 2
class ENCRYPTION_TYPE: SYMMETRIC = 1
class Context:
    def generate_relin_keys(self): pass
    def serialize(self, save_secret_key, **others): return b"with secret key" if save_secret_key else b"public"
def context(*words, **options): return Context()
"""


def test_server_and_sites_get_a_context_and_only_sites_its_secret_key(tmp_path, hospitals):
    (tmp_path / "tenseal.py").write_text(STAND_IN)
    federation = Federation(tmp_path)
    path = os.pathsep.join([str(Path(fedpac_me.__file__).parents[1]), str(tmp_path)])
    command = [ROOT / "poc/provision.sh", "2", "--data", hospitals, "--port", str(free_port()), "--work", "build/poc"]
    done = run_command(*command, "--he", cwd=tmp_path, HOME=str(tmp_path), PYTHONPATH=path)
    assert done.code == 0, done.out + done.err
    kits = federation.poc.kits
    contexts = {path.parents[1].name: path.read_bytes() for path in kits.rglob("*.tenseal")}
    assert contexts == {"server": b"public", "site-1": b"with secret key", "site-2": b"with secret key"}
    assert {path.parents[1].name for path in kits.rglob("startup/signature.json")} == set(contexts)


def test_without_tenseal_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(project_file, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'nvflare\[he\]"):
        project_file.with_encryption_context({"builders": []})
