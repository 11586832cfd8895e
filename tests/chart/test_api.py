"""The chart's objects on the real API server: what it takes, what it refuses, and what each account may do there."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.cases import GOLDEN
from tests.chart.chart import NAMESPACE, find, rendered, values_file
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import wait_for

Answer = tuple[int, dict[str, Any]]
OURS = "/apis/towpath.io/v1alpha1"
PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "IPPool": f"{OURS}/ippools",
    "BGPPeer": f"{OURS}/bgppeers",
    "BGPConfiguration": f"{OURS}/bgpconfigurations",
    "IPAMConfiguration": f"{OURS}/ipamconfigurations",
}


class Caller:
    """Somebody with a token; ``call`` gives status and body, refusals included."""

    def __init__(self, server: RealKubernetes, token: str) -> None:
        self._server = server
        self._token = token
        self._tls = ssl.create_default_context(cafile=str(server.place.authority.certificate))

    def call(self, method: str, path: str, body: Any = None, *, patch: str = "merge-patch") -> Answer:
        kind = f"application/{patch}+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self._tls, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def server() -> Iterator[RealKubernetes]:
    """A server with our kinds and the chart's accounts, rights and policy, two nodes and the objects of both."""
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        admin = Caller(kubernetes, kubernetes.place.token.read_text())
        for namespace in (NAMESPACE, "elsewhere"):
            good(admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}))
        for one in rendered():
            if one["kind"] in ("ServiceAccount", *PATHS) and one["kind"] not in ("Deployment", "DaemonSet", "Job"):
                good(admin.call("POST", where(one), one))
        for node in ("node1", "node2"):
            good(admin.call("POST", "/api/v1/nodes", {"metadata": {"name": node}}))
            good(admin.call("POST", f"{OURS}/routingnodes", ours("RoutingNode", node, spec={})))
        good(admin.call("POST", f"{OURS}/nodestatuses", ours("NodeStatus", "node2", spec={})))
        yield kubernetes


@pytest.fixture(scope="module")
def admin(server: RealKubernetes) -> Caller:
    return Caller(server, server.place.token.read_text())


@pytest.fixture(scope="module")
def agent(server: RealKubernetes, admin: Caller) -> Caller:
    """The agent of node1, with the token that its kubelet would give it; the policy is in force."""
    pod = {
        "metadata": {"name": "towpath-node-1"},
        "spec": {
            "nodeName": "node1",
            "serviceAccountName": "towpath-node",
            "automountServiceAccountToken": False,
            "containers": [{"name": "agent", "image": "x"}],
        },
    }
    _, made = good(admin.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod))
    caller = Caller(server, token(admin, "towpath-node", pod=made))
    wait_for(
        lambda: "of its own node only" in foreign(caller, query="?dryRun=All")[1].get("message", ""),
        deadline=60,
        what="the policy is in force",
    )
    return caller


def good(answer: Answer) -> Answer:
    assert answer[0] in (200, 201), answer[1]
    return answer


def where(one: dict[str, Any]) -> str:
    return PATHS[one["kind"]].format(one["metadata"].get("namespace"))


def ours(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "towpath.io/v1alpha1", "kind": kind, "metadata": {"name": name}, **fields}


def token(admin: Caller, account: str, *, pod: dict[str, Any] | None = None) -> str:
    """A token as kubelets ask for, bound to the pod where there is one."""
    spec: dict[str, Any] = {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600}
    if pod is not None:
        spec["boundObjectRef"] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        }
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
    _, made = good(admin.call("POST", path, {"spec": spec}))
    return str(made["status"]["token"])


def foreign(caller: Caller, *, query: str = "") -> Answer:
    """An attempt on the other node's status; as a dry run it leaves nothing also where nobody refuses it yet."""
    return caller.call("PATCH", f"{OURS}/nodestatuses/node2/status{query}", {"status": {"inSync": True}})


@pytest.mark.parametrize("name", GOLDEN)
def test_every_object_is_taken(name: str, admin: Caller, tmp_path: Path) -> None:
    """By a dry run on the server, unknown fields refused: nothing is misspelt, and every rule of our kinds holds."""
    for one in rendered("-f", values_file(tmp_path, GOLDEN[name])):
        fresh = {**one, "metadata": {**one["metadata"], "name": f"{one['metadata']['name']}-dry"}}
        if one["metadata"]["name"] == "default":
            fresh = one
        status, said = admin.call("POST", f"{where(one)}?dryRun=All&fieldValidation=Strict", fresh)
        assert status in (201, 409), (one["kind"], said)


