"""What holds for sessions in any cluster."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.unit.plan.worlds import cluster, config, node, peer, warned
from towpath.bgp.peering import sessions
from towpath.model.cluster import Cluster
from towpath.model.speaker import Session

NAMES = ("a", "b", "c", "d")
LABELS = st.fixed_dictionaries({}, optional={"rack": st.sampled_from("12"), "role": st.just("rr")})
SELECTOR = st.sampled_from(["rack == '1'", "rack == '2'", "has(role)", "!has(role)", "all()"])
PASSWORD = st.sampled_from([{"secretKeyRef": {"name": name, "key": "k"}} for name in "pq"])


@st.composite
def nodes(draw: st.DrawFn) -> list[dict]:
    found = []
    for index, name in enumerate(NAMES):
        last = (1, 2, 10, 11)[index]
        addresses = draw(
            st.sampled_from([(f"10.0.0.{last}",), (f"fd00::{last}",), (f"10.0.0.{last}", f"fd00::{last}")])
        )
        bgp = draw(
            st.fixed_dictionaries(
                {}, optional={"asNumber": st.just(65001), "routeReflectorClusterID": st.just("1.0.0.1")}
            )
        )
        found.append(node(name, *addresses, labels=draw(LABELS), **bgp))
    return found


def peers(extra: dict) -> st.SearchStrategy[dict]:
    who = st.one_of(
        st.just({}),
        st.builds(lambda x: {"node": x}, st.sampled_from(NAMES)),
        st.builds(lambda x: {"nodeSelector": x}, SELECTOR),
    )
    addresses = st.sampled_from(
        ["10.0.0.1", "10.0.0.2", "10.0.0.10", "fd00::1", "fd00::10", "10.0.0.254", "[fd00::2]:179", "10.0.0.1:1790"]
    )
    whom = st.one_of(
        st.builds(lambda ip, number: {"peerIP": ip, "asNumber": number}, addresses, st.sampled_from([64512, 65001])),
        st.builds(lambda x: {"peerSelector": x}, SELECTOR),
    )
    options = st.fixed_dictionaries(
        {},
        optional={
            "password": PASSWORD,
            "passive": st.booleans(),
            "localASNumber": st.just(65009),
            "shutdown": st.just({}),
        }
        | extra,
    )
    return st.builds(lambda *parts: {key: value for part in parts for key, value in part.items()}, who, whom, options)


@st.composite
def worlds(draw: st.DrawFn, extra: dict | None = None, most: int = 4) -> list[dict]:
    found = draw(nodes())
    specs = draw(st.lists(peers(extra or {}), max_size=most))
    found += [peer(f"p{index}", **spec) for index, spec in enumerate(specs)]
    mesh = draw(st.booleans())
    return [*found, config(nodeToNodeMeshEnabled=mesh), config("node.b", listenPort=1790)]


def plan(world: Cluster) -> dict[str, tuple[Session, ...]]:
    return {name: sessions(world, name).sessions for name in NAMES}


@given(worlds({"reversePeering": st.sampled_from(["Auto", "Manual"])}), st.randoms())
@settings(max_examples=examples(60))
def test_the_order_of_objects_does_not_matter(objects: list[dict], rng: random.Random) -> None:
    """Shuffled objects give the same sessions and the same warnings."""
    shuffled = list(objects)
    rng.shuffle(shuffled)
    for name in NAMES:
        assert sessions(cluster(*objects), name) == sessions(cluster(*shuffled), name)


@given(worlds({"reversePeering": st.sampled_from(["Auto", "Manual"])}))
@settings(max_examples=examples(100))
def test_sessions_are_well_formed(objects: list[dict]) -> None:
    """Names are unique; no two active sessions are the same on the wire; none is with the node itself; one password an address."""
    for name, made in plan(cluster(*objects)).items():
        assert len({one.name for one in made}) == len(made)
        active = [one for one in made if one.state == "Active"]
        assert len({(one.local_address, one.peer_address, one.peer_port) for one in active}) == len(active)
        assert all(one.peer_node != name for one in made)
        assert all((one.state == "Active") is (one.reason is None) for one in made)
        references = {(one.peer_address, one.password_ref) for one in active if one.password_ref}
        assert len(references) == len({address for address, _ in references})
        assert all(one.keepalive_time < one.hold_time for one in made)
        assert all(one.why for one in made)


@given(worlds())
@settings(max_examples=examples(150))
def test_both_ends_of_a_session_agree_or_a_warning_says_why_not(objects: list[dict]) -> None:
    """Between two nodes: each side has the other's AS, port and password, and one of them dials; else somebody is told."""
    world = cluster(*objects)
    made = plan(world)
    told = {name for name in NAMES if warned(world, name)}
    port = {"a": 179, "b": 1790, "c": 179, "d": 179}
    for name, ours in made.items():
        for session in ours:
            if session.peer_node is None or session.state == "Withheld":
                continue
            back = [
                one for one in made[session.peer_node]
                if one.state == "Active" and one.peer_node == name and one.families == session.families
            ]  # fmt: skip
            agreeing = [
                one for one in back
                if (one.local_as, one.remote_as, one.password_ref) == (session.remote_as, session.local_as, session.password_ref)
                and not (one.passive and session.passive)
                and session.peer_port == port[session.peer_node]
            ]  # fmt: skip
            assert agreeing or {name, session.peer_node} & told, session


@given(nodes())
@settings(max_examples=examples(100))
def test_of_a_mesh_session_one_side_dials(objects: list[dict]) -> None:
    """Every mesh session has its counterpart, with the same AS numbers crossed, and exactly one side dials."""
    made = plan(cluster(*objects))
    by_ends = {(one.local_address, one.peer_address): one for ours in made.values() for one in ours}
    for session in by_ends.values():
        other = by_ends[session.peer_address, session.local_address]
        assert (other.local_as, other.remote_as) == (session.remote_as, session.local_as)
        assert other.passive is not session.passive


@given(worlds(most=2), peers({}))
@settings(max_examples=examples(60))
def test_names_are_stable_when_objects_are_added(objects: list[dict], spec: dict) -> None:
    """Another peer and another node leave every session that goes on existing with its name."""
    before, after = (
        plan(cluster(*objects)),
        plan(cluster(*objects, peer("z", **spec), node("e", "10.0.0.99", "fd00::99"))),
    )
    for name in NAMES:
        now = {one.name: (one.scope, one.peer_address) for one in after[name]}
        for session in before[name]:
            if session.name in now:
                assert now[session.name] == (session.scope, session.peer_address)
            else:
                assert any(one.peer_address == session.peer_address for one in after[name])
