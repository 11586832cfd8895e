"""Objects that are older than the checks: the real API server lets their conditions be written, and their correction."""

import copy
from typing import Any

import pytest

from towpath.controller.kube.conditions import set_conditions
from towpath.controller.kube.connect import connect
from towpath.controller.ports import InvalidObjectError
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import wait_for
from towpath.model.crd import crds
from towpath.model.resource import Condition

NOW = "2026-01-01T00:00:00Z"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OLD = {
    "BGPPeer": ("peer", {"peerIP": "tor.example.com", "asNumber": 0, "sourceAddress": "Somewhere"}),
    "BGPConfiguration": ("default", {"asNumber": 65535, "timers": {"holdTime": "1s"}}),
    "IPPool": ("pool", {"cidr": "10.0.0.1/16"}),
    "IPAMConfiguration": ("default", {"growAtPercent": 0}),
}
REASON = Condition(type="Accepted", status="False", reason="InvalidSpec", message="m", observed_generation=1)


def lenient(crd: dict[str, Any]) -> dict[str, Any]:
    """The definition as it would be without any check of the specification."""
    made = copy.deepcopy(crd)
    schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema.pop("x-kubernetes-validations", None)
    schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return made


async def test_conditions_can_be_written_to_objects_that_would_be_refused_today() -> None:
    """Of every kind that users write: the status is taken, the bad specification stays. Only a bad name bars the status too."""
    definitions = {crd["spec"]["names"]["kind"]: crd for crd in crds() if crd["spec"]["names"]["kind"] in OLD}
    with RealKubernetes() as kubernetes:
        for crd in definitions.values():
            kubernetes.request("POST", CRDS, body=lenient(crd))
        async with await connect(kubeconfig=kubernetes.kubeconfig) as api:

            async def tell(kind: str, name: str) -> dict[str, Any]:
                uid = (await api.get(kind, name))["metadata"]["uid"]
                await set_conditions(api, kind, name=name, wanted=(REASON,), now=NOW, uid=uid)
                return await api.get(kind, name)

            for kind, (name, spec) in OLD.items():
                plural = definitions[kind]["spec"]["names"]["plural"]
                wait_for(lambda plural=plural: served(kubernetes, plural), deadline=20, what=f"{kind} is served")
                await api.create(kind, custom(kind, name, spec))
            await api.create("BGPConfiguration", custom("BGPConfiguration", "main", {}))
            for crd in definitions.values():
                path = f"{CRDS}/{crd['metadata']['name']}"
                kubernetes.request("PUT", path, body=kubernetes.request("GET", path) | {"spec": crd["spec"]})
            for kind, (name, spec) in OLD.items():
                crd = definitions[kind]
                wait_for(
                    lambda crd=crd, spec=spec: refused(kubernetes, crd, spec), deadline=20, what=f"{kind} is checked"
                )
                after = await tell(kind, name)
                assert [one["reason"] for one in after["status"]["conditions"]] == ["InvalidSpec"]
                assert {key: after["spec"][key] for key in spec} == spec
            with pytest.raises(InvalidObjectError, match="name must be default"):
                await tell("BGPConfiguration", "main")


def served(kubernetes: RealKubernetes, plural: str) -> bool:
    """Whether the kind can be asked for."""
    try:
        kubernetes.request("GET", f"/apis/towpath.io/v1alpha1/{plural}")
    except OSError:
        return False
    return True


def refused(kubernetes: RealKubernetes, crd: dict[str, Any], spec: dict[str, Any]) -> bool:
    """Whether a new object like the old one is refused by now."""
    names = crd["spec"]["names"]
    body = custom(names["kind"], "new", spec)
    try:
        kubernetes.request("POST", f"/apis/towpath.io/v1alpha1/{names['plural']}?dryRun=All", body=body)
    except OSError:
        return True
    return False
