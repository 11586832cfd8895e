"""Events: coalesced, limited, never in the way."""

from towpath.controller.kube.events import EventLimits, Events, Subject
from towpath.lab.fake_api import FakeApi, Fault

TOR = Subject("BGPPeer", "tor")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


async def _items(api):
    return (await api.list("Event", namespace="default")).items


async def test_the_same_words_are_one_event():
    """Repeated within a minute it is written once; after that its count grows."""
    clock, api = Clock(), FakeApi()
    events = Events(api, component="towpath-controller", clock=clock)
    for _ in range(5):
        events.emit(TOR, reason="Lost", message="gone")
    await events.flush()
    events.emit(TOR, reason="Lost", message="gone")
    await events.flush()
    (item,) = await _items(api)
    assert item["count"] == 5
    clock.now = 61.0
    await events.flush()
    (item,) = await _items(api)
    assert item["count"] == 6
    assert item["involvedObject"]["name"] == "tor"


async def test_a_flood_is_limited():
    """Of many different ones a burst is written, then one at a time; what is beyond all memory is counted."""
    clock, api = Clock(), FakeApi()
    events = Events(api, component="c", clock=clock, limits=EventLimits(burst=3, refill=10.0, remembered=20))
    for index in range(100):
        events.emit(TOR, reason="Lost", message=f"{index}")
    await events.flush()
    assert len(await _items(api)) == 3
    assert events.dropped == 80
    clock.now = 10.0
    await events.flush()
    assert len(await _items(api)) == 4


async def test_an_api_that_does_not_answer_costs_nothing():
    """The Event is lost, nothing is raised."""
    api = FakeApi(faults=lambda _call: Fault.UNREACHABLE)
    events = Events(api, component="c")
    events.emit(TOR, reason="Lost", message="x")
    await events.flush()
    assert [call.verb for call in api.calls] == ["create"]
