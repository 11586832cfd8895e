"""The store: the last good version of everything, and nothing dropped because it could not be read."""

import weakref

from hypothesis import given
from hypothesis import strategies as st

from towpath.controller.store import FIELDS, Store
from towpath.lab.api import custom
from towpath.model.reason import Reason


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def _body(kind, name, *, version=1, generation=1, uid="", created="2026-01-01T00:00:00Z", **spec):
    metadata = {
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "generation": generation,
        "creationTimestamp": created,
    }
    return {"apiVersion": "towpath.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _pool(name, cidr="10.0.0.0/16", **rest):
    return _body("IPPool", name, cidr=cidr, **rest)


def _peer(name="tor", **rest):
    return _body("BGPPeer", name, **{"peerIP": "10.0.0.9", "asNumber": 65000, **rest})


def _block(cidr, *, pool="", node="a", **rest):
    return _body("IPAMBlock", cidr.replace(".", "-").replace("/", "-"), cidr=cidr, node=node, pool=pool, **rest)


def test_a_kind_of_this_release_that_is_not_served_yet_is_not_waited_for():
    """Agents may be new where the definitions are those of an earlier release; once it is served, what there is counts."""
    store = Store(("IPPool", "IPReservation"))
    store.listed("IPPool", [])
    assert not store.complete
    store.kind_missing("IPReservation")
    assert store.complete
    assert [one.reason for one in store.problems()] == [Reason.KIND_MISSING]
    store.listed("IPReservation", [custom("IPReservation", "kept", {"reservedCIDRs": ["10.0.0.0/28"]})])
    assert (store.complete, list(store.cluster().reservations), store.problems()) == (True, ["kept"], ())


def test_complete_when_all_kinds_were_listed():
    """An empty list counts, a watch event does not."""
    store = Store(("IPPool", "BGPPeer"))
    store.upserted("IPPool", _pool("a"))
    store.listed("BGPPeer", [])
    assert not store.complete
    store.listed("IPPool", [])
    assert store.complete


def test_a_bad_version_leaves_the_good_one():
    """It becomes a problem that names kind, object, field and generation, until the object is good again or gone."""
    store = Store(("BGPPeer",))
    store.listed("BGPPeer", [_peer()])
    store.upserted("BGPPeer", _peer(version=2, generation=2, asNumber=0))
    (problem,) = store.problems()
    assert (problem.kind, problem.name, problem.field, problem.generation) == ("BGPPeer", "tor", "spec.asNumber", 2)
    assert problem.reason is Reason.INVALID_SPEC
    assert store.cluster().peers["tor"].spec.as_number == 65000
    store.upserted("BGPPeer", _peer(version=3, generation=3, asNumber=65001))
    assert store.problems() == ()
    assert store.cluster().peers["tor"].spec.as_number == 65001
    store.upserted("BGPPeer", _peer(version=4, asNumber=0))
    store.deleted("BGPPeer", "tor")
    assert store.problems() == ()
    assert store.cluster().peers == {}


def test_an_object_that_never_was_good_is_not_there():
    """Others are unaffected; an object made anew under the name of a good one has no good version of its own."""
    store = Store(("BGPPeer",))
    store.listed("BGPPeer", [_peer("bad", asNumber=0), _peer("good")])
    assert list(store.cluster().peers) == ["good"]
    store.deleted("BGPPeer", "good")
    store.upserted("BGPPeer", _peer("good", uid="another", version=9, asNumber=0))
    assert store.cluster().peers == {}


def test_good_versions_of_an_earlier_life():
    """What the snapshot on disk had stands in for an object that is bad now, not for one that is gone."""
    first = Store(("BGPPeer",))
    first.listed("BGPPeer", [_peer(), _peer("gone")])
    second = Store(("BGPPeer",))
    second.seed(first.cluster(), node="a")
    second.listed("BGPPeer", [_peer(version=7, asNumber=0)])
    assert list(second.cluster().peers) == ["tor"]
    assert second.cluster().peers["tor"].spec.as_number == 65000


def test_snapshots_share_what_did_not_change():
    """The same snapshot while nothing changes; other kinds are the same mappings after a change."""
    store = Store(("IPPool", "BGPPeer"))
    store.listed("IPPool", [_pool("a")])
    store.listed("BGPPeer", [_peer()])
    before = store.cluster()
    assert store.cluster() is before
    store.upserted("IPPool", _pool("b", cidr="10.1.0.0/16"))
    after = store.cluster()
    assert after.peers is before.peers
    assert list(before.pools) == ["a"]
    assert list(after.pools) == ["a", "b"]


def test_only_changes_are_told():
    """A relist of the same, or a new resourceVersion alone, wakes nobody up; the newest version is in the snapshot."""
    store, told = Store(("BGPPeer",)), []
    store.listed("BGPPeer", [_peer()])
    store.subscribe(lambda: told.append(store.cluster()))
    store.listed("BGPPeer", [_peer()])
    store.upserted("BGPPeer", _peer(version=5))
    assert told == []
    assert store.cluster().peers["tor"].meta.resource_version == "5"
    store.upserted("BGPPeer", _peer(version=6, passive=True))
    store.upserted("BGPPeer", _peer(version=7, passive=True, asNumber=0))
    store.deleted("BGPPeer", "tor")
    assert len(told) == 3


def test_overlapping_pools():
    """The pool with blocks wins, else the older one; the loser is a problem, and wins when the other goes."""
    store = Store(("IPPool", "IPAMBlock"))
    store.listed("IPAMBlock", [])
    store.listed("IPPool", [_pool("young", created="2026-02-01T00:00:00Z"), _pool("old", cidr="10.0.0.0/17")])
    assert list(store.cluster().pools) == ["old"]
    (problem,) = store.problems()
    assert (problem.name, problem.reason, problem.field) == ("young", Reason.OVERLAPPING_POOL, "spec.cidr")
    store.upserted("IPAMBlock", _block("10.0.255.0/26", pool="young"))
    assert list(store.cluster().pools) == ["young"]
    store.deleted("IPPool", "young")
    assert list(store.cluster().pools) == ["old"]
    assert store.problems() == ()


def test_a_mass_withdrawal_is_held():
    """Blocks that vanish from a list stay in force, with a problem, until a second list 30 s later agrees."""
    clock = Clock()
    store = Store(("IPAMBlock",), clock=clock)
    store.listed("IPAMBlock", [_block(f"10.0.{index}.0/26") for index in range(8)])
    store.listed("IPAMBlock", [])
    assert len(store.cluster().blocks) == 8
    assert [problem.reason for problem in store.problems()] == [Reason.MASS_WITHDRAW]
    assert store.look_again_in("IPAMBlock") == 30.0
    clock.now = 30.0
    store.listed("IPAMBlock", [])
    assert store.cluster().blocks == {}
    assert store.problems() == ()


def test_deletions_in_a_mass_come_back():
    """The fourth of eight deletions brings the first three back."""
    store = Store(("IPAMBlock",), clock=Clock())
    blocks = [_block(f"10.0.{index}.0/26") for index in range(8)]
    store.listed("IPAMBlock", blocks)
    for index in range(3):
        store.deleted("IPAMBlock", blocks[index]["metadata"]["name"])
    assert len(store.cluster().blocks) == 5
    store.deleted("IPAMBlock", blocks[3]["metadata"]["name"])
    assert len(store.cluster().blocks) == 8


def test_nothing_is_kept_of_what_is_gone_for_good():
    """A value is kept while the breaker may bring it back, and no longer: nobody may list again for weeks."""
    clock = Clock()
    store = Store(("IPAMBlock",), clock=clock)
    store.listed("IPAMBlock", [_block(f"10.0.{index}.0/26") for index in range(12)])
    seen = []
    for index in range(5):
        block = _block(f"10.1.{index}.0/26")
        name = block["metadata"]["name"]
        store.upserted("IPAMBlock", block)
        seen.append(weakref.ref(store.cluster().blocks[name].spec.cidr))
        store.deleted("IPAMBlock", name)
        assert name not in store.cluster().blocks
        clock.now += 31
    assert [one() is not None for one in seen] == [False, False, False, False, True]


def test_a_kind_that_is_gone_keeps_its_objects():
    """A CRD that was removed takes its objects with it; they stay in force here, with a problem."""
    store = Store(("BGPPeer",), clock=Clock())
    store.listed("BGPPeer", [_peer("a"), _peer("b", peerIP="10.0.0.8")])
    store.deleted("BGPPeer", "a")
    store.deleted("BGPPeer", "b")
    store.kind_missing("BGPPeer")
    assert list(store.cluster().peers) == ["a", "b"]
    assert Reason.KIND_MISSING in {problem.reason for problem in store.problems()}


def test_a_mass_that_vanished_while_nobody_looked_is_held():
    """Blocks of the picture on disk that the first listing lacks stay in force; those of the node itself do not."""
    clock = Clock()
    blocks = [_block(f"10.0.{index}.0/26", node="me" if index < 2 else "other") for index in range(8)]
    first, second = Store(("IPAMBlock",)), Store(("IPAMBlock",), clock=clock)
    first.listed("IPAMBlock", blocks)
    second.seed(first.cluster(), node="me")
    second.listed("IPAMBlock", [])
    assert {block.spec.node for block in second.cluster().blocks.values()} == {"other"}
    assert len(second.cluster().blocks) == 6
    assert [problem.reason for problem in second.problems()] == [Reason.MASS_WITHDRAW]
    clock.now = 30.0
    second.listed("IPAMBlock", [])
    assert second.cluster().blocks == {}


def test_names_alone_are_unsure():
    """Nodes that owned blocks and that a complete listing lacks may exist, a mass of them, until it is listed again."""
    clock = Clock()
    store = Store(("Node",), clock=clock)
    store.listed("Node", [{"metadata": {"name": "n0", "uid": "u"}}])
    store.expect("Node", [f"n{index}" for index in range(3)])
    assert store.unsure("Node") == frozenset()
    store.expect("Node", [f"n{index}" for index in range(9)])
    assert store.unsure("Node") == {f"n{index}" for index in range(1, 9)}
    assert list(store.cluster().nodes) == ["n0"]
    clock.now = 30.0
    store.listed("Node", [{"metadata": {"name": "n0", "uid": "u"}}])
    assert store.unsure("Node") == frozenset()


def test_a_selector_that_labels_leave_with_nothing_is_a_problem_of_its_object():
    """What is held is told with the field, the nodes and the way out; with the annotation it is over."""
    kinds = ("BGPPeer", "RoutingNode")
    rule = {"nodeSelector": "rack == 'a'"}
    store, told = Store(kinds), []
    store.listed("BGPPeer", [_peer(**rule)])
    store.listed("RoutingNode", [_routing_node("n", rack="a")])
    assert store.problems() == ()
    store.subscribe(lambda: told.append(store.cluster().held))
    store.upserted("RoutingNode", _routing_node("n", version=2))
    (problem,) = store.problems()
    assert (problem.kind, problem.name, problem.field) == ("BGPPeer", "tor", "spec.nodeSelector")
    assert problem.reason is Reason.SELECTION_HELD
    assert "keeps n: " in problem.message
    assert "towpath.io/acknowledge" in problem.message
    another = Store(kinds)
    another.seed(store.cluster(), node="x")
    another.listed("BGPPeer", [_peer(**rule)])
    another.listed("RoutingNode", [_routing_node("n", version=2)])
    assert another.problems() == (problem,)
    body = _peer(version=3, **rule)
    body["metadata"]["annotations"] = {"towpath.io/acknowledge": "yes"}
    store.upserted("BGPPeer", body)
    assert store.problems() == ()
    assert told == [{"BGPPeer/tor spec.nodeSelector": ("n",)}, {}]


def _routing_node(name, *, version=1, **labels):
    return {
        "kind": "RoutingNode",
        "metadata": {"name": name, "uid": "u", "resourceVersion": str(version), "labels": labels},
        "spec": {},
    }


def test_unreachable_for():
    """Counted on the monotonic clock from the last connection on; an open watch of any kind is contact."""
    clock = Clock()
    store = Store(("BGPPeer",), clock=clock)
    clock.now = 5.0
    assert store.unreachable_for() == 5.0
    store.contact("BGPPeer", connected=True)
    clock.now = 100.0
    assert store.unreachable_for() == 0.0
    store.contact("BGPPeer", connected=False)
    clock.now = 140.0
    store.contact("BGPPeer", connected=False)
    assert store.unreachable_for() == 40.0


def test_a_restored_backup_is_seen():
    """A list that is older than what was seen before says so."""
    store = Store(("BGPPeer",))
    store.listed("BGPPeer", [_peer(version=50)], version="60")
    assert not store.went_back
    store.listed("BGPPeer", [_peer(version=50)], version="55")
    assert store.went_back


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["addresses", "conditions", "nodeInfo", "podCIDRs", "type", "bgp", "cidr", "timers", "peerIP"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(FIELDS)), _JSON, _JSON, _JSON)
def test_any_object(kind, spec, status, labels):
    """Whatever an object holds, it is in force or a problem; nothing else happens."""
    store = Store((kind,))
    metadata = {"name": "default", "uid": "u", "resourceVersion": "1", "labels": labels}
    store.listed(kind, [{"metadata": metadata, "spec": spec, "status": status}])
    accepted = getattr(store.cluster(), FIELDS[kind])
    assert len(accepted) + len(store.problems()) == 1
