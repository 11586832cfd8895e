"""What Helm makes of the chart: goldens, wrong values, and the promises that any rendering keeps."""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.cases import GOLDEN, IPV6_RANGES, WRONG
from tests.chart.chart import CHART, containers, find, rendered, run_helm, template, values_file
from tests.tree import ROOT

GOLDENS = ROOT / "tests" / "golden" / "chart"


@pytest.mark.parametrize("name", GOLDEN)
def test_the_rendering_is_the_golden_one(name: str, tmp_path: Path) -> None:
    """What Helm renders is known line by line; ``TOWPATH_WRITE_GOLDEN=1`` writes it anew."""
    done = template("-f", values_file(tmp_path, GOLDEN[name]))
    assert done.returncode == 0, done.stderr
    golden = GOLDENS / f"{name}.yaml"
    if os.environ.get("TOWPATH_WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(done.stdout)
    assert done.stdout == golden.read_text()


@pytest.mark.parametrize("name", GOLDEN)
def test_helm_finds_nothing_to_say(name: str, tmp_path: Path) -> None:
    """``helm lint --strict`` passes, with any of these values."""
    done = run_helm("lint", "--strict", str(CHART), "-f", values_file(tmp_path, GOLDEN[name]))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("values", "words"), [(one[1], one[2]) for one in WRONG], ids=[one[0] for one in WRONG])
def test_wrong_values_are_refused(values: dict[str, Any], words: tuple[str, ...], tmp_path: Path) -> None:
    """A value that is wrong is refused before anything is installed, with its place and what was expected."""
    done = template("-f", values_file(tmp_path, values))
    assert done.returncode != 0
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def test_ranges_without_host_bits_are_taken(tmp_path: Path) -> None:
    """However an IPv6 address is shortened."""
    pools = [{"name": f"p{number}", "cidr": cidr, "blockSize": 122} for number, cidr in enumerate(IPV6_RANGES)]
    done = template("-f", values_file(tmp_path, {"pools": pools}))
    assert done.returncode == 0, done.stderr


def test_an_old_kubernetes_is_refused() -> None:
    """Tokens name their node from 1.32 on."""
    done = template(version="1.31.9")
    assert done.returncode != 0
    assert "requires kubeVersion: >=1.32.0-0 which is incompatible with Kubernetes v1.31.9" in done.stderr


def test_nodes_may_be_left_to_somebody_who_deletes_their_pods() -> None:
    """``OnDelete`` replaces no pod by itself; a cleanup runs everywhere at once all the same."""
    by_hand = ("--set", "node.updateStrategy=OnDelete")
    assert find(rendered(*by_hand), "DaemonSet", "towpath-node")["spec"]["updateStrategy"] == {"type": "OnDelete"}
    cleaning = find(rendered(*by_hand, "--set", "cleanup.enabled=true"), "DaemonSet", "towpath-node")
    everywhere = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}}
    assert cleaning["spec"]["updateStrategy"] == everywhere


