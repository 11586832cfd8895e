"""The chart as Helm renders it."""

import functools
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.tree import ROOT
from towpath.lab.tools import helm

CHART = ROOT / "charts" / "towpath"
NAMESPACE = "towpath-system"
KUBERNETES = "1.36.0"


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One call; its failure is for the caller to look at."""
    return subprocess.run([str(helm()), *arguments], capture_output=True, text=True, check=False, timeout=120)


def template(*arguments: str, version: str = KUBERNETES) -> subprocess.CompletedProcess[str]:
    """``helm template`` of a release named towpath."""
    return run_helm("template", "towpath", str(CHART), "-n", NAMESPACE, "--kube-version", version, *arguments)


@functools.cache
def rendered(*arguments: str) -> tuple[dict[str, Any], ...]:
    """All objects of the chart, hooks of ``helm test`` included."""
    done = template(*arguments)
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def find(objects: tuple[dict[str, Any], ...], kind: str, name: str) -> dict[str, Any]:
    """The one object of that kind and name."""
    (one,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return one


def containers(objects: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    """Every container of every workload, by name."""
    pods = [one["spec"]["template"]["spec"] for one in objects if one["kind"] in ("Deployment", "DaemonSet", "Job")]
    return {one["name"]: one for pod in pods for one in (*pod.get("initContainers", ()), *pod["containers"])}


def values_file(folder: Path, values: dict[str, Any]) -> str:
    """The values as a file."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)
