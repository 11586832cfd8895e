"""Single objects: what holds on the fake, on the embedded server and on the real one alike."""

import asyncio

import pytest

from towpath.controller.ports import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    InvalidObjectError,
    NotFoundError,
)


async def test_create_gives_identity(api, block):
    """A created object has uid, resourceVersion, generation 1, a time, and the schema's defaults."""
    made = await api.create("IPAMBlock", block())
    metadata = made["metadata"]
    assert metadata["uid"]
    assert metadata["resourceVersion"].isdecimal()
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"].endswith("Z")
    assert made["spec"]["state"] == "Active"
    assert await api.get("IPAMBlock", "10-0-0-0-26") == made


async def test_create_is_a_claim(api, block):
    """Of many that create one name at once exactly one succeeds."""
    results = await asyncio.gather(
        *(api.create("IPAMBlock", block(node=f"node-{index}")) for index in range(8)), return_exceptions=True
    )
    winners = [result for result in results if isinstance(result, dict)]
    assert len(winners) == 1
    assert sum(isinstance(result, AlreadyExistsError) for result in results) == 7
    assert (await api.get("IPAMBlock", "10-0-0-0-26"))["spec"]["node"] == winners[0]["spec"]["node"]


async def test_absent(api):
    """What is not there gives NotFoundError for every verb, with verb and kind in the message."""
    for call in (
        api.get("BGPPeer", "none"),
        api.delete("BGPPeer", "none"),
        api.patch("BGPPeer", "none", {"spec": {"passive": True}}),
        api.patch_status("BGPPeer", "none", {"status": {}}),
    ):
        with pytest.raises(NotFoundError, match=r"(get|delete|patch|patch.status).*BGPPeer none") as caught:
            await call
        assert caught.value.status == 404


async def test_replace_under_version(api, block):
    """A replace with a stale resourceVersion is a conflict, and changes nothing."""
    first = await api.create("IPAMBlock", block())
    second = await api.replace("IPAMBlock", {**first, "spec": {**first["spec"], "state": "Draining"}})
    assert second["metadata"]["generation"] == 2
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    with pytest.raises(ConflictError):
        await api.replace("IPAMBlock", {**first, "spec": {**first["spec"], "state": "Quarantined"}})
    assert (await api.get("IPAMBlock", "10-0-0-0-26"))["spec"]["state"] == "Draining"


async def test_replace_needs_version(api, block):
    """Our kinds are never replaced blindly."""
    await api.create("IPAMBlock", block())
    with pytest.raises(InvalidObjectError):
        await api.replace("IPAMBlock", block(state="Draining"))


