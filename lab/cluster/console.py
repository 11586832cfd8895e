"""An operator's hands on a cluster: kubectl, Helm, commands in pods, and waiting until something is true."""

import json
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from towpath.lab.netns import Network
from towpath.lab.process import run, wait_for
from towpath.lab.tools import helm, kubectl
from towpath.model.net import Address, Family, family_of

OURS = "towpath-system"
"""The namespace that towpath is installed into."""


class Console:
    """What one does with a kubeconfig; ``network`` is the cluster's, for those who look into pods from below."""

    def __init__(self, kubeconfig: Path, network: Network) -> None:
        self.kubeconfig = kubeconfig
        self.network = network

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Run kubectl as administrator; what it printed. A failure carries what it said."""
        flags = (f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.kubeconfig.parent / 'kubectl-cache'}")
        return run(str(kubectl()), *flags, *arguments, stdin=stdin, check=check, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        """``kubectl get … -o json``, parsed; for several objects, the list of them."""
        body = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return body["items"] if body["kind"].endswith("List") else body

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create objects, or merge them into those that are there."""
        body = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(body))

    def helm(self, *arguments: str, check: bool = True, timeout: float = 600) -> str:
        """Run Helm as administrator; its own files lie in the cluster's folder."""
        folder = self.kubeconfig.parent / "helm"
        homes = [f"HELM_{kind}_HOME={folder / kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")]
        return run(
            "env", f"KUBECONFIG={self.kubeconfig}", *homes, str(helm()), *arguments, check=check, timeout=timeout
        )

    def exec(
        self,
        pod: str,
        *command: str,
        namespace: str = "default",
        container: str = "",
        check: bool = True,
        timeout: float = 60,
    ) -> str:
        """Run a command in a pod through the API server and the kubelet."""
        which = ("--container", container) if container else ()
        return self.kubectl("exec", "-n", namespace, pod, *which, "--", *command, check=check, timeout=timeout)

    # -- facts ------------------------------------------------------------------------------------------------------

    def nodes_ready(self) -> dict[str, bool]:
        """Every node that has registered, and whether it is Ready."""
        return {node["metadata"]["name"]: _condition(node, "Ready") for node in self.get("nodes")}

    def pods(self, selector: str = "", *, namespace: str = "default") -> list[dict[str, Any]]:
        """The pods that a label selector names; those that are being deleted are left out."""
        found = self.get("pods", "-n", namespace, *(("-l", selector) if selector else ()))
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    @staticmethod
    def addresses(pod: dict[str, Any]) -> dict[Family, Address]:
        """A pod's addresses by family."""
        found = [ip_address(entry["ip"]) for entry in pod["status"].get("podIPs", [])]
        return {family_of(address): address for address in found}

    # -- waiting ----------------------------------------------------------------------------------------------------

    def wait_registered(self, names: Sequence[str], *, deadline: float = 120) -> None:
        """Every one of these has a Node object."""
        wait_for(
            lambda: self.nodes_ready().keys() >= set(names),
            deadline=deadline,
            what=f"nodes register: {', '.join(names)}",
            interval=0.3,
        )

    def wait_ready(self, *names: str, deadline: float = 180) -> None:
        """These nodes are Ready, all of them unless named."""

        def ready() -> bool:
            found = self.nodes_ready()
            return bool(found) and all(found.get(name, False) for name in names or found)

        wait_for(ready, deadline=deadline, what=f"nodes are Ready: {', '.join(names) or 'all'}", interval=0.3)

    def wait_pods(
        self, selector: str, *, count: int, namespace: str = "default", deadline: float = 180
    ) -> list[dict[str, Any]]:
        """``count`` pods of a selector are Ready; those."""

        def ready() -> list[dict[str, Any]]:
            found = self.pods(selector, namespace=namespace)
            return found if len(found) == count and all(_condition(pod, "Ready") for pod in found) else []

        return wait_for(ready, deadline=deadline, what=f"{count} pods {selector} are Ready", interval=0.3)

    def drain(self, node: str, *, deadline: float = 120) -> None:
        """Cordon a node and evict what can be evicted."""
        flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={deadline:g}s")
        self.kubectl("drain", node, *flags, timeout=deadline + 30)

    def report(self) -> str:
        """What a person looks at first when something is wrong; never fails."""
        asked = (
            ("get", "nodes,pods,daemonsets,deployments,services", "-A", "-o", "wide"),
            ("get", "towpath", "-o", "wide"),
            ("get", "events", "-A", "--sort-by=.lastTimestamp"),
            ("describe", "pods", "-n", OURS),
            *(("logs", "-n", OURS, pod, "--all-containers", "--prefix", "--tail=80") for pod in self._ours()),
        )
        return "\n".join(f"$ kubectl {' '.join(arguments)}\n{self._tried(*arguments)}" for arguments in asked)

    def _ours(self) -> list[str]:
        return [
            word.removeprefix("pod/")
            for word in self._tried("get", "pods", "-n", OURS, "-o", "name").split()
            if word.startswith("pod/")
        ]

    def _tried(self, *arguments: str) -> str:
        try:
            return self.kubectl(*arguments, timeout=20)[-30000:]
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            return str(error)


def _condition(body: dict[str, Any], kind: str) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)
