"""What became of every block, version by version, and what of it must never be: read from the store of a real API server.

The API forgets: a watch that begins again after the server was killed misses what came between. Its store does not, and
numbers every write; so it is followed from the first one on, whatever is killed, and ``Judge`` sees each version once.
"""

import base64
import contextlib
import http.client
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple, Self

from msgspec import Struct

from towpath.lab.netns import Host

_OURS = "/registry/towpath.io/"
_PREFIXES = {f"{_OURS}ipamblocks/": "IPAMBlock", f"{_OURS}nodestatuses/": "NodeStatus", "/registry/minions/": "Node"}
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MACHINE = re.compile(rb"(?<![0-9a-f-])[0-9a-f]{32}(?![0-9a-f-])")


class Machine(NamedTuple):
    """What a Node says of the machine that it stands for."""

    uid: str
    machine_id: str
    system_uuid: str


class Version(Struct, frozen=True):
    """One write: an object of this kind and name became ``body`` (None: was deleted)."""

    kind: str
    name: str
    body: Any
    at: float
    """When it was read, in seconds since the epoch: not before it was written."""
    revision: int = 0
    """The store's number of the write."""


class Judge:
    """Takes one version after the other; ``wrong`` says what must never have been.

    ``quarantine``: seconds that a block is in quarantine at least. ``living``: the addresses of pods that run, and the
    name of each one's node; asked whenever a block is deleted or made.
    """

    def __init__(self, *, quarantine: float, living: Callable[[], Mapping[str, str]] = dict) -> None:
        self.blocks: dict[str, Any] = {}
        self.wrong: list[str] = []
        self.versions = 0
        """Of blocks."""
        self.states: dict[tuple[str, str], int] = {}
        """How often a block went from one state to another; ``-`` is none."""
        self._quarantine = quarantine
        self._living = living
        self._nodes: dict[str, Machine] = {}
        self._stood: set[Machine] = set()
        self._reports: dict[str, Any] = {}
        self._former: dict[str, set[str]] = {}
        """Whose each place has been."""

    @property
    def passed_on(self) -> int:
        """Places that were one node's first and another's later."""
        return sum(len(owners) > 1 for owners in self._former.values())

    def take(self, version: Version) -> None:
        """The next version of anything."""
        name, body = version.name, version.body
        if version.kind == "Node":
            self._nodes.pop(name, None)
            if body is not None:
                self._nodes[name] = body
                self._stood.add(body)
        elif version.kind == "NodeStatus":
            self._reports.pop(name, None)
            if body is not None:
                self._reports[name] = body
        else:
            self._take_block(version)

    def _take_block(self, version: Version) -> None:
        before, after = self.blocks.pop(version.name, None), version.body
        self.versions += 1
        step = tuple("-" if one is None else _state(one) for one in (before, after))
        if step[0] != step[1]:
            self.states[step[0], step[1]] = self.states.get((step[0], step[1]), 0) + 1
        if after is not None:
            self.blocks[version.name] = after
        if before is not None and after is not None and before["metadata"]["uid"] == after["metadata"]["uid"]:
            self._judge_change(before, after)
            return
        if before is not None:
            self._judge_release(before, at=version.at)
        if after is not None:
            self._judge_claim(after)

    def _judge_claim(self, block: Any) -> None:
        cidr, owner = ip_network(block["spec"]["cidr"]), block["spec"]["node"]
        self._former.setdefault(str(cidr), set()).add(owner)
        for other in self.blocks.values():
            theirs = ip_network(other["spec"]["cidr"])
            if other is not block and theirs.version == cidr.version and theirs.overlaps(cidr):
                self.wrong.append(f"{_told(block)} overlaps {_told(other)}")
        self._judge_pods(block, "was claimed", but=owner)

    def _judge_change(self, before: Any, after: Any) -> None:
        old, new = before["spec"], after["spec"]
        became = f"{_told(before)} became {_told(after)}"
        if (old["node"], old["cidr"]) != (new["node"], new["cidr"]):
            self.wrong.append(f"{became}: another node's")
        elif old.get("nodeUID", "") != new.get("nodeUID", ""):
            bound = Machine(new["nodeUID"], old.get("machineID", ""), old.get("systemUUID", ""))
            if bound not in self._stood:
                self.wrong.append(f"{became}: another machine's")
        elif _state(before) == "Quarantined" != _state(after):
            self.wrong.append(f"{became} for the node that is gone")
        if _state(after) == "Quarantined" != _state(before):
            node = self._nodes.get(old["node"])
            if node is not None and node.uid == old.get("nodeUID", "") and not self._empty(old):
                self.wrong.append(f"{became} while its node is there and has not said that it is empty")

    def _empty(self, spec: Any) -> bool:
        status = self._reports.get(spec["node"], {})
        if spec.get("state") != "Draining" or status.get("nodeUID") != spec["nodeUID"]:
            return False
        said = [one for one in status.get("blocks", ()) if one["cidr"] == spec["cidr"]]
        return any(one.get("drained") and not one.get("inUse") for one in said)

    def _judge_release(self, block: Any, *, at: float) -> None:
        if _state(block) != "Quarantined":
            self.wrong.append(f"{_told(block)} was deleted")
        elif at - _written(block) < self._quarantine:
            self.wrong.append(f"{_told(block)} was deleted after {at - _written(block):.1f} s of quarantine")
        self._judge_pods(block, "was deleted")

    def _judge_pods(self, block: Any, what: str, *, but: str = "") -> None:
        cidr = ip_network(block["spec"]["cidr"])
        for address, node in self._living().items():
            if node != but and ip_address(address) in cidr:
                self.wrong.append(f"{_told(block)} {what} while a pod of {node} has {address}")


