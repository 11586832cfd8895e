"""From a peer's UPDATEs to the kernel's table: 100,000 routes, packed, ten an attribute set, one an UPDATE.

The peer sends a stream that was made beforehand; the clock runs from the moment the session is up until the kernel's
own counters show all routes. It begins once both contenders have started: an agent that has just begun writes its
snapshot and its status, and reads its folder, on the processors that are measured. Runs of both alternate, and medians are
compared; the one that is measured first changes from run to run. What the processors were busy with otherwise cannot be
seen in a ratio of times, so the processor time that each took is printed as well.
"""

import json
import statistics
import sys
from collections.abc import Iterator
from typing import NamedTuple

from towpath.lab.bench.result import Result, compared
from towpath.lab.bench.rig import DUT, DUT_AS, PEER, PEER_AS, Rig, bird_receiver, manifests, rig
from towpath.lab.bench.usage import cpu_seconds, settle
from towpath.lab.process import Process, wait_for
from towpath.model.net import Address, Family, parse_prefix

ROUTES = 100_000
SHAPES: dict[str, int | None] = {"packed": None, "10 a set": 10, "1 an UPDATE": 1}
FIRST = {Family.IPV4: "20.0.0.0/26", Family.IPV6: "2001:db8::/64"}
RUNS = 5
_STEPPED = "node.first_step"
"""What the agent logs then."""


def receive() -> Iterator[Result]:
    """All shapes, both families."""
    for family in Family:
        for shape, per_set in SHAPES.items():
            yield measured(
                f"receive {family.key} {shape}",
                family,
                per_set=per_set,
                manifests=manifests(family),
                bird=bird_receiver(family),
            )


class Run(NamedTuple):
    """Seconds: from the session to a full kernel table, and of processor time of the processes that did it."""

    took: float
    used: float


def measured(name: str, family: Family, *, per_set: int | None, manifests: str, bird: str) -> Result:
    """Medians of both sides; ``manifests`` is what our node is told, ``bird`` the configuration of the other."""
    ours: list[Run] = []
    theirs: list[Run] = []
    for number in range(RUNS):
        for side in (theirs, ours) if number % 2 == 0 else (ours, theirs):
            if side is ours:
                ours.append(one_run(family, per_set=per_set, manifests=manifests))
            else:
                theirs.append(one_run(family, per_set=per_set, bird=bird))
    spent = [statistics.median(run.used for run in side) for side in (ours, theirs)]
    print(f"  {name}: processor time {spent[0]:.2f} s, BIRD {spent[1]:.2f} s", flush=True)
    medians = [statistics.median(run.took for run in side) for side in (ours, theirs)]
    return compared(name, against="BIRD", ours=medians[0], theirs=medians[1])


def one_run(family: Family, *, per_set: int | None, manifests: str = "", bird: str = "") -> Run:
    """One measurement on a fresh rig."""
    with rig() as here:
        if manifests:
            (here.manifests / "node.yaml").write_text(manifests)
            speaker, agent = here.speaker(), here.agent()
            wait_for(lambda: _STEPPED in agent.log, deadline=60, what="the agent has looked at its node")
            contender: tuple[Process, ...] = (speaker, agent)
        else:
            contender = (here.bird(here.dut, "bird", bird),)
        settle(*contender)
        before = here.routes(family)
        used = sum(map(cpu_seconds, contender))
        blast(here, family, routes=ROUTES, per_set=per_set)
        done = here.wait_routes(family, before + ROUTES, last=last_address(family))
        used = sum(map(cpu_seconds, contender)) - used
        result = here.scratch / "blast.json"
        wait_for(result.exists, deadline=30, what="the peer has sent everything")
        return Run(done - json.loads(result.read_text())["established"], used)


def last_address(family: Family, routes: int = ROUTES) -> Address:
    """An address in the last prefix of a blast."""
    first = parse_prefix(FIRST[family])
    return first.network_address + (routes - 1) * (1 << (family.bits - first.prefixlen)) + 1


def blast(here: Rig, family: Family, *, routes: int, per_set: int | None) -> Process:
    """The peer, sending its stream as soon as the session is up."""
    shape = [] if per_set is None else ["--per-set", str(per_set)]
    return here.peer.process(
        *(sys.executable, "-m", "towpath.lab.blaster", "--local", PEER[family], "--local-as", str(PEER_AS)),
        *("--peer", DUT[family], "--peer-as", str(DUT_AS), "--routes", str(routes), "--first", FIRST[family], *shape),
        *("--result", str(here.scratch / "blast.json")),
        log=here.scratch / "blaster.log",
    )
