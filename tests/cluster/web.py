"""A DaemonSet of small web servers that say their name, a service in front of them, and asking them."""

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import BUSYBOX
from towpath.lab.netns import Host
from towpath.lab.process import wait_for

PORT = 8080
NODE_PORT = 30080
ENOUGH = "/tmp/enough"
"""A file in a server that lingers: it ends when that is there."""
_SERVE = f"mkdir -p /tmp/web; hostname > /tmp/web/index.html; exec httpd -f -p '[::]:{PORT}' -h /tmp/web"
# the first process of a pod does not hear a SIGTERM that it does not ask for
_LINGER = _SERVE.replace("exec httpd -f", "httpd") + f"; until [ -e {ENOUGH} ]; do sleep 0.5; done"


def daemonset(name: str, *, nodes: dict[str, str] | None = None, lingers: bool = False) -> dict[str, Any]:
    """One server on every node, or on nodes with these labels. ``lingers``: one that is deleted serves on until told to end."""
    probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    command = ["sh", "-c", _LINGER if lingers else _SERVE]
    container = {"name": "web", "image": BUSYBOX, "command": command, "readinessProbe": probe}
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 600 if lingers else 0,
                    "tolerations": [{"operator": "Exists"}],
                    "nodeSelector": nodes or {},
                    "containers": [container],
                },
            },
        },
    }


def service(name: str, *, families: int, node_port: int = NODE_PORT) -> dict[str, Any]:
    """A NodePort service in front of them, with an address of each family."""
    policy = "RequireDualStack" if families > 1 else "SingleStack"
    return _service(name, type="NodePort", ipFamilyPolicy=policy, ports=[{"port": PORT, "nodePort": node_port}])


def balanced(name: str, *, external: Sequence[str] = (), policy: str = "Cluster") -> dict[str, Any]:
    """A dual-stack service of type LoadBalancer in front of them, with these external addresses and this traffic policy."""
    return _service(
        name,
        type="LoadBalancer",
        ipFamilyPolicy="RequireDualStack",
        externalIPs=list(external),
        externalTrafficPolicy=policy,
        allocateLoadBalancerNodePorts=False,
        ports=[{"port": PORT}],
    )


def _service(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": {"app": name}, **spec}}


def give_addresses(cluster: Cluster, name: str, addresses: Sequence[str]) -> None:
    """What a load balancer's controller does: a service has these addresses from now on."""
    status = {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}
    patch = json.dumps({"status": status})
    cluster.kubectl("patch", "service", name, "--subresource=status", "--type=merge", "-p", patch)


def ask_from_pod(cluster: Cluster, pod: str, servers: Iterable[tuple[str, int]]) -> list[str]:
    """What each server, an address and a port, answers to a pod: its name, or ``-`` where nothing answers in time."""
    script = " ; ".join(f"ask {address} {port} || echo -" for address, port in servers)
    return cluster.exec(pod, "sh", "-c", script, timeout=120).split()


def ask_from_host(host: Host, servers: Iterable[tuple[str, int]]) -> list[str]:
    """The same, asked in a namespace of the lab."""
    urls = [
        f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/" for address, port in servers
    ]
    return host.run("sh", "-c", " ; ".join(f"curl -g -s -m 5 '{url}' || echo -" for url in urls), timeout=120).split()


def everybody(cluster: Cluster, nodes: Sequence[str], *, name: str = "web", deadline: float = 120) -> None:
    """The servers of these nodes, and the client, come to reach those of all nodes; a pod's old state may be shown first."""

    def talks() -> bool:
        pods = cluster.wait_pods(f"app={name}", count=len(cluster.nodes))
        servers = [(str(address), PORT) for pod in pods for address in cluster.addresses(pod).values()]
        names = [pod["metadata"]["name"] for pod in pods for _ in cluster.addresses(pod)]
        mine = [pod["metadata"]["name"] for pod in pods if pod["spec"]["nodeName"] in nodes]
        with contextlib.suppress(RuntimeError):  # the kubelet does not run commands in it yet
            return all(ask_from_pod(cluster, pod, servers) == names for pod in mine) and (
                ask_from_host(cluster.host("client"), servers) == names
            )
        return False

    wait_for(talks, deadline=deadline, what=f"pods of {', '.join(nodes)} and the client reach all pods", interval=0.5)
