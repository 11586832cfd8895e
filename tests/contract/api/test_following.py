"""Lists, watches and reflectors: what holds on the fake, on the embedded server and on the real one alike."""

import asyncio
import contextlib

import pytest

from tests.patience import within
from towpath.controller.kube import watch
from towpath.controller.kube.watch import Retry, following
from towpath.controller.ports import ApiError, GoneError, NotFoundError
from towpath.controller.store import Store
from towpath.model.crd import crds
from towpath.model.reason import Reason

POOLS = tuple(f"10.{index}.0.0/16" for index in range(7))


async def _pools(api, **labels):
    for index, cidr in enumerate(POOLS):
        metadata = {"name": f"p{index}", "labels": {"odd": str(index % 2), **labels}}
        await api.create("IPPool", {"metadata": metadata, "spec": {"cidr": cidr}})


def _names(items):
    return [item["metadata"]["name"] for item in items]


async def test_pages(api):
    """Pages of one list together are every object once, as of one version, whatever changes meanwhile."""
    await _pools(api)
    first = await api.list("IPPool", limit=3)
    assert _names(first.items) == ["p0", "p1", "p2"]
    await api.delete("IPPool", "p4")
    await api.create("IPPool", {"metadata": {"name": "p9"}, "spec": {"cidr": "10.9.0.0/16"}})
    second = await api.list("IPPool", limit=3, continue_token=first.continue_token)
    assert _names(second.items) == ["p3", "p4", "p5"]
    third = await api.list("IPPool", limit=3, continue_token=second.continue_token)
    assert _names(third.items) == ["p6"]
    assert first.resource_version == second.resource_version == third.resource_version
    assert not third.continue_token
    assert _names((await api.list("IPPool")).items) == ["p0", "p1", "p2", "p3", "p5", "p6", "p9"]


async def test_selectors(api):
    """Labels by equality, inequality, set and presence; fields by name."""
    await _pools(api)
    for selector, names in (
        ("odd=1", ["p1", "p3", "p5"]),
        ("odd!=1", ["p0", "p2", "p4", "p6"]),
        ("odd in (0,2)", ["p0", "p2", "p4", "p6"]),
        ("odd notin (0)", ["p1", "p3", "p5"]),
        ("!odd", []),
        ("odd,odd=0", ["p0", "p2", "p4", "p6"]),
    ):
        assert _names((await api.list("IPPool", label_selector=selector)).items) == names, selector
    assert _names((await api.list("IPPool", field_selector="metadata.name=p3")).items) == ["p3"]
    with pytest.raises(ApiError):
        await api.list("IPPool", field_selector="spec.cidr=x")


async def test_watch_from_a_version(api):
    """A watch tells everything after the version that it starts from, in order, and starts with a bookmark of that."""
    made = await api.create("IPPool", {"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16"}})
    start = (await api.list("IPPool")).resource_version
    await api.patch("IPPool", "a", {"spec": {"disabled": True}})
    await api.create("IPPool", {"metadata": {"name": "b"}, "spec": {"cidr": "10.1.0.0/16"}})
    await api.delete("IPPool", "a")
    seen = await _events(api, start, count=4)
    assert [event.type for event in seen] == ["BOOKMARK", "MODIFIED", "ADDED", "DELETED"]
    assert seen[0].object["metadata"]["resourceVersion"] == start
    assert seen[3].object["metadata"]["uid"] == made["metadata"]["uid"]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))


async def test_watch_with_a_selector(api):
    """An object that enters the selection is ADDED, one that leaves it DELETED."""
    await api.create("IPPool", {"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16"}})
    start = (await api.list("IPPool")).resource_version
    await api.patch("IPPool", "a", {"metadata": {"labels": {"x": "1"}}})
    await api.patch("IPPool", "a", {"spec": {"disabled": True}})
    await api.patch("IPPool", "a", {"metadata": {"labels": {"x": "2"}}})
    seen = await _events(api, start, count=4, label_selector="x=1")
    assert [event.type for event in seen] == ["BOOKMARK", "ADDED", "MODIFIED", "DELETED"]


async def _events(api, start, *, count, label_selector=""):
    seen = []
    async with (
        within(10),
        contextlib.aclosing(api.watch("IPPool", start, label_selector=label_selector)) as watch,
    ):
        async for event in watch:
            seen.append(event)
            if len(seen) == count:
                return seen
    raise AssertionError(seen)


async def test_a_store_follows(api, settled):
    """A store that follows has every object, then every change, and is complete once all kinds were listed."""
    await _pools(api)
    store = Store(("IPPool", "BGPPeer", "Node"))
    async with following(api, store, retry=Retry(first=0.02)):
        await settled(lambda: store.complete and len(store.cluster().pools) == 7)
        before = store.cluster()
        assert store.cluster() is before
        await api.create("BGPPeer", {"metadata": {"name": "tor"}, "spec": {"peerIP": "10.0.0.9", "asNumber": 65000}})
        await api.patch("IPPool", "p3", {"spec": {"disabled": True}})
        await api.delete("IPPool", "p0")
        await settled(lambda: "tor" in store.cluster().peers and "p0" not in store.cluster().pools)
        after = store.cluster()
        assert after.pools["p3"].spec.disabled
        assert after.nodes is before.nodes
        assert store.unreachable_for() == 0


