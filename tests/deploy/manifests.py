"""The manifests of each overlay as `kubectl kustomize` renders them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = ("small", "large")
WORKLOADS = {"Deployment", "StatefulSet", "Job"}

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Manifest]:
    """Return all objects of an overlay; skip the test where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl: .ci/run unpacks the one of tests/kubectl.txt")
    folder = DEPLOY / "kubernetes" / "overlays" / overlay
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    """Return the objects of these kinds."""
    return [each for each in rendered(overlay) if each["kind"] in kinds]


def named(overlay: str, kind: str, name: str) -> Manifest:
    """Return one object."""
    (found,) = (each for each in of_kind(overlay, kind) if each["metadata"]["name"] == name)
    return found


def pods(overlay: str) -> dict[str, Manifest]:
    """Return the template of each workload's pods, by the workload's name."""
    return {
        each["metadata"]["name"]: each["spec"]["template"] for each in of_kind(overlay, *WORKLOADS)
    }


def containers(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Yield each container with the name of its workload."""
    for name, pod in pods(overlay).items():
        assert "initContainers" not in pod["spec"], "the tests look at containers only"
        for container in pod["spec"]["containers"]:
            yield name, container


def variables(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Yield each environment variable with the name of its workload."""
    for name, container in containers(overlay):
        for variable in container.get("env", ()):
            yield name, variable


def value_of(overlay: str, workload: str, variable: str) -> str:
    """Return the value of an environment variable."""
    (found,) = (
        each["value"]
        for name, each in variables(overlay)
        if (name, each["name"]) == (workload, variable)
    )
    return str(found)
