"""An engine in a namespace, driven from a test: a thread that has entered the namespace runs its event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TypeVar

from tests.patience import longer
from towpath.bgp.exabgp.engine import Engine
from towpath.bgp.ports import Loss, Negotiated, SessionError
from towpath.lab.bird import state_changes
from towpath.lab.blaster import Blast, end_of_rib, stream
from towpath.lab.netns import Host
from towpath.lab.process import Process, run, wait_for
from towpath.model.kinds.bgp import SecretKey
from towpath.model.net import Family, family_of
from towpath.model.secret import Secret
from towpath.model.speaker import Listen, MaxPrefix, Session, Settings

T = TypeVar("T")
AS_OURS = 64512
AS_PEER = 65000


class RecordingTable:
    """A sink and an outbound side that remember: every session is sent ``routes``, then End-of-RIB."""

    def __init__(self, routes: Sequence[Blast] = ()) -> None:
        self.routes = list(routes)
        self.negotiated: dict[str, Negotiated] = {}
        self.lost_sessions: list[tuple[str, Loss]] = []
        self.bodies: dict[str, list[bytes]] = {}
        self.refreshes: list[tuple[str, Family]] = []
        self.to_send: dict[str, bytes] = {}
        self.first_words = b""
        """What a session is told behind the KEEPALIVE."""
        self.refuse_updates: SessionError | None = None

    def established(self, name: str, negotiated: Negotiated) -> None:
        self.negotiated[name] = negotiated
        self.bodies[name] = []
        routes = [blast for blast in self.routes if family_of(blast.first) in negotiated.families]
        self.to_send[name] = b"".join(map(stream, routes)) + b"".join(map(end_of_rib, negotiated.families))

    def updates(self, name: str, bodies: Sequence[bytes]) -> None:
        if self.refuse_updates is not None:
            raise self.refuse_updates
        self.bodies[name] += bodies

    def refresh(self, name: str, family: Family) -> None:
        self.refreshes.append((name, family))

    def lost(self, name: str, loss: Loss) -> None:
        del self.negotiated[name]
        self.lost_sessions.append((name, loss))

    def opening(self, name: str, negotiated: Negotiated, limit: int) -> bytes:
        return self.first_words

    def farewell(self, name: str) -> bytes:
        return b""

    def pull(self, name: str, limit: int) -> bytes:
        """Whole messages up to the limit."""
        data = self.to_send.get(name, b"")
        end = 0
        while end < len(data):
            length = int.from_bytes(data[end + 16 : end + 18], "big")
            if end and end + length > limit:
                break
            end += length
        self.to_send[name] = data[end:]
        return data[:end]


class EngineHost:
    """An engine that lives in a host's namespace; its state may be read from the test's thread."""

    def __init__(self, host: Host, table: RecordingTable) -> None:
        self.host = host
        self.table = table
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()
        assert self._ready.wait(longer(5))
        self.call(self.engine.start())

    def _main(self) -> None:
        with self.host.entered():
            self.loop = asyncio.new_event_loop()
            self.engine = Engine(sink=self.table, outbound=self.table)
            self.loop.call_soon(self._ready.set)
            self.loop.run_forever()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(longer(10))

    def do(self, function: Callable[[], T]) -> T:
        async def inner() -> T:
            return function()

        return self.call(inner())

    def apply(self, *sessions: Session, settings: Settings | None = None, **passwords: bytes) -> None:
        secrets = {name: Secret(value) for name, value in passwords.items()}
        wanted = {session.name: session for session in sessions}
        self.do(lambda: self.engine.apply(settings or make_settings(), sessions=wanted, passwords=secrets))

    def state(self, name: str) -> str:
        return self.do(self.engine.states).get(name, ("", ""))[0]

    def reason(self, name: str) -> str:
        return self.do(self.engine.states).get(name, ("", ""))[1]

    def up(self, *names: str, deadline: float = 15) -> None:
        def probe() -> bool:
            states = self.do(self.engine.states)
            return all(states[name][0] == "Established" for name in names)

        wait_for(probe, deadline=deadline, what=f"{names} established, but {self.do(self.engine.states)}")

    def down(self, name: str, deadline: float = 15) -> Loss:
        wait_for(
            lambda: any(lost == name for lost, _ in self.table.lost_sessions), deadline=deadline, what=f"{name} lost"
        )
        return next(loss for lost, loss in self.table.lost_sessions if lost == name)

    def close(self, *, graceful: bool = False) -> None:
        if self._thread.is_alive():
            self.call(self.engine.stop(graceful=graceful))
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(longer(5))


@contextlib.contextmanager
def engine_in(host: Host, table: RecordingTable | None = None) -> Iterator[EngineHost]:
    engine = EngineHost(host, table or RecordingTable())
    try:
        yield engine
    finally:
        engine.close()


def make_settings(**changes) -> Settings:
    values = {
        "node": "n",
        "local_as": AS_OURS,
        "router_id": IPv4Address("10.9.0.1"),
        "listen": (Listen(None, 179),),
        "maximum_paths": 1,
        "own_addresses": (),
        "pools": (),
        **changes,
    }
    return Settings(**values)


def make_session(name: str, peer: str, **changes) -> Session:
    values = {
        "name": name,
        "scope": "Global",
        "peer_address": ip_address(peer),
        "peer_port": 179,
        "remote_as": AS_PEER,
        "local_as": AS_OURS,
        "local_address": None,
        "passive": False,
        "families": (Family.IPV4, Family.IPV6),
        "hold_time": 90,
        "keepalive_time": 30,
        "connect_retry_time": 1,
        "restart_time": 120,
        "import_policy": "All",
        "max_prefix": MaxPrefix(1000),
        **changes,
    }
    return Session(**values)


SECRET = SecretKey(name="bgp", key="password")


class Bird:
    """BIRD on a host: one protocol a neighbour, all called by the keys of ``neighbours``."""

    def __init__(
        self, host: Host, folder: Path, *, router_id: str, neighbours: dict[str, str], static: str = "", more: str = ""
    ) -> None:
        self.host = host
        self.folder = folder / f"bird-{host.name}"
        self.folder.mkdir(exist_ok=True)
        self.control = self.folder / "bird.ctl"
        self.config = self.folder / "bird.conf"
        protocols = "\n".join(f"protocol bgp {name} {{ {text} }}" for name, text in neighbours.items())
        self.config.write_text(
            f'log "{self.folder}/bird.log" all;\ndebug protocols {{ states }};\n'
            f"router id {router_id};\nprotocol device {{ }}\n"
            f"protocol static s4 {{ ipv4; {static} }}\n{more}\n{protocols}\n",
        )
        self.process: Process = host.process(
            *("bird", "-f", "-c", str(self.config), "-s", str(self.control), "-P", str(self.folder / "bird.pid")),
            log=self.folder / "bird.out",
        )

    def ask(self, command: str) -> str:
        return run("birdc", "-s", str(self.control), command, check=False)

    def changes(self, name: str) -> int:
        """How often the protocol has changed its state."""
        return state_changes(self.log, name)

    def settled(self, name: str) -> int:
        """The same, once the session is up here too: the other end may have seen that a moment before."""
        wait_for(lambda: "Established" in self.ask(f"show protocols {name}"), deadline=15, what=f"{name} is up")
        return self.changes(name)

    @property
    def log(self) -> str:
        path = self.folder / "bird.log"
        return path.read_text() if path.exists() else ""


def bird_neighbour(
    address: str,
    *,
    local: str,
    more: str = "",
    local_as: int = AS_PEER,
    remote_as: int = AS_OURS,
    graceful: bool = True,
    export: str = "all",
) -> str:
    restart = "graceful restart on;" if graceful else "graceful restart off;"
    return (
        f"local {local} as {local_as}; neighbor {address} as {remote_as}; connect retry time 1; connect delay time 1; "
        f"error wait time 1,2; {restart} {more} ipv4 {{ import all; export {export}; import table on; }}; "
        f"ipv6 {{ import all; export {export}; }};"
    )
