"""A route reflector with 500 clients: two blocks each, all to all, from the first connection on; and what it holds then.

The clients are sockets of this process, served by one loop, so that they cost little beside what is measured.
"""

import selectors
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from towpath.lab.bench.peers import peer_addresses
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.rig import DUT, DUT_AS, Rig, document, rig
from towpath.lab.bench.usage import resident, settle
from towpath.lab.blaster import Blast, end_of_rib, message, open_message, stream
from towpath.model.net import Family

CLIENTS = 500
BLOCKS = 2
"""Of each client."""
_HEADER = 19
_OPEN, _UPDATE, _NOTIFICATION, _KEEPALIVE = 1, 2, 3, 4
_WIRE = 5
"""Bytes of a /26 in an UPDATE."""
_PATH = 4
"""Bytes of its path identifier."""
_BUFFER = 1 << 18


def reflector(clients: int = CLIENTS) -> Iterator[Result]:
    """Seconds until every client has the blocks of all others, and MB of the speaker; with the best path alone and with all."""
    for add_paths in (False, True):
        yield from _reflector(clients, add_paths=add_paths)


def _reflector(clients: int, *, add_paths: bool) -> Iterator[Result]:
    name = f"reflector, {clients} clients{', ADD-PATH' if add_paths else ''}"
    with rig() as here:
        own = peer_addresses(here, clients)
        (here.manifests / "nodes.yaml").write_text(_manifests(own))
        speaker, agent = here.speaker(), here.agent()
        here.wait_listening()
        settle(agent, speaker)
        began = time.monotonic()
        sockets = _dial(here, own)
        try:
            _exchange(sockets, own, add_paths=add_paths)
            took = time.monotonic() - began
            yield alone(f"{name}, {BLOCKS} routes each to all", ours=took, unit="s")
            yield alone(f"{name}, speaker", ours=resident(speaker), unit="MB")
        finally:
            for sock in sockets:
                sock.close()


def _manifests(places: list[IPv4Address]) -> str:
    documents = [
        document("BGPConfiguration", "default", f"{{asNumber: {DUT_AS}, nodeToNodeMeshEnabled: false}}"),
        document("IPPool", "pods", "{cidr: 172.16.0.0/12}"),
        document("BGPPeer", "clients", "{node: dut, peerSelector: \"client == 'true'\"}"),
        _node("dut", DUT[Family.IPV4], "annotations: {towpath.io/route-reflector-cluster-id: 244.0.0.1}"),
    ]
    for number, place in enumerate(places):
        documents.append(_node(f"n{number}", str(place), "labels: {client: 'true'}"))
        for index in range(BLOCKS * number, BLOCKS * number + BLOCKS):
            cidr = f"{_block(index)}/26"
            name = cidr.replace(".", "-").replace("/", "-")
            documents.append(document("IPAMBlock", name, f"{{cidr: {cidr}, node: n{number}, pool: pods}}"))
    return "\n---\n".join(documents)


def _node(name: str, address: str, metadata: str) -> str:
    return (
        f"{{apiVersion: v1, kind: Node, metadata: {{name: {name}, uid: u-{name}, {metadata}}}, "
        f"status: {{addresses: [{{type: InternalIP, address: {address}}}]}}}}"
    )


def _block(index: int) -> IPv4Address:
    return IPv4Address(int(IPv4Address("172.16.0.0")) + 64 * index)


def _dial(here: Rig, places: list[IPv4Address]) -> list[socket.socket]:
    """Connections that are under way, one from each address."""
    sockets = []
    with here.peer.entered():
        for place in places:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.bind((str(place), 0))
            sock.connect_ex((DUT[Family.IPV4], 179))
            sockets.append(sock)
    return sockets


class _Client:
    """One session: what it says, and which prefixes it has heard of."""

    def __init__(self, sock: socket.socket, place: IPv4Address, *, number: int, total: int, add_paths: bool) -> None:
        self._sock = sock
        self._size = _WIRE + _PATH if add_paths else _WIRE
        self._wanted = total - BLOCKS
        blast = Blast(place, DUT_AS, DUT_AS, BLOCKS, _block(BLOCKS * number), 26, path=1 if add_paths else None)
        self._hello = open_message(DUT_AS, place, restart_time=120, add_paths=add_paths)
        self._table = message(_KEEPALIVE) + stream(blast) + b"".join(map(end_of_rib, Family))
        self._rest = b""
        self._heard: set[bytes] = set()

    @property
    def complete(self) -> bool:
        """Whether it has heard of all blocks that are not its own."""
        return len(self._heard) >= self._wanted

    def connected(self) -> None:
        """The other side has taken the connection."""
        self._sock.sendall(self._hello)

    def readable(self) -> None:
        """Take in what there is. Raises ``RuntimeError`` where the session ends."""
        data = self._sock.recv(_BUFFER)
        if not data:
            raise RuntimeError("the reflector has closed a session")
        buffer = self._rest + data
        at, end = 0, len(buffer)
        while at + _HEADER <= end:
            size = buffer[at + 16] << 8 | buffer[at + 17]
            if at + size > end:
                break
            kind = buffer[at + 18]
            if kind == _UPDATE:
                self._update(buffer[at + _HEADER : at + size])
            elif kind == _OPEN:
                self._sock.sendall(self._table)
            elif kind == _NOTIFICATION:
                raise RuntimeError(f"a NOTIFICATION: {buffer[at + _HEADER : at + size].hex()}")
            at += size
        self._rest = buffer[at:]

    def _update(self, body: bytes) -> None:
        withdrawn = body[0] << 8 | body[1]
        attributes = body[2 + withdrawn] << 8 | body[3 + withdrawn]
        announced = body[4 + withdrawn + attributes :]
        size = self._size
        self._heard.update(announced[at + size - _WIRE : at + size] for at in range(0, len(announced), size))


def _exchange(
    sockets: list[socket.socket], places: list[IPv4Address], *, add_paths: bool, deadline: float = 120
) -> None:
    """Run all sessions until every client has everything."""
    until = time.monotonic() + deadline
    missing = set(range(len(sockets)))
    with selectors.DefaultSelector() as selector:
        for number, (sock, place) in enumerate(zip(sockets, places, strict=True)):
            client = _Client(sock, place, number=number, total=BLOCKS * len(sockets), add_paths=add_paths)
            selector.register(sock, selectors.EVENT_WRITE, (number, client))
        while missing:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(missing)} clients have not heard of everything")
            for key, events in selector.select(1):
                number, client = key.data
                if events & selectors.EVENT_WRITE:
                    selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                    client.connected()
                else:
                    client.readable()
                    if client.complete:
                        missing.discard(number)
