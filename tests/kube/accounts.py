"""Service accounts on a real API server: their files as a kubelet puts them into a pod, and their rights."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from towpath.controller.kube.client import KubeApi, Timeouts
from towpath.controller.kube.credentials import Credentials
from towpath.lab.kubernetes import RealKubernetes

RBAC = "/apis/rbac.authorization.k8s.io/v1"
NAMESPACE = "default"


class Account:
    """The account ``name`` with a folder that has its token and the server's authority. Without rights at first."""

    def __init__(self, kubernetes: RealKubernetes, name: str, *, folder: Path) -> None:
        self.kubernetes, self.name, self.folder = kubernetes, name, folder
        folder.mkdir()
        self.trust()
        kubernetes.request("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", body={"metadata": {"name": name}})

    @property
    def user(self) -> str:
        """How the API server calls it."""
        return f"system:serviceaccount:{NAMESPACE}:{self.name}"

    def trust(self) -> None:
        """Put the authority of the server into the folder, as it is now."""
        new = self.folder / "ca.new"
        shutil.copy(self.kubernetes.place.authority.certificate, new)
        new.rename(self.folder / "ca.crt")

    def give_token(self, bound: str) -> None:
        """Put a token into the folder that is good as long as the Secret ``bound`` exists, which is made."""
        secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        made = self.kubernetes.request("POST", secrets, body={"metadata": {"name": bound}})
        reference = {"apiVersion": "v1", "kind": "Secret", "name": bound, "uid": made["metadata"]["uid"]}
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{self.name}/token"
        answer = self.kubernetes.request("POST", path, body={"spec": {"boundObjectRef": reference}})
        new = self.folder / "token.new"
        new.write_text(answer["status"]["token"])
        new.rename(self.folder / "token")

    def revoke_token(self, bound: str) -> None:
        """The token is not good any more; the server may believe it for ten seconds yet."""
        self.kubernetes.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/{bound}")

    def allow(self, *rules: tuple[str, str, str]) -> None:
        """It may do this cluster-wide and nothing else: groups, resources and verbs, each separated by commas."""
        body = {
            "metadata": {"name": self.name},
            "rules": [
                {"apiGroups": group.split(","), "resources": resources.split(","), "verbs": verbs.split(",")}
                for group, resources, verbs in rules
            ],
        }
        self._put("clusterroles", body)
        subject = {"kind": "ServiceAccount", "name": self.name, "namespace": NAMESPACE}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.name}
        self._put("clusterrolebindings", {"metadata": {"name": self.name}, "subjects": [subject], "roleRef": role})

    def forbid(self) -> None:
        """Its role is deleted."""
        self.kubernetes.request("DELETE", f"{RBAC}/clusterroles/{self.name}")

    def _put(self, plural: str, body: dict[str, Any]) -> None:
        there = {item["metadata"]["name"] for item in self.kubernetes.request("GET", f"{RBAC}/{plural}")["items"]}
        if self.name in there:
            self.kubernetes.request("PUT", f"{RBAC}/{plural}/{self.name}", body=body)
        else:
            self.kubernetes.request("POST", f"{RBAC}/{plural}", body=body)

    def client(self, monkeypatch: pytest.MonkeyPatch, *, port: int, timeouts: Timeouts | None = None) -> KubeApi:
        """A client as a process in a pod with this account has it; the server is at ``port`` of loopback."""
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        return KubeApi(Credentials.in_cluster(self.folder), timeouts=timeouts)
