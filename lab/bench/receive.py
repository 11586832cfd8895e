"""From a peer's UPDATEs to the kernel's table: 100,000 routes, packed, ten an attribute set, one an UPDATE.

The peer sends a stream that was made beforehand; the clock runs from the moment the session is up until the kernel's
own counters show all routes. Runs of both contenders alternate, and medians are compared.
"""

import json
import statistics
import sys
from collections.abc import Iterator

from towpath.lab.bench.result import Result, compared
from towpath.lab.bench.rig import DUT, DUT_AS, PEER, PEER_AS, Rig, bird_receiver, manifests, rig
from towpath.lab.process import Process, wait_for
from towpath.model.net import Address, Family, parse_prefix

ROUTES = 100_000
SHAPES: dict[str, int | None] = {"packed": None, "10 a set": 10, "1 an UPDATE": 1}
FIRST = {Family.IPV4: "20.0.0.0/26", Family.IPV6: "2001:db8::/64"}
RUNS = 3


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


def measured(name: str, family: Family, *, per_set: int | None, manifests: str, bird: str) -> Result:
    """Medians of both sides; ``manifests`` is what our node is told, ``bird`` the configuration of the other."""
    ours, theirs = [], []
    for _ in range(RUNS):
        theirs.append(one_run(family, per_set=per_set, bird=bird))
        ours.append(one_run(family, per_set=per_set, manifests=manifests))
    return compared(name, against="BIRD", ours=statistics.median(ours), theirs=statistics.median(theirs))


def one_run(family: Family, *, per_set: int | None, manifests: str = "", bird: str = "") -> float:
    """Seconds from the session to a full kernel table, on a fresh rig."""
    with rig() as here:
        if manifests:
            (here.manifests / "node.yaml").write_text(manifests)
            here.speaker()
            here.agent()
        else:
            here.bird(here.dut, "bird", bird)
        before = here.routes(family)
        blast(here, family, routes=ROUTES, per_set=per_set)
        done = here.wait_routes(family, before + ROUTES, last=last_address(family))
        result = here.scratch / "blast.json"
        wait_for(result.exists, deadline=30, what="the peer has sent everything")
        return float(done - json.loads(result.read_text())["established"])


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