def _state(block: Any) -> str:
    return str(block["spec"].get("state", "Active"))


def _told(block: Any) -> str:
    spec = block["spec"]
    return f"{spec['cidr']} ({_state(block)}) of {spec['node']}/{spec.get('nodeUID', '')}"


def _written(block: Any) -> float:
    """When an object was last written, by the API server's clock, a second too early at most."""
    times = [one["time"] for one in block["metadata"].get("managedFields", ()) if "time" in one]
    return max(datetime.fromisoformat(text).timestamp() for text in times)


class Store:
    """Follows an etcd from its first write on, in a thread, and goes on where it was when it comes back.

    It serves clients on ``port`` of loopback of ``host`` (None: here); ``take`` is called with every version of a block, of what a
    node reports and of a Node (as a ``Machine``), one at a time and in their order.
    """

    def __init__(self, host: Host | None, *, take: Callable[[Version], None], port: int = 2379) -> None:
        self._host = host
        self._port = port
        self._take = take
        self._next = 1
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None
        self.read = 0
        """How many versions were read."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=20)

    def revision(self) -> int:
        """The number of the last write that there was."""
        with self._connected() as connection:
            connection.request("POST", "/v3/kv/range", json.dumps({"key": _coded("/registry/")}))
            return int(json.load(connection.getresponse())["header"]["revision"])

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                try:
                    self._follow()
                except (OSError, http.client.HTTPException):
                    self._ended.wait(0.05)  # it was killed
        except BaseException as error:
            self.error = error
            raise

    def _follow(self) -> None:
        with self._connected() as connection:
            everything = {"key": _coded("/registry/"), "range_end": _coded("/registry0"), "start_revision": self._next}
            connection.request("POST", "/v3/watch", json.dumps({"create_request": everything}))
            for line in self._lines(connection.getresponse()):
                result = json.loads(line)["result"]
                assert "compact_revision" not in result, "the store has forgotten what was not read yet"
                for event in result.get("events", ()):
                    self._next = int(event["kv"]["mod_revision"]) + 1
                    self._read(event)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        with self._host.entered() if self._host is not None else contextlib.nullcontext():
            connection.sock = socket.create_connection(("127.0.0.1", self._port), timeout=1)
        try:
            yield connection
        finally:
            connection.close()

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        """The lines of an answer without an end, until its server ends or we do."""
        rest = b""
        while not self._ended.is_set():
            try:
                found = answer.read1(1 << 16)
            except TimeoutError:
                continue
            if not found:
                raise ConnectionResetError
            *lines, rest = (rest + found).split(b"\n")
            yield from filter(None, lines)

    def _read(self, event: Any) -> None:
        key = base64.b64decode(event["kv"]["key"]).decode()
        for prefix, kind in _PREFIXES.items():
            if key.startswith(prefix):
                value = base64.b64decode(event["kv"].get("value", ""))
                gone = event.get("type") == "DELETE"
                body = None if gone else _machine(value) if kind == "Node" else json.loads(value)
                if kind == "NodeStatus" and body is not None:
                    body = body.get("status", {})
                self.read += 1
                self._take(Version(kind, key.removeprefix(prefix), body, time.time(), int(event["kv"]["mod_revision"])))


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _machine(value: bytes) -> Machine:
    """Of a Node in its binary form: its uid is the first of all, and no other text in it looks like what its machine says."""
    found = [one.decode() for one in itertools.chain(_UUID.findall(value)[:2], _MACHINE.findall(value)[:1])]
    uid, system_uuid, machine_id = (*found, "", "")[:3]
    return Machine(uid, machine_id=machine_id, system_uuid=system_uuid)
