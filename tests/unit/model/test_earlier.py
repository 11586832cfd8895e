"""What the release before this one stored: its definitions, as recorded, against ours."""

import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.tree import RECORDED
from towpath.controller.conditions import USER_KINDS
from towpath.model.crd import crds
from towpath.model.decode import decode
from towpath.model.kinds.kind import API_VERSION
from towpath.model.kinds.peer import Shutdown

CHANGED = {("BGPPeer", "spec.shutdown"): "Kind.earlier reads the boolean that it was"}
"""Fields that have another form than before, and what became of the stored ones."""


def recorded() -> dict[str, dict[str, Any]]:
    """The definitions of the release before this one by kind."""
    found = {}
    with tarfile.open(RECORDED) as archive:
        for member in archive:
            if "/crds/" in member.name and member.isfile():
                body = yaml.safe_load(archive.extractfile(member))  # type: ignore[arg-type]  # it is a file
                found[body["spec"]["names"]["kind"]] = body
    return found


EARLIER = recorded()
NOW = {body["spec"]["names"]["kind"]: body for body in crds()}


def schema(definition: dict[str, Any]) -> dict[str, Any]:
    (version,) = definition["spec"]["versions"]
    assert (version["name"], version["storage"]) == ("v1alpha1", True)
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def forms(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Every field by its path, with its type."""
    for name, inner in node.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        yield place, inner.get("type", "integer or string")
        yield from forms(inner, place)
    if "items" in node:
        yield f"{path}[]", node["items"].get("type", "integer or string")
        yield from forms(node["items"], f"{path}[]")


def defaults(node: dict[str, Any]) -> dict[str, Any]:
    """What the API server stores where nothing is said."""
    found = {}
    for name, inner in node.get("properties", {}).items():
        if "default" in inner:
            found[name] = inner["default"]
        elif inner.get("type") == "object" and name in node.get("required", ()):
            found[name] = defaults(inner)
    return found


def test_the_recorded_release_is_another_one() -> None:
    """Nothing would be shown by a comparison with ourselves."""
    assert EARLIER
    assert EARLIER != NOW


@pytest.mark.parametrize("kind", EARLIER)
def test_no_field_is_taken_away_or_has_another_form(kind: str) -> None:
    """Objects stay as they were stored: what the release before took, this one takes."""
    ours = dict(forms(schema(NOW[kind])))
    others = {path: form for path, form in forms(schema(EARLIER[kind])) if ours.get(path) != form}
    assert {path for path in others if (kind, path) not in CHANGED} == set()


@pytest.mark.parametrize("kind", sorted(EARLIER.keys() & set(USER_KINDS)))
def test_what_the_api_server_stored_by_itself_is_understood(kind: str) -> None:
    """The defaults of the release before are no reason to refuse an object."""
    stored = defaults(schema(EARLIER[kind])["properties"]["spec"])
    needed = {"BGPPeer": {"peerIP": "192.0.2.1", "asNumber": 65000}, "IPPool": {"cidr": "10.0.0.0/16"}}.get(kind, {})
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "default"}, "spec": {**stored, **needed}}
    assert decode(kind, body).spec == decode(kind, {**body, "spec": needed}).spec


@pytest.mark.parametrize(("stored", "meant"), [(False, None), (True, Shutdown()), ({}, Shutdown())])
def test_a_session_that_was_shut_down_stays_so(stored: object, meant: Shutdown | None) -> None:
    """``shutdown`` was a boolean; what is stored of it means the same."""
    spec = {"peerIP": "192.0.2.1", "asNumber": 65000, "shutdown": stored}
    body = {"apiVersion": API_VERSION, "kind": "BGPPeer", "metadata": {"name": "tor"}, "spec": spec}
    assert decode("BGPPeer", body).spec.shutdown == meant
