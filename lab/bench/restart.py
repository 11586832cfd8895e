"""A full restart of the agent with 10,000 routes installed: which routes change (none), and how long until in sync."""

import signal
import socket
import time
from collections.abc import Iterator

from towpath.lab.bench.receive import blast
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.rig import Rig, manifests, rig
from towpath.lab.process import wait_for
from towpath.model.net import Family

ROUTES = 10_000
HEALTH_PORT = 8180
_RTMGRP_ROUTES = 0x40 | 0x400


def restart() -> Iterator[Result]:
    """Kill, start, wait until ready; count what the kernel said of routes meanwhile."""
    with rig() as here:
        (here.manifests / "node.yaml").write_text(manifests(Family.IPV4))
        here.speaker()
        agent = here.agent(health_port=HEALTH_PORT)
        before = here.routes(Family.IPV4)
        blast(here, Family.IPV4, routes=ROUTES, per_set=10)
        here.wait_routes(Family.IPV4, before + ROUTES)
        wait_for(lambda: ready(here), deadline=30, what="the agent is ready")
        with here.dut.entered():
            events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            events.bind((0, _RTMGRP_ROUTES))
            events.setblocking(False)
        with events:
            agent.signal(signal.SIGKILL)
            agent.kill()
            started = time.perf_counter()
            agent.start()
            wait_for(lambda: ready(here), deadline=60, what="the new agent is ready", interval=0.01)
            took = time.perf_counter() - started
            yield alone(f"agent restart with {ROUTES} routes, in sync", ours=took, unit="s")
            yield alone("route events during the restart", ours=_count(events), unit="events")


def ready(here: Rig) -> bool:
    """Whether the agent says that everything wanted is in place."""
    with here.dut.entered():
        probe = socket.socket()
    try:
        with probe:
            probe.settimeout(2)
            probe.connect(("127.0.0.1", HEALTH_PORT))
            probe.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            return b" 200 " in probe.recv(256)
    except OSError:
        return False


def _count(events: socket.socket) -> int:
    count = 0
    while True:
        try:
            events.recv(1 << 16)
        except BlockingIOError:
            return count
        count += 1
