"""The CRDs at start on the real API server: made, made newer with objects in store, and what a controller without rights says."""

import asyncio
import copy
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.patience import asked, within
from towpath.controller.definitions import KIND, RELEASE, Definitions, release
from towpath.controller.kube.client import KubeApi
from towpath.controller.kube.connect import connect
from towpath.controller.ports import NotFoundError
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes, free_ports
from towpath.lab.process import Process, wait_for
from towpath.model.crd import crds

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNT = {"kind": "ServiceAccount", "name": "towpath", "namespace": "default"}
OURS = {"apiGroups": ["towpath.io"], "resources": ["*"], "verbs": ["*"]}
NODES = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}
LEASES = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
CRDS = {
    "apiGroups": ["apiextensions.k8s.io"],
    "resources": ["customresourcedefinitions"],
    "verbs": ["get", "create", "update"],
}


async def test_created_updated_and_left_alone() -> None:
    """Nothing is written twice; an older definition is replaced under the objects that are stored, a newer one is left."""
    with RealKubernetes() as kubernetes:
        async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
            old = copy.deepcopy(crds())
            for one in old:
                root = one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
                root.pop("x-kubernetes-validations", None)
                spec = root["properties"]["spec"]
                spec["properties"] = dict(list(spec.get("properties", {}).items())[:1])
                spec.pop("x-kubernetes-validations", None)
                spec.pop("required", None)
                one["spec"]["versions"][0].pop("additionalPrinterColumns")
            assert await Definitions(api, wanted=old, by="0.0.1").step()
            await settled(api)
            async with within(30):
                while True:
                    try:
                        await api.create("IPPool", custom("IPPool", "pods", {"cidr": "10.0.0.0/16"}))
                        break
                    except NotFoundError:  # created, and not served yet
                        await asyncio.sleep(0.1)
            assert await Definitions(api).step()
            await settled(api)
            before = {one["metadata"]["name"]: one["metadata"] for one in (await api.list(KIND)).items}
            assert {one["annotations"][RELEASE] for one in before.values()} == {release()}
            assert await Definitions(api).step()
            after = {one["metadata"]["name"]: one["metadata"] for one in (await api.list(KIND)).items}
            assert {name: one["resourceVersion"] for name, one in after.items()} == {
                name: one["resourceVersion"] for name, one in before.items()
            }
            assert (await api.get("IPPool", "pods"))["spec"]["cidr"] == "10.0.0.0/16"
            assert await Definitions(api, wanted=old, by="0.0.1").step()
            schema = (await api.get(KIND, "ippools.towpath.io"))["spec"]["versions"][0]["schema"]
            properties = schema["openAPIV3Schema"]["properties"]["spec"]["properties"]
            assert "blockSize" in properties


async def settled(api: KubeApi) -> None:
    """The server has written down of each definition that it serves it: from then on it does not touch them by itself."""

    def established(definition: dict[str, Any]) -> bool:
        # null at first
        told = {one["type"]: one["status"] for one in definition.get("status", {}).get("conditions") or ()}
        return told.get("NamesAccepted") == told.get("Established") == "True"

    async def all_of_them() -> bool:
        return all(map(established, (await api.list(KIND)).items))

    await asked(all_of_them, deadline=60, what="all definitions are served")


def test_without_rights_it_says_so_and_waits(tmp_path: Path) -> None:
    """Verb and resource in the log and behind readyz, no crash; once it is allowed it creates them and leads."""
    (health,) = free_ports(1)
    with RealKubernetes() as kubernetes:
        kubernetes.request(
            "POST",
            "/api/v1/namespaces/default/serviceaccounts",
            body={"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "towpath"}},
        )
        allow(kubernetes, "towpath", [OURS, NODES, EVENTS, LEASES])
        token = kubernetes.request(
            "POST",
            "/api/v1/namespaces/default/serviceaccounts/towpath/token",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )["status"]["token"]
        config = json.loads(kubernetes.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        command = [sys.executable, "-m", "towpath.controller.cli", "controller", "--kubeconfig", str(kubeconfig)]
        process = Process(
            [*command, "--namespace", "default", "--health-port", str(health)], log=tmp_path / "controller.log"
        ).start()
        try:
            refused = lambda: process.log.count("crd.refused")  # noqa: E731  # asked twice
            wait_for(lambda: refused() == len(crds()), deadline=30, what="each refusal is logged")
            said = wait_for(
                lambda: (said := unready(health)) and "IPPool" in said and said,
                deadline=30,
                what="readyz says what is missing",
            )
            assert 'cannot get resource "customresourcedefinitions"' in said
            allow(kubernetes, "towpath-crds", [CRDS])
            wait_for(lambda: unready(health) == "ok", deadline=60, what="it is ready")
            assert process.running
            assert refused() == len(crds())
        finally:
            process.kill()


def allow(kubernetes: RealKubernetes, name: str, rules: list[dict]) -> None:
    """Give the account these rights."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    kubernetes.request("POST", f"{RBAC}/clusterroles", body={**role, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    binding = {**role, "kind": "ClusterRoleBinding", "subjects": [ACCOUNT], "roleRef": reference}
    kubernetes.request("POST", f"{RBAC}/clusterrolebindings", body=binding)


def unready(port: int) -> str:
    """What readyz says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return str(answer.read().decode().strip())
    except urllib.error.HTTPError as error:
        return str(error.read().decode().strip())
    except OSError:
        return ""