def test_an_agent_writes_what_is_its_own(agent: Caller) -> None:
    """Its NodeStatus, its creation included, and the status of its RoutingNode."""
    good(agent.call("POST", f"{OURS}/nodestatuses", ours("NodeStatus", "node1", spec={})))
    good(agent.call("PATCH", f"{OURS}/nodestatuses/node1/status", {"status": {"inSync": True}}))
    good(agent.call("PATCH", f"{OURS}/routingnodes/node1/status", {"status": {"ipv4Address": "192.0.2.1/24"}}))
    good(agent.call("GET", f"{OURS}/nodestatuses/node1"))


def test_an_agent_writes_nothing_of_another_node(agent: Caller, admin: Caller) -> None:
    """Neither kind, neither by creation; the message says who asked for what."""
    status, said = foreign(agent)
    assert status == 403
    assert "the agent of node node1 may write the nodestatuses of its own node only, not node2" in said["message"]
    status, said = agent.call("PATCH", f"{OURS}/routingnodes/node2/status", {"status": {"ipv4Address": "192.0.2.9/24"}})
    assert status == 403
    assert "the routingnodes of its own node only, not node2" in said["message"]
    status, said = agent.call("POST", f"{OURS}/nodestatuses", ours("NodeStatus", "node3", spec={}))
    assert status == 403
    assert "of its own node only, not node3" in said["message"]
    _, found = good(admin.call("GET", f"{OURS}/nodestatuses/node2"))
    assert "status" not in found


def test_the_policy_holds_whatever_the_roles_say(agent: Caller, admin: Caller) -> None:
    """Somebody who gives agents more rights does not give them other nodes: update and delete are refused as well."""
    role = {
        "metadata": {"name": "too-much"},
        "rules": [{"apiGroups": ["towpath.io"], "resources": ["*"], "verbs": ["*"]}],
    }
    subject = {"kind": "ServiceAccount", "name": "towpath-node", "namespace": NAMESPACE}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "too-much"}
    good(admin.call("POST", PATHS["ClusterRole"], role))
    binding = {"metadata": {"name": "too-much"}, "roleRef": reference, "subjects": [subject]}
    good(admin.call("POST", PATHS["ClusterRoleBinding"], binding))
    try:
        wait_for(
            lambda: "may write" in agent.call("DELETE", f"{OURS}/nodestatuses/node2")[1].get("message", ""),
            deadline=60,
            what="the rights have arrived",
        )
        for plural in ("nodestatuses", "routingnodes"):
            assert agent.call("DELETE", f"{OURS}/{plural}/node2")[0] == 403
            _, found = good(admin.call("GET", f"{OURS}/{plural}/node2"))
            found["metadata"]["labels"] = {"by": "node1"}
            assert agent.call("PUT", f"{OURS}/{plural}/node2", found)[0] == 403
            assert agent.call("PATCH", f"{OURS}/{plural}/node2", {"metadata": {"labels": {"by": "node1"}}})[0] == 403
            assert agent.call("DELETE", f"{OURS}/{plural}")[0] == 403
            good(admin.call("GET", f"{OURS}/{plural}/node2"))
        assert agent.call("POST", f"{OURS}/routingnodes", ours("RoutingNode", "node3", spec={}))[0] == 403
    finally:
        admin.call("DELETE", f"{PATHS['ClusterRoleBinding']}/too-much")
        admin.call("DELETE", f"{PATHS['ClusterRole']}/too-much")
    wait_for(lambda: agent.call("GET", f"{OURS}/ipamblocks/x")[0] == 403, deadline=60, what="the rights are gone again")


def test_a_token_that_names_no_node_writes_nothing(
    server: RealKubernetes, admin: Caller, agent: Caller
) -> None:  # after the policy
    """A token of the agents' account that somebody made by hand is no agent's."""
    caller = Caller(server, token(admin, "towpath-node"))
    status, said = caller.call("POST", f"{OURS}/nodestatuses", ours("NodeStatus", "node3", spec={}))
    assert status == 403
    assert "the agent's token names no node" in said["message"]


def test_others_are_not_held_up_by_the_policy(
    server: RealKubernetes, admin: Caller, agent: Caller
) -> None:  # after the policy
    """The controller deletes statuses of nodes that are gone, and administrators do what they like."""
    controller = Caller(server, token(admin, "towpath-controller"))
    good(admin.call("POST", f"{OURS}/nodestatuses", ours("NodeStatus", "gone", spec={})))
    good(controller.call("DELETE", f"{OURS}/nodestatuses/gone"))


