"""What a BGPPeer says of itself: from the objects alone, and from what nodes report."""

import pytest

from tests.sim.ipam.world import Replica, World
from tests.sim.leaders import Network
from towpath.controller.cluster import KINDS
from towpath.controller.folding import folded, losses
from towpath.controller.reports import Loss
from towpath.model.reason import Reason, Refusal, Why

OVER = [{"reason": "MaxPrefix", "prefixes": 3}]
TOR = {"peerIP": "192.0.2.254", "asNumber": 65000}


@pytest.fixture
def world():
    """A server with a pool and nodes of its own addresses."""
    world = World()
    world.put("IPPool", "four", spec={"cidr": "10.0.0.0/16"})
    for number in (1, 2, 3, 4, 5):
        name = f"n{number}"
        world.add_node(name, name)
        addresses = [{"type": "InternalIP", "address": f"192.0.2.{number}"}]
        world.run(world.server.patch_status("Node", name, {"status": {"addresses": addresses}}))
    yield world
    world.close()


@pytest.fixture
def controller(world):
    """It leads."""
    return Replica(world, Network())


def look(controller: Replica, times: int = 3) -> None:
    for _ in range(times):
        controller.refresh(*KINDS)
        controller.step()


def conditions(world: World, name: str, kind: str = "BGPPeer") -> dict[str, tuple[str, str, str]]:
    """Status, reason and message by type."""
    found = world.items(kind)[name]["status"]["conditions"]
    return {one["type"]: (one["status"], one["reason"], one.get("message", "")) for one in found}


def says(world: World, node: str, *refusals: dict, sessions: tuple[dict, ...] = ()) -> None:
    """A node's report."""
    status = {
        "nodeUID": world.items("Node")[node]["metadata"]["uid"],
        "refusals": list(refusals),
        "sessions": list(sessions),
    }
    world.put("NodeStatus", node, status=status)


def missing(peer: str, *, kind: str = "BGPPeer", message: str = "Secret s does not exist in namespace t") -> dict:
    return {"kind": kind, "name": peer, "field": "spec.password", "reason": "SecretMissing", "message": message}


def session(**changes) -> dict:
    return {
        "name": "Global-192-0-2-254",
        "peer": "192.0.2.254",
        "remoteAS": 65000,
        "state": "Established",
        "bgpPeer": "tor",
    } | changes


def events(world: World, reason: str) -> list[tuple[str, str]]:
    """Object and message of each event with a reason."""
    found = [one for one in world.items("Event").values() if one["reason"] == reason]
    return sorted((one["involvedObject"]["name"], one["message"]) for one in found)


def test_the_second_of_two_equal_peers_says_that_it_is_not_run(world, controller):
    """By name, on every node: the winner says that all is well; when it goes, so does the loser."""
    world.put("BGPPeer", "a", spec=TOR)
    world.put("BGPPeer", "b", spec=TOR | {"node": "n1"})
    look(controller)
    assert conditions(world, "a")["Consistent"][:2] == ("True", "NoConflict")
    status, reason, message = conditions(world, "b")["Consistent"]
    assert (status, reason) == ("False", "DuplicatePeer")
    assert "spec.peerIP: a session with 192.0.2.254 port 179 is already asked for by BGPPeer a (n1)" in message
    assert conditions(world, "b")["Accepted"][0] == "True"
    assert len(events(world, "DuplicatePeer")) == 1
    world.delete("BGPPeer", "a")
    look(controller)
    assert conditions(world, "b")["Consistent"][0] == "True"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"peerIP": "192.0.2.2", "asNumber": 65001}, "node n2 has AS 64512 by the mesh, not 65001"),
        ({"peerIP": "192.0.2.2", "asNumber": 64512, "localASNumber": 65009, "reversePeering": "Manual"}, "expects AS"),
        ({"peerIP": "192.0.2.2:1790", "asNumber": 64512}, "listens on port 179, not 1790"),
    ],
)
def test_what_cannot_work_between_two_nodes_is_said(world, controller, spec, expected):
    """With the field, both nodes and what does not fit."""
    world.put("BGPPeer", "p", spec=spec | {"node": "n1"})
    look(controller)
    status, reason, message = conditions(world, "p")["Consistent"]
    assert (status, reason) == ("False", "Mismatch")
    assert expected in message
    assert message.endswith("(n1)")


