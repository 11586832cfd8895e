"""The labels of namespaces, while any pool selects some."""

from tests.unit.agent.worlds import FakeApi, cluster, pool
from towpath.controller.node.namespaces import WatchedNamespaces
from towpath.controller.ports import UnreachableError
from towpath.model.selector import parse_selector

SELECTING = cluster(pools={"t": pool("t", "10.0.0.0/24", namespace_selector=parse_selector("team == 'a'"))})
COMMON = cluster(pools={"t": pool("t", "10.0.0.0/24", namespace_selector=parse_selector("all()"))})


def body(name: str, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": labels}}


async def test_they_are_followed_while_a_pool_selects_some() -> None:
    """Before anybody said what there is nothing is known; what came is told; without such a pool all is forgotten."""
    told: list[object] = []
    watched = WatchedNamespaces(changed=lambda: told.append(watched.known))
    assert (watched.known, watched.unwanted.is_set()) == ({}, True)
    watched.want(COMMON)
    assert watched.unwanted.is_set()
    watched.want(SELECTING)
    assert (watched.known, watched.wanted.is_set(), watched.unwanted.is_set()) == (None, True, False)
    listing = watched.listing("Namespace")
    listing.page([body("a", team="a")])
    listing.done(version="1")
    watched.upserted("Namespace", body("b"))
    watched.upserted("Namespace", body("b"))
    watched.deleted("Namespace", "a")
    assert told == [{"a": {"team": "a"}}, {"a": {"team": "a"}, "b": {}}, {"b": {}}]
    watched.want(COMMON)
    assert (watched.known, watched.wanted.is_set()) == ({}, False)


async def test_an_empty_list_is_knowledge_too() -> None:
    """Somebody waits for it."""
    told: list[object] = []
    watched = WatchedNamespaces(changed=lambda: told.append(watched.known))
    watched.want(SELECTING)
    watched.listing("Namespace").done(version="1")
    assert told == [{}]


async def test_one_that_is_not_known_yet_is_asked_for() -> None:
    """Where nobody answers nobody knows; where no pool selects any it does not matter."""
    api, watched = FakeApi(), WatchedNamespaces(changed=lambda: None)
    assert await watched.labels_of("a", api) == {}
    watched.want(SELECTING)
    assert await watched.labels_of("a", api) is None
    api.objects["Namespace", "", "a"] = body("a", team="a")
    assert await watched.labels_of("a", api) == {"team": "a"}
    watched.upserted("Namespace", body("a", team="b"))
    api.failure = UnreachableError("away")
    assert await watched.labels_of("a", api) == {"team": "b"}