FORBIDDEN_TO_AGENTS: list[tuple[str, str, Any]] = [
    ("POST", f"{OURS}/ipamblocks", ours("IPAMBlock", "10-0-0-0-26", spec={"cidr": "10.0.0.0/26", "node": "node1"})),
    ("DELETE", f"{OURS}/ipamblocks/10-0-0-0-26", None),
    ("POST", f"{OURS}/bgppeers", ours("BGPPeer", "x", spec={"peerIP": "192.0.2.1", "asNumber": 65000})),
    ("POST", f"{OURS}/ippools", ours("IPPool", "x", spec={"cidr": "10.1.0.0/16"})),
    ("PATCH", f"{OURS}/ippools/default-ipv4", {"spec": {"disabled": True}}),
    ("PATCH", f"{OURS}/ippools/default-ipv4/status", {"status": {}}),
    ("POST", f"{OURS}/bgpconfigurations", ours("BGPConfiguration", "default", spec={})),
    ("POST", f"{OURS}/routingnodes", ours("RoutingNode", "node1", spec={})),
    ("PATCH", f"{OURS}/routingnodes/node1", {"metadata": {"labels": {"a": "b"}}}),
    ("DELETE", f"{OURS}/nodestatuses/node1", None),
    ("PATCH", "/api/v1/nodes/node1", {"metadata": {"labels": {"a": "b"}}}),
    ("PATCH", "/api/v1/nodes/node1/status", {"status": {}}),
    ("GET", "/api/v1/namespaces/elsewhere/secrets/x", None),
    ("GET", "/api/v1/namespaces/kube-system/secrets/x", None),
    ("GET", "/api/v1/namespaces/elsewhere/secrets", None),
    ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/secrets/x", {"data": {}}),
    ("GET", "/api/v1/secrets", None),
    ("DELETE", "/api/v1/namespaces/elsewhere/pods/x", None),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps", None),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/towpath-controller/token", {"spec": {}}),
    ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/towpath-controller", None),
    ("POST", "/api/v1/namespaces/elsewhere/events", {}),
]


@pytest.mark.parametrize(
    ("method", "path", "body"), FORBIDDEN_TO_AGENTS, ids=[f"{one[0]} {one[1]}" for one in FORBIDDEN_TO_AGENTS]
)
def test_an_agent_may_no_more_than_it_needs(method: str, path: str, body: Any, agent: Caller) -> None:
    """Blocks, nodes, peers and pools are not its to write; Secrets of other namespaces, and lists of them, not its to read."""
    status, said = agent.call(method, path, body)
    assert (status, said.get("reason")) == (403, "Forbidden"), said
    assert "cannot" in said["message"]


