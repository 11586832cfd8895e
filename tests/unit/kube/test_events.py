"""Events: coalesced, limited, never in the way."""

from towpath.controller.kube.events import EventLimits, Events, Subject
from towpath.lab.fake_api import FakeApi, Fault

TOR = Subject("BGPPeer", "tor", "u")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


async def _items(api):
    return (await api.list("Event", namespace="default")).items


async def test_the_same_words_are_one_event():
    """Repeated within a minute it is written once, and is no news; after that its count grows."""
    clock, api = Clock(), FakeApi()
    events = Events(api, component="towpath-controller", clock=clock)
    assert events.emit(TOR, reason="Lost", message="gone")
    assert not any(events.emit(TOR, reason="Lost", message="gone") for _ in range(4))
    await events.flush()
    assert not events.emit(TOR, reason="Lost", message="gone")
    await events.flush()
    (item,) = await _items(api)
    assert item["count"] == 5
    clock.now = 61.0
    await events.flush()
    (item,) = await _items(api)
    assert item["count"] == 6
    assert item["involvedObject"] == {
        "apiVersion": "towpath.io/v1alpha1",
        "kind": "BGPPeer",
        "name": "tor",
        "uid": "u",
    }
    clock.now = 122.0
    assert events.emit(TOR, reason="Lost", message="gone")


async def test_an_event_that_the_server_forgot_is_written_anew():
    """The count goes on in a new Event."""
    clock, api = Clock(), FakeApi()
    events = Events(api, component="c", clock=clock)
    events.emit(TOR, reason="Lost", message="gone")
    await events.flush()
    (item,) = await _items(api)
    await api.delete("Event", item["metadata"]["name"], namespace="default")
    clock.now = 61.0
    events.emit(TOR, reason="Lost", message="gone")
    await events.flush()
    assert [item["count"] for item in await _items(api)] == [1]


async def test_words_have_an_end():
    """A message of any length and an object with the longest name make an Event that the API takes."""
    api = FakeApi()
    events = Events(api, component="c")
    events.emit(Subject("BGPPeer", "x" * 253), reason="Lost", message="y" * 5000)
    await events.flush()
    (item,) = await _items(api)
    assert len(item["message"]) == 1024
    assert len(item["metadata"]["name"]) <= 253


async def test_one_object_does_not_use_up_what_others_have():
    """A flood with one reason about one object leaves room for the next object, and for another reason."""
    clock, api = Clock(), FakeApi()
    events = Events(api, component="c", clock=clock)
    news = [events.emit(TOR, reason="Lost", message=f"{index}") for index in range(100)]
    assert news == [True] * 10 + [False] * 90
    assert events.emit(TOR, reason="Found", message="here")
    assert events.emit(Subject("BGPPeer", "other"), reason="Lost", message="gone")
    assert events.dropped == 90
    await events.flush()
    assert len(await _items(api)) == 12
    clock.now = 60.0
    assert events.emit(TOR, reason="Lost", message="100")


async def test_a_flood_is_limited():
    """Of many different ones a burst is written, then one at a time; what is beyond all memory is counted."""
    clock, api = Clock(), FakeApi()
    limits = EventLimits(burst=3, refill=10.0, burst_each=100, remembered=20)
    events = Events(api, component="c", clock=clock, limits=limits)
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
