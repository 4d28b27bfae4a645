# SPDX-License-Identifier: Apache-2.0
"""What ``poc/deploy`` holds, through ``nvflare deploy prepare`` and FLARE's launchers; no container is started."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import yaml
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobProcessArgs
from nvflare.apis.workspace import Workspace
from nvflare.app_opt.job_launcher.docker_launcher import ClientDockerJobLauncher
from nvflare.app_opt.job_launcher.k8s_launcher import K8sJobHandle
from nvflare.app_opt.job_launcher.study_runtime import load_study_runtime_file
from nvflare.tool.deploy.deploy_common import WORKSPACE_MOUNT_PATH

import fedpac_me
from fedpac_me.data.site import find_settings
from flare_tools import ROOT, program, run_command, run_here
from poc_tools import Federation, free_port

DEPLOY = ROOT / "poc/deploy"
RUNTIMES = ("docker", "k8s", "slurm")
WHERE_CASES_ARE = {"docker": "/data/default/cases", "k8s": "/data/default/cases", "slurm": "/path/to/cases"}
IMAGE = f"fedpac-me:{fedpac_me.__version__}"


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, hospitals):
    """A folder with ``<runtime>/server`` and ``<runtime>/site-1``, made with the commands of docs/deploy.md."""
    federation = Federation(tmp_path_factory.mktemp("deploy"))
    done = federation.script("provision", "1", "--data", hospitals, "--port", str(free_port()), "--work", "build/poc")
    assert done.code == 0, done.out + done.err
    for runtime in RUNTIMES:
        for kit, role in (("server", "server"), ("site-1", "site")):
            prepare(federation, runtime, kit, role)
    return federation.place / "build"


def prepare(federation: Federation, runtime: str, kit: str, role: str) -> None:
    output = federation.place / "build" / runtime / kit
    command = ["nvflare", "deploy", "prepare", federation.poc.kits / kit, "--output", output]
    done = run_command(*command, "--config", DEPLOY / runtime / "runtime.yaml", cwd=federation.place)
    assert done.code == 0, done.out + done.err
    study = DEPLOY / runtime / f"{role}.yaml"
    if study.is_file():
        (output / "local/study_runtime.yaml").write_bytes(study.read_bytes())
    data = ["--data", WHERE_CASES_ARE[runtime]] if role == "site" else []
    done = run_here(program("poc/federation.py").main, "configure", output, *data, cwd=federation.place)
    assert done.code == 0, done.err


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kit", ["server", "site-1"])
def test_a_prepared_kit_allows_the_installed_package_and_starts_jobs_its_own_way(prepared, runtime, kit):
    resources = json.loads((prepared / runtime / kit / "local/resources.json").read_text())
    parts = {part["id"]: part for part in resources["components"]}
    assert f"{runtime}_launcher" in parts and "process_launcher" not in parts
    assert resources["class_allow_list"].count("fedpac_me.") == 1
    if kit == "server":
        place = prepared / runtime / kit if runtime == "slurm" else WORKSPACE_MOUNT_PATH
        assert parts["job_manager"]["args"]["uri_root"] == f"{place}/jobs-storage"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_site_finds_its_cases_where_its_jobs_will_have_them(prepared, runtime):
    local = prepared / runtime / "site-1/local"
    assert [str(path) for path in find_settings("site-1", local, environment={}).data] == [WHERE_CASES_ARE[runtime]]
    studies = load_study_runtime_file(str(local / "study_runtime.yaml"), launcher_mode=runtime)
    mounted = {mount.mount_path: mount.read_only for mount in studies["default"].datasets} if studies else {}
    assert mounted.get(WHERE_CASES_ARE[runtime], runtime == "slurm")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scripts_are_bash_and_everything_else_parses(prepared, runtime):
    scripts = list((prepared / runtime).rglob("*.sh"))
    assert runtime == "k8s" or {path.parents[1].name for path in scripts} == {"server", "site-1"}
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)
    for path in (prepared / runtime).rglob("*.json"):
        json.loads(path.read_text())
    for path in [*DEPLOY.rglob("*.yaml"), *(prepared / runtime).rglob("Chart.yaml")]:
        assert all(yaml.safe_load_all(path.read_text())), path


@pytest.mark.parametrize(("kit", "module"), [("server", "server_train"), ("site-1", "client_train")])
def test_a_helm_chart_has_a_value_for_all_that_its_templates_ask(prepared, kit, module):
    chart = prepared / "k8s" / kit / "helm_chart"
    values = read_yaml(chart / "values.yaml")
    for template in (chart / "templates").iterdir():
        for asked in re.findall(r"\$?\.Values\.([\w.]+)", template.read_text()):
            found = values
            for word in asked.split("."):
                assert word in found, f"{template.name} asks for {asked}"
                found = found[word]
    assert f"{values['image']['repository']}:{values['image']['tag']}" == f"registry.example.com/{IMAGE}"
    assert values["command"] == ["/usr/local/bin/python3"] and values["args"][2].endswith(module)
    claims = {claim["metadata"]["name"] for claim in yaml.safe_load_all((DEPLOY / "k8s/volumes.yaml").read_text())}
    assert values["persistence"]["workspace"]["claimName"] in claims
    assert read_yaml(DEPLOY / "k8s/site.yaml")["studies"]["default"]["datasets"]["cases"]["source"] in claims


def test_a_job_in_kubernetes_gets_the_image_and_the_cases_read_only(prepared):
    study = load_study_runtime_file(str(prepared / "k8s/site-1/local/study_runtime.yaml"), launcher_mode="k8s")[
        "default"
    ]
    (cases,) = study.datasets
    volume = {"name": "cases", "persistentVolumeClaim": {"claimName": cases.source}}
    mount = {"name": "cases", "mountPath": cases.mount_path, "readOnly": cases.read_only}
    job = {
        "name": "job", "image": study.container_image, "command": "worker", "volume_list": [volume],
        "volume_mount_list": [mount],
    }  # fmt: skip
    pod = K8sJobHandle("job", MagicMock(), job).get_manifest()
    (container,) = pod["spec"]["containers"]
    assert (pod["apiVersion"], pod["kind"], pod["spec"]["restartPolicy"]) == ("v1", "Pod", "Never")
    assert container["image"] == f"registry.example.com/{IMAGE}"
    assert container["volumeMounts"] == [mount] and mount["readOnly"] is True


def test_a_job_under_docker_gets_the_image_the_cases_and_the_sites_settings(prepared, monkeypatch):
    kit = prepared / "docker/site-1"
    resources = json.loads((kit / "local/resources.json").read_text())
    (arguments,) = [part["args"] for part in resources["components"] if part["id"] == "docker_launcher"]
    monkeypatch.setattr(ClientDockerJobLauncher, "WORKSPACE_MOUNT", str(kit))
    launcher = ClientDockerJobLauncher(workspace=str(kit), **arguments)
    daemon = MagicMock()
    daemon.containers.get.return_value.status = "running"
    monkeypatch.setattr(launcher, "_get_docker_client", lambda: daemon)
    monkeypatch.setattr(launcher, "get_module_args", lambda job_args: {})
    context = FLContext()
    context.set_prop(FLContextKey.JOB_PROCESS_ARGS, {JobProcessArgs.EXE_MODULE: ("-m", "worker")})
    context.set_prop(FLContextKey.ARGS, SimpleNamespace(set=None))
    context.set_prop(FLContextKey.WORKSPACE_OBJECT, Workspace(str(kit), "site-1"))
    monkeypatch.setattr(context, "get_identity_name", lambda default="": "site-1")
    launcher.launch_job({"job_id": "one", "study": "default"}, context)
    words, options = daemon.containers.run.call_args
    mounts = {mount["Target"]: (mount["Source"], mount["ReadOnly"]) for mount in options["mounts"]}
    assert IMAGE in (*words, options.get("image"))
    assert options["network"] == read_yaml(DEPLOY / "docker/runtime.yaml")["parent"]["network"]
    assert mounts[WHERE_CASES_ARE["docker"]] == ("/path/to/cases", True)
    assert mounts["/data/default/prepared"] == ("/path/to/prepared", False)
    assert mounts[f"{kit}/local"] == (str(kit / "local"), True)


def test_the_image_installs_what_requirements_say_and_copies_nothing_else():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    project = {"requirements.txt", "pyproject.toml", "README.md", "LICENSE", "custom"}
    assert set(copied) == project and all((ROOT / name).exists() for name in copied)
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[1] == "*" and {line[1:] for line in ignore if line.startswith("!")} == project
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2 and "--requirement requirements.txt" in installs[0] and "--no-deps ." in installs[1]
    assert not any(re.search(r"\w[=~<>]=\s*\d", line) for line in installs), (
        "a version that requirements.txt does not say"
    )
    (base,) = re.findall(r"^FROM python:(\d+)\.(\d+)-", "\n".join(lines), re.MULTILINE)
    (least,) = re.findall(r'requires-python = ">=(\d+)\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert tuple(map(int, base)) >= tuple(map(int, least))


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_names_the_image_of_this_version(path):
    for name in re.findall(r"fedpac-me:[\w.]+", path.read_text()):
        assert name == IMAGE
