"""Passwords and other texts of objects on a running cluster: used where they belong, seen nowhere else."""

import base64
import contextlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.names import own
from tests.netns.path.cluster import cluster, connections, restarted, watched
from towpath.lab import facts
from towpath.lab.api import collection
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab
from towpath.model.kinds.registry import KINDS

PREFIX = own("tpq")
NAMESPACE = "towpath-system"
MESH, TOR, CHANGED = "canary-mesh-4711", "canary-tor-0815", "canary-new-1234"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes that log all they can; passwords on the mesh and on the IPv4 sessions with the router."""
    with cluster(Shape(nodes=2, configuration={"logSeverityScreen": "Debug"}), prefix=PREFIX) as made:
        put_secret(made, "mesh", MESH)
        put_secret(made, "tor", TOR)
        patch(made, "BGPConfiguration", "default", {"nodeMeshPassword": reference("mesh")})
        patch(made, "BGPPeer", "tor-a-ipv4", {"password": reference("tor")})
        wait_for(lambda: len(facts.sessions_down(made)) == 2, deadline=15, what="unsigned sessions with the router end")
        router_password(made, "v4", TOR)
        wait_for(lambda: not facts.sessions_down(made), deadline=20, what="the router's sessions are up")
        facts.wait_sessions(made)
        yield made


def reference(name: str) -> dict[str, dict[str, str]]:
    return {"secretKeyRef": {"name": name, "key": "password"}}


def put_secret(lab: Lab, name: str, password: str) -> None:
    encoded = base64.b64encode(password.encode()).decode()
    meta = {"name": name, "namespace": NAMESPACE}
    lab.api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"password": encoded}})


def patch(lab: Lab, kind: str, name: str, spec: dict) -> None:
    lab.api.patch(f"{collection(kind)}/{name}", {"spec": spec})


def router_password(lab: Lab, family: str, password: str) -> None:
    """Give the router a password for its sessions of one family."""
    head = rf'(protocol bgp \w+_{family} {{\n)(  password "[^"]*";\n)?'
    lab.tor.configure(re.sub(head, rf'\1  password "{password}";\n', lab.tor.file.read_text()))


def traces(lab: Lab, *words: str) -> list[str]:
    """Where one of the words can be read, as it is or in base64: files, objects, arguments, environments."""
    forms = [form for word in words for form in (word.encode(), base64.b64encode(word.encode()).rstrip(b"="))]

    def has(content: bytes) -> bool:
        return any(form in content for form in forms)

    # the API server keeps Secrets, and the router has its passwords in its own configuration
    theirs = ("bird.conf", "api.sqlite", "api.sqlite-wal", "api.sqlite-shm")
    found = []
    for path in lab.root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # written anew just now
            if path.is_file() and path.name not in theirs and has(path.read_bytes()):
                found.append(str(path.relative_to(lab.root)))
    for kind in (*KINDS, "Node", "Event"):
        items = lab.api.items(kind)
        found += [f"{kind}/{name}" for name, item in items.items() if has(str(item).encode())]
    for name in lab.program_names:
        process = Path("/proc") / str(lab.programs[name].pid)
        found += [f"{name} {part}" for part in ("cmdline", "environ") if has((process / part).read_bytes())]
    return sorted(found)


def test_a_password_is_in_one_file_of_each_node_and_nowhere_else(lab: Lab) -> None:
    """Not in a log at level debug, an object, an event, a status, an argument or an environment; not after a crash."""
    restarted(lab, "node1/agent", "node1/speaker", "node2/agent")
    secrets = [f"{node}/run/secrets" for node in lab.nodes]
    assert traces(lab, MESH, TOR) == secrets
    for name in secrets:
        assert stat.S_IMODE((lab.root / name).stat().st_mode) == 0o600
        assert lab.host("node1").run("stat", "-f", "-c", "%T", str(lab.root / name)).strip() == "tmpfs"


def test_a_secret_that_is_deleted_ends_no_session(lab: Lab) -> None:
    """Nothing moves, also over a restart of the agent; the status says what is missing."""
    before = connections(lab)
    with watched(lab, *lab.nodes, "tor") as moved:
        lab.api.delete("Secret", "tor", namespace=NAMESPACE)
        for node in lab.nodes:
            wait_for(
                lambda node=node: "Secret tor does not exist" in missing(lab, node), deadline=10, what="it is said"
            )
        restarted(lab, "node2/agent")
        wait_for(lambda: "Secret tor does not exist" in missing(lab, "node2"), deadline=40, what="it is said again")
        assert connections(lab) == before
        assert moved() == {}


def missing(lab: Lab, node: str) -> str:
    """The message of SecretMissing, empty where it does not hold."""
    return str(facts.conditions(lab, node).get("SecretMissing", {}).get("message", ""))


def test_a_changed_password_resets_its_sessions_only(lab: Lab) -> None:
    """The sessions with the router in IPv4 are made anew, those of the mesh and of IPv6 are not; no node's route moves.

    Nothing but the change of the Secret tells the agents: who asks once a minute would not know of it in time.
    """
    before = connections(lab)
    with watched(lab, *lab.nodes) as moved:
        put_secret(lab, "tor", CHANGED)
        wait_for(lambda: len(facts.sessions_down(lab)) == 2, deadline=15, what="the router's IPv4 sessions are lost")
        router_password(lab, "v4", CHANGED)
        facts.wait_sessions(lab)
        after = connections(lab)
        for node in lab.nodes:
            assert {ends[1].rpartition(":")[0] for ends in before[node] - after[node]} == {"192.0.2.1"}
        assert moved() == {}
    assert traces(lab, MESH, TOR, CHANGED) == [f"{node}/run/secrets" for node in lab.nodes]
    assert traces(lab, TOR) == []


def test_texts_of_objects_are_no_configuration_of_the_bgp_engine(lab: Lab) -> None:
    """A description or a password that is a command in the engine's language runs nothing; the session comes up with it."""
    mark = lab.root / "mark"
    command = f"x; }} process y {{ run /bin/touch {mark}; }}"
    before = connections(lab)
    put_secret(lab, "words", command)
    spec = {
        "description": f'r"; }}\nprocess z {{\n  run /bin/touch {mark};\n  encoder json;\n}}\n',
        "password": reference("words"),
    }
    patch(lab, "BGPPeer", "tor-a-ipv6", spec)
    wait_for(lambda: len(facts.sessions_down(lab)) == 2, deadline=15, what="the router's IPv6 sessions are lost")
    router_password(lab, "v6", command)
    facts.wait_sessions(lab)
    after = connections(lab)
    for node in lab.nodes:
        assert {ends[1].rpartition(":")[0] for ends in before[node] - after[node]} == {"[2001:db8:a::1]"}
        pid = lab.programs[f"{node}/speaker"].pid
        assert (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text() == ""
    assert not mark.exists()