async def test_only_one_node(api, settled):
    """An agent follows its own Node alone."""
    for name in ("n1", "n2"):
        await api.create("Node", {"metadata": {"name": name}})
    store = Store(("Node",))
    async with following(api, store, only_node="n2"):
        await settled(lambda: store.complete)
        await api.create("Node", {"metadata": {"name": "n3"}})
        await api.patch("Node", "n2", {"spec": {"unschedulable": True}})
        await settled(lambda: store.cluster().nodes["n2"].unschedulable)
        assert list(store.cluster().nodes) == ["n2"]


class Interrupted:
    """A reader that does something before it asks for the second page, once."""

    def __init__(self, api, interrupt):
        self.api, self.interrupt, self.gone = api, interrupt, 0

    async def list(self, kind, **options):
        if options["continue_token"] and self.interrupt is not None:
            interrupt, self.interrupt = self.interrupt, None
            await interrupt()
        try:
            return await self.api.list(kind, **options)
        except GoneError:
            self.gone += 1
            raise

    def watch(self, *arguments, **options):
        return self.api.watch(*arguments, **options)


async def test_410_in_the_middle_of_a_list(api, forget, settled, monkeypatch):
    """A continue token that is too old begins the list anew; the half list has changed nothing, and nothing is lost."""
    monkeypatch.setattr(watch, "PAGE", 3)
    await _pools(api)
    store, halves = Store(("IPPool",)), []

    async def interrupt():
        await api.delete("IPPool", "p0")
        await api.create("IPPool", {"metadata": {"name": "p9"}, "spec": {"cidr": "10.9.0.0/16"}})
        halves.append((store.complete, len(store.cluster().pools)))
        await forget()

    reader = Interrupted(api, interrupt)
    async with following(reader, store, retry=Retry(first=0.02)):
        await settled(lambda: store.complete, deadline=60)
        assert sorted(store.cluster().pools) == ["p1", "p2", "p3", "p4", "p5", "p6", "p9"]
        await api.create("IPPool", {"metadata": {"name": "p8"}, "spec": {"cidr": "10.8.0.0/16"}})
        await settled(lambda: "p8" in store.cluster().pools)
    assert reader.gone == 1
    assert halves == [(False, 0)]


@pytest.fixture
async def peers_undefined(api, settled):
    """The server without the definition of BGPPeer; it has it again afterwards. Gives what brings it back."""
    crd = next(crd for crd in crds() if crd["spec"]["names"]["kind"] == "BGPPeer")

    async def define():
        with contextlib.suppress(ApiError):
            await api.create("CustomResourceDefinition", crd)

    async def served():
        try:
            await api.list("BGPPeer")
        except NotFoundError:
            return False
        return True

    await api.delete("CustomResourceDefinition", crd["metadata"]["name"])
    async with within(30):
        while await served():  # noqa: ASYNC110  # the probe is a request
            await asyncio.sleep(0.05)
    yield define
    async with within(30):
        while not await served():
            await define()
            await asyncio.sleep(0.05)


def _missing(store):
    return [one.kind for one in store.problems() if one.reason is Reason.KIND_MISSING]


async def test_a_kind_that_is_not_there_yet(api, peers_undefined, settled):
    """It is a problem that names the kind; others go on; once it is defined the store becomes complete by itself."""
    store = Store(("BGPPeer", "IPPool"))
    async with following(api, store, retry=Retry(first=0.02, longest_refused=0.3)):
        await settled(lambda: _missing(store) == ["BGPPeer"])
        await api.create("IPPool", {"metadata": {"name": "a"}, "spec": {"cidr": "10.0.0.0/16"}})
        await settled(lambda: "a" in store.cluster().pools)
        assert not store.complete
        await peers_undefined()
        await settled(lambda: store.complete and not _missing(store), deadline=30)


async def test_a_kind_that_is_taken_away(api, settled):
    """Its objects go with the definition, on the server; here they stay in force until the kind is back and lists without them twice."""
    names = [f"tor{index}" for index in range(8)]
    for index, name in enumerate(names):
        await api.create(
            "BGPPeer", {"metadata": {"name": name}, "spec": {"peerIP": f"10.0.0.{index}", "asNumber": 65000}}
        )
    store = Store(("BGPPeer", "IPPool"))
    async with following(api, store, retry=Retry(first=0.02, longest_refused=0.3)):
        await settled(lambda: store.complete and len(store.cluster().peers) == 8)
        crd = next(crd for crd in crds() if crd["spec"]["names"]["kind"] == "BGPPeer")
        await api.delete("CustomResourceDefinition", crd["metadata"]["name"])
        await settled(lambda: _missing(store) == ["BGPPeer"], deadline=40)
        assert sorted(store.cluster().peers) == names
        async with within(30):
            while True:
                with contextlib.suppress(ApiError):
                    await api.create("CustomResourceDefinition", crd)
                    break
                await asyncio.sleep(0.05)
        await settled(lambda: not _missing(store), deadline=40)
        assert sorted(store.cluster().peers) == names
        assert [one.reason for one in store.problems()] == [Reason.MASS_WITHDRAW]
