"""A Workload: a pod as a peer selects it, by its labels and by where it runs, with the addresses that it speaks from."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from towpath.model.net import Address, parse_address
from towpath.model.service import key_of

NAMESPACE = ("towpath.io/namespace", "projectcalico.org/namespace")
SERVICE_ACCOUNT = ("towpath.io/service-account", "projectcalico.org/serviceaccount")
"""Labels that every pod has for selectors, whatever labels it gives itself: in our words and in Calico's."""


NETWORK_STATUS = ("k8s.v1.cni.cncf.io/network-status", "k8s.v1.cni.cncf.io/networks-status")
"""Annotations in which Multus or the like says what interfaces it gave a pod (Network Plumbing Working Group's convention)."""


class Workload(Struct, frozen=True):
    """A pod that runs and has addresses; ``key`` is ``NAMESPACE/NAME``."""

    key: str
    node: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    beside: tuple[Address, ...] = ()
    """Those on networks beside its own, as far as somebody has written them on it; its own may be among them."""


def decode_workload(body: Mapping[str, Any]) -> Workload | None:
    """A pod of the API; None where it has no address of its own: not yet, not any more, or because it has the node's."""
    metadata, spec, status = mapping(body["metadata"]), mapping(body.get("spec")), mapping(body.get("status"))
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed") or not spec.get("nodeName"):
        return None
    listed = status.get("podIPs")
    texts = [mapping(one).get("ip") for one in listed] if isinstance(listed, list) else [status.get("podIP")]
    addresses: dict[Address, None] = {}
    for text in texts:
        with contextlib.suppress(ValueError):
            addresses[parse_address(str(text))] = None
    if not addresses:
        return None
    key = key_of(body)
    given = dict.fromkeys(NAMESPACE, key.partition("/")[0])
    given |= dict.fromkeys(SERVICE_ACCOUNT, str(spec.get("serviceAccountName") or "default"))
    labels = {str(name): str(value) for name, value in mapping(metadata.get("labels")).items()}
    beside = tuple(_beside(mapping(metadata.get("annotations"))))
    return Workload(key, str(spec["nodeName"]), {**labels, **given}, tuple(addresses), beside)


def _beside(annotations: Mapping[str, Any]) -> Iterator[Address]:
    for name in NETWORK_STATUS:
        try:
            listed = json.loads(annotations.get(name) or "[]")
        except (ValueError, TypeError, RecursionError):
            continue
        for one in listed if isinstance(listed, list) else ():
            texts = mapping(one).get("ips")
            for text in texts if isinstance(texts, list) else ():
                with contextlib.suppress(ValueError):
                    yield parse_address(str(text))


def mapping(value: Any) -> Mapping[str, Any]:
    """What should be an object; one without fields where it is none, for others write it."""
    return value if isinstance(value, Mapping) else {}