def test_two_that_wait_for_each_other_and_one_alone_with_ttl_security(world, controller):
    """Rules of both nodes that do not fit together are said on both."""
    world.put("BGPPeer", "one", spec={"node": "n1", "peerIP": "192.0.2.2", "asNumber": 64512, "passive": True})
    world.put("BGPPeer", "two", spec={"node": "n2", "peerIP": "192.0.2.1", "asNumber": 64512, "passive": True})
    world.put("BGPPeer", "ttl", spec={"node": "n3", "peerIP": "192.0.2.4", "asNumber": 64512, "ttlSecurity": 1})
    world.put("BGPPeer", "none", spec={"node": "n4", "peerIP": "192.0.2.3", "asNumber": 64512})
    look(controller)
    for name in ("one", "two"):
        assert "wait for the other to connect" in conditions(world, name)["Consistent"][2]
    for name in ("ttl", "none"):
        assert "ttlSecurity" in conditions(world, name)["Consistent"][2]


def test_a_second_password_for_one_address_is_said(world, controller):
    """On the one that is not run; also where the mesh has another password than a peer."""
    first, second = ({"password": {"secretKeyRef": {"name": name, "key": "k"}}} for name in ("s", "t"))
    world.put("BGPPeer", "a", spec=TOR | first)
    world.put("BGPPeer", "b", spec=TOR | second | {"peerIP": "192.0.2.254:1790"})
    look(controller)
    status, reason, message = conditions(world, "b")["Consistent"]
    assert (status, reason) == ("False", "PasswordConflict")
    assert "has another password for 192.0.2.254" in message
    assert "(n1, n2, n3 and 2 more)" in message
    world.put("BGPPeer", "b", spec={"peerIP": "192.0.2.2:1790", "node": "n1", "asNumber": 64512})
    world.put("BGPConfiguration", "default", spec={"nodeMeshPassword": first["password"]})
    look(controller)
    assert conditions(world, "default", "BGPConfiguration")["Consistent"][1] == "PasswordConflict"


def test_a_password_that_a_node_does_not_find_is_said_of_the_peer(world, controller):
    """With the field and the nodes, few of them by name; one event, and again all is well once no node says so."""
    world.put("BGPPeer", "tor", spec=TOR)
    for node in ("n1", "n2", "n3", "n4"):
        says(world, node, missing("tor"))
        look(controller)
    world.time += 31
    look(controller)
    assert conditions(world, "tor")["ResolvedRefs"] == (
        "False",
        "SecretMissing",
        "spec.password: Secret s does not exist in namespace t (n1, n2, n3 and 1 more)",
    )
    assert conditions(world, "tor")["Accepted"][0] == "True"
    assert events(world, "SecretMissing") == [("tor", "spec.password Secret s does not exist in namespace t")]
    for node in ("n1", "n2", "n3", "n4"):
        says(world, node)
    look(controller)
    assert conditions(world, "tor")["ResolvedRefs"][0] == "True"


def test_a_password_of_the_mesh_is_said_of_the_configuration(world, controller):
    """The same, on the object that names it."""
    world.put("BGPConfiguration", "default", spec={})
    says(world, "n1", missing("default", kind="BGPConfiguration") | {"field": "spec.nodeMeshPassword"})
    look(controller)
    said = conditions(world, "default", "BGPConfiguration")["ResolvedRefs"]
    assert said[:2] == ("False", "SecretMissing")
    assert said[2].startswith("spec.nodeMeshPassword: ")


def test_a_node_speaks_only_of_peers_that_it_has_to_do_with(world, controller):
    """Who is not selected, and who has no Node any more or an earlier one, is not heard, nor are words that nobody knows."""
    world.put("BGPPeer", "tor", spec=TOR | {"node": "n1"})
    says(world, "n2", missing("tor"))
    says(world, "n1", missing("tor") | {"reason": "Whatever"}, missing("other"), missing("x", kind="IPPool"))
    look(controller)
    assert conditions(world, "tor")["ResolvedRefs"][0] == "True"
    says(world, "n1", missing("tor"))
    world.put("NodeStatus", "n1", status={"nodeUID": "another"})
    look(controller)
    assert conditions(world, "tor")["ResolvedRefs"][0] == "True"


def test_a_limit_that_is_reached_is_said_of_the_peer(world, controller):
    """How many prefixes are refused where, and one event."""
    world.put("BGPPeer", "tor", spec=TOR)
    says(world, "n1", sessions=(session(accepted=10, refused=OVER),))
    look(controller)
    assert conditions(world, "tor")["WithinLimits"] == (
        "False",
        "MaxPrefix",
        "spec.maxPrefixes: 3 prefixes of 192.0.2.254 are refused, 10 are accepted (n1)",
    )
    says(world, "n1", sessions=(session(accepted=10, refused=[OVER[0] | {"prefixes": 4}]),))
    look(controller)
    assert len(events(world, "MaxPrefix")) == 1
    says(world, "n1", sessions=(session(accepted=10),))
    look(controller)
    assert conditions(world, "tor")["WithinLimits"][:2] == ("True", "WithinLimits")