def test_an_agent_follows_passwords(agent: Caller, admin: Caller) -> None:
    """Secrets of its own namespace, by name and all together: a watch tells of a rotated one."""
    secret = {"metadata": {"name": "tor"}, "stringData": {"password": "x"}}
    good(admin.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret))
    good(agent.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/tor"))
    good(agent.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets"))
    good(agent.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets?watch=true&resourceVersion=0&timeoutSeconds=1"))


FORBIDDEN_TO_CONTROLLERS: list[tuple[str, str, Any]] = [
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/tor", None),
    ("POST", f"{OURS}/ippools", ours("IPPool", "x", spec={"cidr": "10.1.0.0/16"})),
    ("PATCH", f"{OURS}/bgppeers/x", {"spec": {}}),
    ("POST", f"{OURS}/nodestatuses", ours("NodeStatus", "node1", spec={})),
    ("PATCH", f"{OURS}/nodestatuses/node2/status", {"status": {}}),
    ("DELETE", "/api/v1/nodes/node1", None),
    ("PATCH", "/api/v1/nodes/node1", {"spec": {"unschedulable": True}}),
    ("PATCH", "/api/v1/namespaces/default/services/kubernetes", {"spec": {}}),
    ("PATCH", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/x", {"metadata": {}}),
    ("GET", "/api/v1/pods", None),
    ("DELETE", "/api/v1/namespaces/default/pods/x", None),
    ("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ippools.towpath.io", None),
    ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", None),
    ("PUT", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/others.example.com", {}),
    ("PUT", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/other", {}),
    ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body"), FORBIDDEN_TO_CONTROLLERS, ids=[f"{one[0]} {one[1]}" for one in FORBIDDEN_TO_CONTROLLERS]
)
def test_a_controller_may_no_more_than_it_needs(
    method: str, path: str, body: Any, server: RealKubernetes, admin: Caller
) -> None:
    """No password, no object that people write, no definition but our own, and none of those deleted."""
    status, said = Caller(server, token(admin, "towpath-controller")).call(method, path, body)
    assert (status, said.get("reason")) == (403, "Forbidden"), said
    assert "cannot" in said["message"]


def test_a_controller_changes_nothing_of_a_pool_but_its_mark(server: RealKubernetes, admin: Caller) -> None:
    """RBAC knows no fields: the policy lets it keep a pool and let go of it, and no more."""
    controller = Caller(server, token(admin, "towpath-controller"))
    path = f"{OURS}/ippools/default-ipv4"

    def refused(change: dict[str, Any]) -> bool:
        status, said = controller.call("PATCH", path, change)
        return status == 403 and "cannot change a pool but for its finalizer" in said["message"]

    wait_for(lambda: refused({"spec": {"natOutgoing": True}}), deadline=60, what="the policy is in force")
    assert refused({"metadata": {"labels": {"a": "b"}}})
    assert refused({"metadata": {"annotations": {"towpath.io/acknowledge": "1"}}})
    assert refused({"metadata": {"finalizers": ["example.com/other"]}})
    for finalizers in (["towpath.io/blocks"], None):
        good(controller.call("PATCH", path, {"metadata": {"finalizers": finalizers}}))
    good(admin.call("PATCH", path, {"metadata": {"finalizers": ["example.com/other"]}}))
    assert refused({"metadata": {"finalizers": None}}), "that of somebody else is not its to take off"
    good(admin.call("PATCH", path, {"metadata": {"finalizers": None}, "spec": {"natOutgoing": False}}))


@pytest.mark.parametrize(
    "what",
    [
        "networking.k8s.io/networkpolicies",
        "policy.networking.k8s.io/adminnetworkpolicies",
        "policy.networking.k8s.io/baselineadminnetworkpolicies",
        "policy.networking.k8s.io/clusternetworkpolicies",
        *(
            f"{group}/{kind}"
            for group in ("crd.projectcalico.org", "projectcalico.org")
            for kind in ("networkpolicies", "globalnetworkpolicies")
        ),
    ],
)
def test_a_controller_may_look_at_policies(what: str, server: RealKubernetes, admin: Caller) -> None:
    """It lists those of everybody, whether they are served or not, and changes none."""
    caller = Caller(server, token(admin, "towpath-controller"))
    group, _, resource = what.partition("/")

    def may(verb: str) -> bool:
        spec = {"resourceAttributes": {"group": group, "resource": resource, "verb": verb}}
        _, said = good(caller.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": spec}))
        return bool(said["status"]["allowed"])

    assert [verb for verb in ("list", "watch", "create", "update", "patch", "delete") if may(verb)] == ["list"]


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_namespace_that_enforces_less_refuses_the_pods(level: str, admin: Caller) -> None:
    """What the page on installing says of Pod Security: the message that one sees, and the label that helps."""
    namespace = f"enforcing-{level}"
    labels = {"pod-security.kubernetes.io/enforce": level}
    good(admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": labels}}))
    path = f"/api/v1/namespaces/{namespace}"
    pods = {}
    for kind, name in (("DaemonSet", "towpath-node"), ("Deployment", "towpath-controller")):
        template = find(rendered(), kind, name)["spec"]["template"]
        account = template["spec"]["serviceAccountName"]
        good(admin.call("POST", f"{path}/serviceaccounts", {"metadata": {"name": account}}))
        pods[name] = {"metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
        status, said = admin.call("POST", f"{path}/pods", pods[name])
        assert status == 403
        assert f'violates PodSecurity "{level}:latest"' in said["message"]
        assert "host namespaces (hostNetwork=true)" in said["message"]
    good(admin.call("PATCH", path, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}))
    for pod in pods.values():
        good(admin.call("POST", f"{path}/pods", pod))


def test_the_pods_of_helm_test_pass_restricted(admin: Caller) -> None:
    """They are ordinary pods on the pod network, as strict a namespace would take them; the sysctl is a safe one."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    good(admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ordinary", "labels": labels}}))
    good(admin.call("POST", "/api/v1/namespaces/ordinary/serviceaccounts", {"metadata": {"name": "default"}}))
    spec = find(rendered(), "DaemonSet", "towpath-test-path")["spec"]["template"]["spec"]
    good(admin.call("POST", "/api/v1/namespaces/ordinary/pods", {"metadata": {"name": "path"}, "spec": spec}))
