# SPDX-License-Identifier: Apache-2.0
"""Render the Helm charts of prepared kits as Helm does and hold every manifest to Kubernetes' own schema.

Two packages of its own, in an environment of its own; no cluster:

    pip install helm-python-sdk==0.2.2 kubernetes-validate==1.37.0
    python tests/benchmarks/kubernetes_manifests.py build/k8s/server build/k8s/site-1
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import Chart, helm_sdk_version, lint

VOLUMES = Path(__file__).parents[2] / "poc/deploy/k8s/volumes.yaml"
NAMESPACE = "fedpac-me"


def main(kits: list[Path]) -> int:
    """Print a line a manifest; 1 when any of them is not as Kubernetes wants it."""
    version = kubernetes_validate.latest_version()
    print(f"Helm {helm_sdk_version()}, schemas of Kubernetes {version}, strict")
    bad = 0
    for origin, manifest in manifests(kits):
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
            verdict = "valid"
        except kubernetes_validate.ValidationError as error:
            verdict, bad = f"INVALID: {error.message}", bad + 1
        print(f"{origin:<14}{manifest['kind']:<24}{manifest['metadata']['name']:<24}{verdict}")
    return int(bad > 0)


def manifests(kits: list[Path]) -> Iterator[tuple[str, dict]]:
    """Where each manifest comes from, and itself."""
    for manifest in yaml.safe_load_all(VOLUMES.read_text(encoding="utf-8")):
        yield VOLUMES.name, manifest
    for kit in kits:
        print(f"{kit.name:<14}{'helm lint':<48}{len(lint(kit / 'helm_chart')['errors'])} errors")
        with Chart.load(kit / "helm_chart") as chart:
            rendered = chart.render(name=kit.name, namespace=NAMESPACE)
        for text in rendered.values():
            for manifest in filter(None, yaml.safe_load_all(text)):
                yield kit.name, manifest


if __name__ == "__main__":
    sys.exit(main([Path(word) for word in sys.argv[1:]]))