def test_a_session_that_was_ended_at_its_limit_is_beyond_it(world, controller):
    """There is nothing to count while it is down: what the node says of it counts."""
    world.put("BGPPeer", "tor", spec=TOR)
    says(world, "n1", sessions=(session(state="Idle", reason="MaxPrefix: more than 10 prefixes accepted"),))
    look(controller)
    assert conditions(world, "tor")["WithinLimits"] == (
        "False",
        "MaxPrefix",
        "spec.maxPrefixes: the session with 192.0.2.254 was ended: more than 10 prefixes accepted (n1)",
    )


def test_what_a_node_says_of_pods_is_on_the_peer(world, controller):
    """Who is selected twice only the pods' node knows; of other duplicates everybody does, and no node is asked."""
    world.put("BGPPeer", "routers", spec={"localWorkloadSelector": "all()", "asNumber": 65401})
    duplicate = missing("routers", message="pod x is another's") | {"reason": "DuplicatePeer"}
    says(world, "n1", duplicate | {"field": "spec.localWorkloadSelector"}, duplicate | {"message": "nonsense"})
    look(controller)
    status, reason, message = conditions(world, "routers")["Consistent"]
    assert (status, reason) == ("False", "DuplicatePeer")
    assert "pod x is another's" in message
    assert "nonsense" not in message


def test_a_session_that_is_lost_is_an_event_on_its_peer(world, controller):
    """One for all nodes that say so at a time; not for what a controller finds that has just taken over, nor for a new speaker."""
    world.put("BGPPeer", "tor", spec=TOR)
    nodes = ("n1", "n2", "n3", "n4", "n5")
    for node in nodes:
        says(world, node, sessions=(session(lost=3),))
    look(controller)
    assert events(world, "SessionLost") == []
    for node in nodes:
        says(world, node, sessions=(session(lost=4, state="Idle", reason="the hold timer expired"),))
    look(controller)
    text = "lost the session with 192.0.2.254 on n1, n2, n3 and 2 more: the hold timer expired"
    assert events(world, "SessionLost") == [("tor", text)]
    says(world, "n1", sessions=(session(lost=0),))
    look(controller)
    other = Replica(world, Network())
    look(other)
    assert len(events(world, "SessionLost")) == 1


def test_a_session_that_flaps_is_told_of_less_and_less(world, controller):
    """A hundred losses in a minute are some ten events, and no condition is written for them."""
    world.put("BGPPeer", "tor", spec=TOR)
    says(world, "n1", sessions=(session(),))
    look(controller)
    world.server.calls.clear()
    for number in range(100):
        says(world, "n1", sessions=(session(lost=number + 1, reason=f"reason {number}"),))
        look(controller, 1)
        world.time += 0.6
    assert 5 <= len(events(world, "SessionLost")) <= 15
    assert not [one for one in world.server.calls if one.verb == "patch_status" and one.kind == "BGPPeer"]


def test_words_that_change_all_the_time_are_seldom_written(world, controller):
    """A report that says something else every second costs two writes a minute; what comes and goes, a dozen."""
    world.put("BGPPeer", "tor", spec=TOR)
    look(controller)

    def written(reports) -> int:
        world.server.calls.clear()
        for report in reports:
            says(world, "n1", *report)
            look(controller, 1)
            world.time += 1
        return len([one for one in world.server.calls if (one.verb, one.kind) == ("patch_status", "BGPPeer")])

    assert written([missing("tor", message=f"Secret s {number}")] for number in range(60)) <= 3
    assert written(([missing("tor")] if number % 2 else []) for number in range(60)) <= 17


def test_many_sentences_are_counted():
    """A condition names some and says how many more there are."""
    said = [
        (f"n{number:02}", Refusal(Reason.MISMATCH, f"node n{number} has another AS", Why("BGPPeer", "p", "spec.x")))
        for number in range(20)
    ]
    (found,) = folded(said).values()
    assert len(found.refusals) == 4
    assert found.refusals[-1].message.startswith("and 17 more of that kind (")
    assert found.told.message in {one.message for _, one in said}


def test_losses_of_one_peer_are_one_sentence():
    """Also where a rule makes sessions with several addresses."""
    found = losses(
        [Loss("p", "n1", "10.0.0.1", ""), Loss("p", "n1", "10.0.0.2", "reset"), Loss("q", "n2", "fd00::1", "")]
    )
    assert found == {
        "p": "lost the session with 10.0.0.1 and 1 other addresses on n1",
        "q": "lost the session with fd00::1 on n2",
    }