def test_the_chart_has_the_version_of_the_package() -> None:
    """Chart, image and package are one release."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert containers(rendered())["agent"]["image"] == f"towpath.io/towpath:{version}"


CLEANUP = ("--set", "cleanup.enabled=true")
EVERY = pytest.mark.parametrize("arguments", [(), CLEANUP, ("--set", "unnumbered.enabled=true")])


@EVERY
def test_no_container_has_more_than_it_needs(arguments: tuple[str, ...]) -> None:
    """Read-only root file systems, no escalation, every capability dropped but the few that are named."""
    allowed = {"agent": ["NET_ADMIN"], "cleanup": ["NET_ADMIN"], "speaker": ["NET_BIND_SERVICE"]}
    if "unnumbered.enabled=true" in arguments:
        allowed["agent"].append("NET_RAW")
    for name, one in containers(rendered(*arguments)).items():
        context = one["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert "privileged" not in context, name
        assert context["capabilities"]["drop"] == ["ALL"], name
        assert context["capabilities"].get("add", []) == allowed.get(name, []), name


@EVERY
def test_every_pod_is_confined(arguments: tuple[str, ...]) -> None:
    """seccomp RuntimeDefault everywhere; root only where capabilities are needed, which only root gets from Kubernetes."""
    for one in rendered(*arguments):
        if one["kind"] not in ("Deployment", "DaemonSet", "Job"):
            continue
        context = one["spec"]["template"]["spec"]["securityContext"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        if one["metadata"]["name"] != "towpath-node":
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] == 65532


def test_the_speaker_has_no_way_to_the_api() -> None:
    """No token is mounted but into the agent, and the speaker sees nothing of the host but its network."""
    pod = find(rendered(), "DaemonSet", "towpath-node")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    mounts = {one["name"]: [each["name"] for each in one["volumeMounts"]] for one in pod["containers"]}
    assert mounts["speaker"] == ["speaker"]
    assert "token" in mounts["agent"]
    speaker = next(one for one in pod["volumes"] if one["name"] == "speaker")
    assert "emptyDir" in speaker
    assert not any("KUBERNETES" in one["name"] for one in containers(rendered())["speaker"]["env"])


def test_the_host_is_seen_through_few_folders() -> None:
    """Seven host paths, all of the node's pod; of /proc/sys only the network's, of /var/lib/cni what the runtime attached."""
    found = {
        volume["hostPath"]["path"]: one["metadata"]["name"]
        for one in rendered()
        if one["kind"] in ("Deployment", "DaemonSet", "Job")
        for volume in one["spec"]["template"]["spec"].get("volumes", ())
        if "hostPath" in volume
    }
    ours, cni = (
        ("/run/towpath", "/var/lib/towpath"),
        ("/etc/cni/net.d", "/etc/cni/multus/net.d", "/opt/cni/bin", "/var/lib/cni/results"),
    )
    assert found == dict.fromkeys((*ours, *cni, "/proc/sys/net"), "towpath-node")


def test_cleanup_needs_no_api() -> None:
    """The pod that takes everything off has no token: it works while nothing else does."""
    objects = rendered("--set", "cleanup.enabled=true")
    pod = find(objects, "DaemonSet", "towpath-node")["spec"]["template"]["spec"]
    assert [one["name"] for one in pod["containers"]] == ["cleanup"]
    assert "token" not in [one["name"] for one in pod["volumes"]]


def test_who_leaves_lets_go_of_pools_and_is_ready_then() -> None:
    """The controllers of before are gone first: they would keep the pools again."""
    staying, leaving = (find(rendered(*more), "Deployment", "towpath-controller")["spec"] for more in ((), CLEANUP))
    assert staying["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert leaving["strategy"] == {"type": "Recreate"}
    said = {"name": "TOWPATH_LEAVING", "value": "true"}
    assert said in leaving["template"]["spec"]["containers"][0]["env"]
    assert said not in staying["template"]["spec"]["containers"][0]["env"]


def test_the_users_objects_are_kept_unless_asked() -> None:
    """Pools and the like carry Helm's keep; with keepObjects false they do not."""
    kept = [one for one in rendered() if one["apiVersion"] == "towpath.io/v1alpha1"]
    assert [one["metadata"]["annotations"] for one in kept] == [{"helm.sh/resource-policy": "keep"}]
    for one in rendered("--set", "keepObjects=false"):
        if one["apiVersion"] == "towpath.io/v1alpha1":
            assert "annotations" not in one["metadata"]


def test_large_as_numbers_stay_numbers(tmp_path: Path) -> None:
    """Helm reads numbers as floats; what it writes is the number that was given."""
    objects = rendered("-f", values_file(tmp_path, GOLDEN["everything"]))
    assert find(objects, "BGPPeer", "tor-a")["spec"]["asNumber"] == 4200000000
    assert find(objects, "BGPConfiguration", "default")["spec"]["asNumber"] == 4200000001


def test_without_management_the_controller_may_not_touch_definitions() -> None:
    """``crds.manage: false`` takes the rights away and says so to the controller."""

    def about_definitions(objects: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
        rules = find(objects, "ClusterRole", "towpath-controller")["rules"]
        return [one for one in rules if "customresourcedefinitions" in one["resources"]]

    with_names = [one for one in about_definitions(rendered()) if "resourceNames" in one]
    assert len(with_names) == 1
    assert sorted(with_names[0]["resourceNames"]) == sorted(
        yaml.safe_load(path.read_text())["metadata"]["name"] for path in (CHART / "crds").glob("*.yaml")
    )
    without = rendered("--set", "crds.manage=false")
    assert about_definitions(without) == []
    environment = {one["name"]: one.get("value") for one in containers(without)["controller"]["env"]}
    assert environment["TOWPATH_MANAGE_CRDS"] == "false"


def test_nodes_are_changed_only_where_that_was_asked_for() -> None:
    """Without assignPodCIDRs in the values the controller has no right to write a Node, but for its status."""

    def about_nodes(objects: tuple[dict[str, Any], ...]) -> set[str]:
        rules = find(objects, "ClusterRole", "towpath-controller")["rules"]
        return {verb for one in rules if "nodes" in one["resources"] for verb in one["verbs"]}

    assert about_nodes(rendered()) == {"get", "list", "watch"}
    assert about_nodes(rendered("--set", "ipamConfiguration.assignPodCIDRs=true")) == {"get", "list", "watch", "patch"}


def test_two_replicas_fit_on_one_node() -> None:
    """On the host's network nothing of the controller listens on a port."""
    pod = find(rendered(), "Deployment", "towpath-controller")["spec"]["template"]["spec"]
    (controller,) = pod["containers"]
    assert pod["hostNetwork"] is True
    assert "ports" not in controller
    assert not any(one["name"] == "TOWPATH_HEALTH_PORT" for one in controller["env"])
    assert "exec" in controller["livenessProbe"]
