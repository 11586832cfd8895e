"""Leader election and conditions: what holds on the fake, on the embedded server and on the real one alike."""

import asyncio
import contextlib

import pytest

from towpath.controller.kube.conditions import set_condition
from towpath.controller.kube.events import Events, Subject
from towpath.controller.kube.lease import Lease, Terms
from towpath.controller.ports import ConflictError, NotFoundError
from towpath.model.resource import Condition

TERMS = Terms(duration=600, deadline=500, retry=0.1)  # no stall of the machine ends a lease, no wait outlasts one
NOW = "2026-01-01T00:00:00Z"


@pytest.fixture
async def lease_name(api):
    yield "towpath-test"
    with contextlib.suppress(NotFoundError):
        await api.delete("Lease", "towpath-test", namespace="default")


async def test_one_leads_and_hands_over(api, lease_name, settled):
    """Of two candidates one leads; when it leaves the other leads at once; never both."""
    leases = [Lease(api, namespace="default", name=lease_name, identity=name, terms=TERMS) for name in ("one", "two")]
    both = []

    def told(_leading):
        both.append(all(lease.leading for lease in leases))

    tasks = [asyncio.create_task(lease.run(told)) for lease in leases]
    try:
        await settled(lambda: any(lease.leading for lease in leases))
        for _ in range(20):
            assert sum(lease.leading for lease in leases) == 1
            await asyncio.sleep(0.05)
        first = next(index for index, lease in enumerate(leases) if lease.leading)
        tasks[first].cancel()
        await settled(lambda: leases[1 - first].leading)
        assert not leases[first].leading
        held = await api.get("Lease", lease_name, namespace="default")
        assert held["spec"]["holderIdentity"] == leases[1 - first].identity
        assert held["spec"]["leaseTransitions"] >= 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not any(both)


async def test_conditions_are_written_on_change_only(api):
    """The same condition again writes nothing; the transition time stays while the status does; others stay."""
    made = await api.create("BGPPeer", {"metadata": {"name": "tor"}, "spec": {"peerIP": "10.0.0.9", "asNumber": 65000}})
    good = Condition(type="Accepted", status="True", reason="Accepted")
    assert await set_condition(api, "BGPPeer", name="tor", condition=good, now=NOW, generation=1)
    version = (await api.get("BGPPeer", "tor"))["metadata"]["resourceVersion"]
    assert not await set_condition(api, "BGPPeer", name="tor", condition=good, now="2027-01-01T00:00:00Z", generation=1)
    assert (await api.get("BGPPeer", "tor"))["metadata"]["resourceVersion"] == version
    other = Condition(type="Other", status="False", reason="Test", message="m")
    assert await set_condition(api, "BGPPeer", name="tor", condition=other, now=NOW)
    bad = Condition(type="Accepted", status="False", reason="InvalidSpec", message="spec.asNumber: no")
    later = "2027-01-01T00:00:00Z"
    assert await set_condition(api, "BGPPeer", name="tor", condition=bad, now=later, generation=2)
    found = await api.get("BGPPeer", "tor")
    accepted, untouched = sorted(found["status"]["conditions"], key=lambda one: one["type"])
    assert (accepted["status"], accepted["lastTransitionTime"], accepted["observedGeneration"]) == ("False", later, 2)
    assert untouched["lastTransitionTime"] == NOW
    assert not await set_condition(api, "BGPPeer", name="tor", condition=good, now=NOW, uid="another")
    assert found["metadata"]["generation"] == made["metadata"]["generation"]


async def test_conditions_of_an_object_that_changes(api):
    """Between reading and writing somebody else wrote: a conflict, nothing is lost."""
    await api.create("BGPPeer", {"metadata": {"name": "tor"}, "spec": {"peerIP": "10.0.0.9", "asNumber": 65000}})

    class Interfering:
        async def get(self, kind, name):
            found = await api.get(kind, name)
            await api.patch(kind, name, {"spec": {"passive": True}})
            return found

        def __getattr__(self, name):
            return getattr(api, name)

    condition = Condition(type="Accepted", status="True", reason="Accepted")
    with pytest.raises(ConflictError):
        await set_condition(Interfering(), "BGPPeer", name="tor", condition=condition, now=NOW)


async def test_events_are_taken(api):
    """What Events writes is an Event to every server, about cluster-scoped objects and Nodes."""
    events = Events(api, component="towpath-controller", host="h")
    events.emit(Subject("BGPPeer", "tor", "u"), reason="Lost", message="gone")
    events.emit(Subject("Node", "n1", api_version="v1"), reason="Found", message="here", kind="Normal")
    await events.flush()
    items = [
        item for item in (await api.list("Event", namespace="default")).items if item["reason"] in ("Lost", "Found")
    ]
    for item in items:
        await api.delete("Event", item["metadata"]["name"], namespace="default")
    assert {(item["involvedObject"]["name"], item["type"]) for item in items} == {("tor", "Warning"), ("n1", "Normal")}
