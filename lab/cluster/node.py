"""What runs on a node, as its distribution and kubeadm would leave it: containerd, kubelet, kube-proxy, their files."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from towpath.lab.addressing import PODS
from towpath.lab.cluster import waysin
from towpath.lab.cluster.control import Control
from towpath.lab.cluster.images import PAUSE
from towpath.lab.cluster.machine import Machine
from towpath.lab.cluster.shape import ROOT, NodePlace, Shape
from towpath.lab.golang import cache
from towpath.lab.process import run
from towpath.lab.tools import KUBERNETES, cni_plugins, containerd

SOCKET = "/run/containerd/containerd.sock"
PROGRAMS = ("containerd", "kubelet", "kube-proxy")
_PKI = "/etc/kubernetes/pki"
_KUBELET = "/etc/kubernetes/kubelet"
_PROXY = "/etc/kubernetes/kube-proxy"


def tools(shape: Shape) -> dict[str, Path]:
    """Folders of programs that a node has under ``/opt``."""
    found = {"kubernetes": cache() / "kubernetes" / KUBERNETES}
    if shape.containerd:
        found["containerd"] = containerd(shape.containerd)
    return found


def programs(shape: Shape) -> tuple[str, ...]:
    """What runs on every node, in the order in which it starts."""
    return PROGRAMS if shape.proxy else PROGRAMS[:-1]


def configure(machine: Machine, place: NodePlace, *, shape: Shape, plane: Control) -> None:
    """Write a node's files: configuration, certificates of its own, ways in, plugins."""
    etc = machine.disk / "etc"
    authority = plane.authority
    pki = machine.disk / _PKI.lstrip("/")
    pki.mkdir(parents=True)
    shutil.copy2(authority.certificate, pki / "ca.crt")
    name = place.name
    hosts = (name, *(str(place.address(family)) for family in shape.families))
    pair = authority.issue(f"serving-{name}", subject=f"kubelet {name}", hosts=hosts)
    shutil.copy2(pair.certificate, pki / "kubelet.crt")
    shutil.copy2(pair.key, pki / "kubelet.key")
    for file, user, groups in (
        (_KUBELET, f"system:node:{name}", ("system:nodes",)),
        (_PROXY, "system:kube-proxy", ()),
    ):
        path = machine.disk / f"{file.lstrip('/')}.conf"
        certificate = f"{Path(file).name}-{name}"
        waysin.write(
            path, authority, name=certificate, server=plane.server, user=user, groups=groups, context=plane.context
        )
    for file, body in ((_KUBELET, _kubelet()), (_PROXY, _proxy(place, shape))):
        (machine.disk / f"{file.lstrip('/')}.yaml").write_text(json.dumps(body, indent=1))
    (etc / "containerd" / "config.toml").write_text(_containerd(shape))
    if shape.plugins:
        for plugin in cni_plugins().iterdir():
            if not plugin.name.startswith("."):
                shutil.copy2(plugin, machine.disk / "opt" / "cni" / "bin" / plugin.name)


def commands(place: NodePlace, shape: Shape) -> Mapping[str, Sequence[str]]:
    """What runs on a node, by name."""
    addresses = ",".join(str(place.address(family)) for family in shape.families)
    kubelet = ("/opt/kubernetes/kubelet", f"--config={_KUBELET}.yaml", f"--kubeconfig={_KUBELET}.conf")
    return {
        "containerd": (*_with_path(shape), "containerd", "--config", "/etc/containerd/config.toml"),
        "kubelet": (*kubelet, f"--node-ip={addresses}", f"--node-labels=topology.kubernetes.io/zone={place.rack}"),
        "kube-proxy": ("/opt/kubernetes/kube-proxy", f"--config={_PROXY}.yaml"),
    }


def ctr(shape: Shape, *arguments: str) -> list[str]:
    """The command line of containerd's own client in the kubelet's namespace."""
    return [*_with_path(shape), "ctr", "--address", SOCKET, "--namespace", "k8s.io", *arguments]


def snapshotter() -> str:
    """How containerd keeps layers: overlays, unless the nodes' disks lie on one themselves."""
    kind = run("stat", "--file-system", "--format=%T", str(ROOT)).strip()
    return "native" if kind == "overlayfs" else "overlayfs"


def _with_path(shape: Shape) -> tuple[str, ...]:
    folders = ("/opt/containerd",) if shape.containerd else ()
    return ("env", f"PATH={':'.join((*folders, '/usr/sbin', '/usr/bin', '/sbin', '/bin'))}")


def _kubelet() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{_PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{_PKI}/kubelet.crt",
        "tlsPrivateKeyFile": f"{_PKI}/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "resolvConf": "",
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        # a lab's machines share one disk and one memory with others: nothing is evicted and no image removed for that
        "evictionHard": dict.fromkeys(("memory.available", "nodefs.available", "imagefs.available"), "0%"),
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": False,
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
    }


def _proxy(place: NodePlace, shape: Shape) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": place.name,
        "clientConnection": {"kubeconfig": f"{_PROXY}.conf"},
        "clusterCIDR": ",".join(str(PODS[family]) for family in shape.families),
        # these belong to the whole kernel
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _containerd(shape: Shape) -> str:
    # restrict_oom_score_adj: where there is no CAP_SYS_RESOURCE, a pod's negative score would be refused
    if shape.containerd:
        return f"""version = 3
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter()}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
"""
    return f"""version = 2
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter()}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"""
