"""The real API server refuses what our decoder refuses, and takes what it takes: one table for both."""

import json
import urllib.error
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.model.cases import BAD, GOOD, Case
from tests.unit.model.schema_cases import schema_cases
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import run
from towpath.lab.tools import kubectl
from towpath.model.crd import crds
from towpath.model.decode import decode, encode
from towpath.model.kinds.kind import API_VERSION
from towpath.model.kinds.registry import KINDS

Judge = Callable[[Case], tuple[int, dict[str, Any]]]
"""Gives status and body of the server's answer to a case."""


@pytest.fixture(scope="module")
def server() -> Iterator[RealKubernetes]:
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        yield kubernetes


@pytest.fixture(scope="module")
def judged(server: RealKubernetes) -> Judge:
    """What the server says of each case; it is asked once, and keeps nothing of it."""
    said: dict[str, tuple[int, dict[str, Any]]] = {}

    def judge(case: Case) -> tuple[int, dict[str, Any]]:
        key = json.dumps((case.kind, case.name, case.spec, case.before))
        if key not in said:
            said[key] = offer(server, case)
        return said[key]

    return judge


def answer(
    server: RealKubernetes, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and body, refusals included. Unknown fields are refused, as kubectl asks for."""
    try:
        return 200, server.request(method, f"/apis/{API_VERSION}/{path}", body=body)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def offer(server: RealKubernetes, case: Case) -> tuple[int, dict[str, Any]]:
    """Create the object, or change it from what it was, without leaving anything."""
    plural = KINDS[case.kind].plural
    body: dict[str, Any] = {"apiVersion": API_VERSION, "kind": case.kind, "metadata": {"name": case.name}}
    if case.spec is not None:
        body["spec"] = case.spec
    if case.before is None:
        return answer(server, "POST", f"{plural}?fieldValidation=Strict&dryRun=All", body)
    code, before = answer(server, "POST", plural, body | {"spec": case.before})
    assert code == 200, before
    body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
    try:
        return answer(server, "PUT", f"{plural}/{case.name}?fieldValidation=Strict", body)
    finally:
        answer(server, "DELETE", f"{plural}/{case.name}")


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.id)
def test_good_objects_are_taken(server: RealKubernetes, case: Case) -> None:
    """What we decode the API server takes, and what it makes of it (defaults filled in) means the same to us."""
    code, taken = offer(server, case)
    assert code == 200, taken
    given = decode(case.kind, {"metadata": {"name": case.name}, "spec": case.spec})
    assert decode(case.kind, taken).spec == given.spec
    code, written = answer(
        server, "POST", f"{KINDS[case.kind].plural}?fieldValidation=Strict&dryRun=All", encode(given)
    )  # what we write ourselves, defaults left out
    assert code == 200, written


@pytest.mark.parametrize("case", [*BAD, *schema_cases()], ids=lambda case: case.id)
def test_bad_objects_are_refused(judged: Judge, case: Case) -> None:
    """What the API server can tell is refused before it is stored; the table names the few things that it cannot."""
    code, said = judged(case)
    if case.only == "decode":
        assert code == 200
    else:
        assert code in (400, 422), said
        assert said["message"]


def test_every_expression_is_heard(judged: Judge) -> None:
    """For each CEL rule of each kind there is a case in the table to which the API server answers with its message."""
    said: dict[str, str] = {}
    for case in (*BAD, *schema_cases()):
        said[case.kind] = said.get(case.kind, "") + judged(case)[1].get("message", "")
    silent = [
        (kind, message)
        for kind, crd in ((one["spec"]["names"]["kind"], one) for one in crds())
        for message in messages(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        if message not in said[kind]
    ]
    assert silent == []


def messages(schema: dict[str, Any]) -> Iterator[str]:
    """The messages of all rules in a schema."""
    yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
    for inner in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else ())):
        yield from messages(inner)


def test_a_status_carries_conditions(server: RealKubernetes) -> None:
    """Every kind that users write has a status with conditions, apart from its spec."""
    for kind in KINDS.values():
        if kind.status is not None:
            continue
        case = next(one for one in GOOD if one.kind == kind.name and one.spec)
        path = f"{kind.plural}/{case.name}"
        body = {"apiVersion": API_VERSION, "kind": kind.name, "metadata": {"name": case.name}, "spec": case.spec}
        code, made = answer(server, "POST", kind.plural, body)
        assert code == 200, made
        condition = {
            "type": "Accepted",
            "status": "False",
            "reason": "InvalidSpec",
            "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
        made["status"] = {"conditions": [condition]}
        code, made = answer(server, "PUT", f"{path}/status?fieldValidation=Strict", made)
        assert code == 200, made
        assert made["status"]["conditions"] == [condition]
        answer(server, "DELETE", path)


REPORTS: dict[str, tuple[dict[str, Any], str]] = {
    "fewer pods than none": ({"wantedAddresses": -1}, "status.wantedAddresses"),
    "more pods than any node has": ({"wantedAddresses": 65536}, "status.wantedAddresses"),
    "fewer than none of a pool": ({"poolNeeds": [{"pools": ["a"], "pods": -1}]}, "status.poolNeeds[0].pods"),
    "more that wait than any node has": (
        {"poolNeeds": [{"pools": ["a"], "pods": 1}, {"pools": ["b"], "waiting": 1 << 40}]},
        "status.poolNeeds[1].waiting",
    ),
    "endless needs": ({"poolNeeds": [{"pools": []}] * 4097}, "status.poolNeeds"),
    "a need of endless pools": ({"poolNeeds": [{"pools": ["a"] * 4097}]}, "status.poolNeeds[0].pools"),
    "endless addresses": ({"requestedAddresses": ["10.0.0.1"] * 65536}, "status.requestedAddresses"),
}


@pytest.mark.parametrize("case", REPORTS)
def test_a_report_of_more_than_can_be_is_refused(server: RealKubernetes, case: str) -> None:
    """What no node can need the API server does not store, whoever writes it, and names the field; what can be it takes."""
    said, field = REPORTS[case]
    body = {"apiVersion": API_VERSION, "kind": "NodeStatus", "metadata": {"name": "liar"}, "spec": {}}
    code, made = answer(server, "POST", "nodestatuses", body)
    assert code == 200, made
    try:
        code, refused = answer(server, "PUT", "nodestatuses/liar/status", made | {"status": said})
        assert code == 422, refused
        assert f"{field}: " in refused["message"]
        most = {"pools": ["a"], "pods": 65535, "waiting": 65535}
        able = {"wantedAddresses": 65535, "poolNeeds": [most], "requestedAddresses": ["10.0.0.1"]}
        code, taken = answer(server, "PUT", "nodestatuses/liar/status?fieldValidation=Strict", made | {"status": able})
        assert code == 200, taken
    finally:
        answer(server, "DELETE", "nodestatuses/liar")


def test_kubectl_get_prints_our_columns(server: RealKubernetes) -> None:
    """An AS number prints in its column, written as a number or as text."""
    for name, number in (("p1", 65000), ("p2", "65000.1")):
        spec = {"peerIP": "10.0.0.254", "asNumber": number}
        body = {"apiVersion": API_VERSION, "kind": "BGPPeer", "metadata": {"name": name}, "spec": spec}
        code, made = answer(server, "POST", "bgppeers", body)
        assert code == 200, made
    printed = run(str(kubectl()), "--kubeconfig", str(server.kubeconfig), "get", "bgpp")
    head, *rows = (line.split() for line in printed.splitlines())
    assert head == ["NAME", "PEER", "AS", "NODE", "ACCEPTED", "RESOLVED", "CONSISTENT", "AGE"]
    assert [row[:3] for row in rows] == [["p1", "10.0.0.254", "65000"], ["p2", "10.0.0.254", "65000.1"]]
    for name in ("p1", "p2"):
        answer(server, "DELETE", f"bgppeers/{name}")