async def test_no_change_no_version(api, block):
    """Writing what is there already makes no new version."""
    first = await api.create("IPAMBlock", block())
    again = await api.replace("IPAMBlock", first)
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    patched = await api.patch("IPAMBlock", "10-0-0-0-26", {"spec": {"node": "a"}})
    assert patched["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_status_is_apart(api):
    """Writes of the object leave the status, writes of the status leave the rest, and only the former count generations."""
    made = await api.create("BGPPeer", _peer() | {"status": {"conditions": [_condition("True")]}})
    assert "status" not in made
    name = made["metadata"]["name"]
    changed = await api.replace_status(
        "BGPPeer",
        {**made, "spec": {"peerIP": "10.0.0.99", "asNumber": 1}, "status": {"conditions": [_condition("True")]}},
    )
    assert changed["spec"] == made["spec"]
    assert changed["status"]["conditions"][0]["status"] == "True"
    assert changed["metadata"]["generation"] == 1
    with pytest.raises(ConflictError):
        await api.replace_status("BGPPeer", {**made, "status": {"conditions": [_condition("False")]}})
    patched = await api.patch("BGPPeer", name, {"spec": {"passive": True}, "status": {"conditions": []}})
    assert patched["status"]["conditions"][0]["status"] == "True"
    assert patched["metadata"]["generation"] == 2


async def test_status_without_version(api):
    """A status without a resourceVersion replaces whatever is there, as a whole."""
    await api.create("BGPPeer", _peer())
    await api.patch_status("BGPPeer", "tor", {"status": {"conditions": [_condition("True")]}})
    body = {"metadata": {"name": "tor"}, "status": {"conditions": []}}
    assert (await api.replace_status("BGPPeer", body))["status"] == {"conditions": []}


async def test_merge_patch(api):
    """Null removes, objects merge, lists and scalars replace; a resourceVersion in it must be the newest."""
    made = await api.create(
        "BGPPeer", _peer(description="old") | {"metadata": {"name": "tor", "labels": {"a": "1", "b": "2"}}}
    )
    patched = await api.patch(
        "BGPPeer",
        "tor",
        {"metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"description": None, "asNumber": 65001}},
    )
    assert patched["metadata"]["labels"] == {"b": "2", "c": "3"}
    assert "description" not in patched["spec"]
    assert patched["spec"]["asNumber"] == 65001
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "spec": {"passive": True}}
    with pytest.raises(ConflictError):
        await api.patch("BGPPeer", "tor", stale)


async def test_delete_preconditions(api, block):
    """A delete with another uid or resourceVersion than the object's is a conflict and deletes nothing."""
    made = (await api.create("IPAMBlock", block()))["metadata"]
    await api.patch("IPAMBlock", made["name"], {"spec": {"state": "Draining"}})
    with pytest.raises(ConflictError):
        await api.delete("IPAMBlock", made["name"], uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(ConflictError):
        await api.delete("IPAMBlock", made["name"], uid=made["uid"], resource_version=made["resourceVersion"])
    newest = (await api.get("IPAMBlock", made["name"]))["metadata"]
    await api.delete("IPAMBlock", made["name"], uid=made["uid"], resource_version=newest["resourceVersion"])
    with pytest.raises(NotFoundError):
        await api.get("IPAMBlock", made["name"])


async def test_recreated_has_another_uid(api, block):
    """An object of the same name is another object."""
    first = await api.create("IPAMBlock", block())
    await api.delete("IPAMBlock", "10-0-0-0-26")
    second = await api.create("IPAMBlock", block())
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    with pytest.raises(ConflictError):
        await api.replace("IPAMBlock", first)


async def test_finalizers(api):
    """An object with a finalizer is marked when it is deleted, and goes with its last finalizer."""
    body = _peer()
    body["metadata"]["finalizers"] = ["towpath.io/test"]
    await api.create("BGPPeer", body)
    await api.delete("BGPPeer", "tor")
    marked = await api.get("BGPPeer", "tor")
    assert marked["metadata"]["deletionTimestamp"]
    await api.patch("BGPPeer", "tor", {"metadata": {"finalizers": None}})
    with pytest.raises(NotFoundError):
        await api.get("BGPPeer", "tor")


async def test_unknown_fields_are_pruned(api):
    """A field that the schema does not know is not stored."""
    made = await api.create("BGPPeer", _peer(colour="green"))
    assert "colour" not in made["spec"]


async def test_nodes(api):
    """A Node's addresses are in its status; its spec takes podCIDRs."""
    await api.create("Node", {"metadata": {"name": "n1", "labels": {"rack": "1"}}})
    await api.patch_status("Node", "n1", {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}})
    found = await api.get("Node", "n1")
    assert found["status"]["addresses"][0]["address"] == "192.0.2.1"
    assert found["metadata"]["labels"]["rack"] == "1"


async def test_events(api):
    """Events about cluster-scoped objects live in namespace default."""
    event = {
        "metadata": {"name": "tor.1", "namespace": "default"},
        "involvedObject": {"kind": "BGPPeer", "name": "tor", "apiVersion": "towpath.io/v1alpha1"},
        "reason": "Established",
        "message": "up",
        "type": "Normal",
        "source": {"component": "towpath"},
    }
    made = await api.create("Event", event, namespace="default")
    try:
        patched = await api.patch("Event", "tor.1", {"count": 2}, namespace="default")
        assert patched["count"] == 2
        assert any(
            item["metadata"]["uid"] == made["metadata"]["uid"]
            for item in (await api.list("Event", namespace="default")).items
        )
    finally:
        await api.delete("Event", "tor.1", namespace="default")


@pytest.mark.parametrize(
    ("kind", "name", "spec"),
    [
        ("BGPConfiguration", "other", {}),
        ("BGPConfiguration", "default", {"asNumber": "no number"}),
        ("BGPConfiguration", "default", {"listenPort": 0}),
        ("BGPConfiguration", "default", {"bindMode": "Some"}),
        ("BGPConfiguration", "default", {"timers": {"holdTime": "2s"}}),
        ("BGPPeer", "tor", {"peerIP": "tor.example.net", "asNumber": 65000}),
        ("BGPPeer", "tor", {"asNumber": 65000}),
        ("BGPPeer", "tor", {"peerIP": "10.0.0.9"}),
        ("BGPPeer", "tor", {"peerIP": "10.0.0.9", "asNumber": 65000, "node": "a", "nodeSelector": "all()"}),
        ("BGPPeer", "tor", {"peerIP": "10.0.0.9", "asNumber": 65000, "passive": "yes"}),
        ("BGPPeer", "tor", {"peerIP": "10.0.0.9", "asNumber": 65000, "description": "x" * 300}),
        ("IPPool", "pool", {}),
        ("IPPool", "pool", {"cidr": "10.0.0.0/16", "blockSize": 15}),
        ("IPPool", "pool", {"cidr": "10.0.0.0/26", "blockSize": 24}),
        ("IPPool", "pool", {"cidr": "10.0.0.0"}),
        ("IPAMConfiguration", "mine", {}),
        ("IPAMConfiguration", "default", {"maxBlocksPerHost": -1}),
        ("IPAMBlock", "10-0-0-0-27", {"cidr": "10.0.0.0/26", "node": "a"}),
        ("IPAMBlock", "10-0-0-0-26", {"cidr": "10.0.0.0/26"}),
        ("IPAMBlock", "10-0-0-0-26", {"cidr": "10.0.0.0/26", "node": "a", "state": "Gone"}),
        ("RoutingNode", "a", {"bgp": {"ipv4Address": "nowhere"}}),
        ("RoutingNode", "A_B", {}),
    ],
)
async def test_bad_objects_are_refused(api, kind, name, spec):
    """Each is refused by schema or rule, and not stored."""
    with pytest.raises(InvalidObjectError, match=kind) as caught:
        await api.create(kind, {"metadata": {"name": name}, "spec": spec})
    assert caught.value.status in (400, 422)
    with pytest.raises(ApiError):
        await api.get(kind, name)


@pytest.mark.parametrize(
    ("kind", "body", "patch"),
    [
        ("IPPool", {"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16"}}, {"spec": {"cidr": "10.1.0.0/16"}}),
        ("IPPool", {"metadata": {"name": "p"}, "spec": {"cidr": "10.0.0.0/16"}}, {"spec": {"blockSize": 27}}),
        (
            "IPAMBlock",
            {"metadata": {"name": "10-0-0-0-26"}, "spec": {"cidr": "10.0.0.0/26", "node": "a"}},
            {"spec": {"cidr": "10.0.1.0/26"}},
        ),
    ],
)
async def test_immutable_fields(api, kind, body, patch):
    """Some fields never change once an object is there."""
    await api.create(kind, body)
    with pytest.raises(InvalidObjectError):
        await api.patch(kind, body["metadata"]["name"], patch)


def _peer(**spec):
    return {"metadata": {"name": "tor"}, "spec": {"peerIP": "10.0.0.9", "asNumber": 65000, **spec}}


def _condition(status):
    return {
        "type": "Accepted",
        "status": status,
        "reason": "Test",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
