"""A filter that changes with 100,000 routes held: until the verdicts are others, and how late a KEEPALIVE is meanwhile."""

import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from towpath.lab.bench.peers import Peers
from towpath.lab.bench.receive import FIRST, ROUTES, last_address
from towpath.lab.bench.receive_policy import rules
from towpath.lab.bench.result import Result, alone
from towpath.lab.bench.rig import DUT_AS, PEER, PEER_AS, Rig, document, manifests, peer, rig
from towpath.lab.bench.usage import cpu_seconds, settle
from towpath.lab.blaster import Blast, end_of_rib, stream
from towpath.lab.process import wait_for
from towpath.model.net import Family

HOLD_TIME = 3
"""Seconds; a third of it is the longest silence that is promised."""
PER_SET = 10
"""Routes an attribute set."""
_FAMILY = Family.IPV4


def refilter() -> Iterator[Result]:
    """Seconds from the change of the object until the last route that it refuses is gone, of processor time, and of the longest silence."""
    with rig() as here:
        last = last_address(_FAMILY)
        _write(here, refused="192.0.2.0/24")
        speaker, agent = here.speaker(), here.agent()
        first, own = ip_network(FIRST[_FAMILY]), ip_address(PEER[_FAMILY])
        blast = Blast(own, PEER_AS, DUT_AS, ROUTES, first.network_address, first.prefixlen, PER_SET)
        before = here.routes(_FAMILY)
        here.wait_listening()
        with Peers(here, [own], [stream(blast) + end_of_rib(_FAMILY)], hold_time=HOLD_TIME) as peers:
            here.wait_routes(_FAMILY, before + ROUTES, last=last)
            settle(speaker, agent)
            held, used = here.routes(_FAMILY), cpu_seconds(speaker)
            peers.watch()
            began = time.monotonic()
            _write(here, refused=f"{last - 1}/{first.prefixlen}")
            wait_for(lambda: here.routes(_FAMILY) < held, deadline=60, what="it is refused", interval=0.005)
            took = time.monotonic() - began
            settle(speaker, agent)
            yield alone(f"a filter changes, {ROUTES} routes held", ours=took, unit="s")
            used = cpu_seconds(speaker) - used
            yield alone(f"a filter changes, {ROUTES} routes held, processor time of the speaker", ours=used, unit="s")
            late = peers.silence() - HOLD_TIME / 3
            yield alone(f"a filter changes, {ROUTES} routes held, KEEPALIVE late by", ours=max(late, 0.0), unit="s")


def _write(here: Rig, *, refused: str) -> None:
    """The node's objects; the filter has the 20 rules of ``receive-policy`` and one before them."""
    rule = f"{{action: Reject, cidr: '{refused}', matchOperator: In}}"
    filters = document("BGPFilter", "policy", f"{{importV4: [{rule}, {rules(_FAMILY).towpath}]}}")
    session = peer("peer", PEER[_FAMILY], policy="importPolicy: Filtered, filters: [policy]")
    text = manifests(_FAMILY, peers=f"{session}\n---\n{filters}")
    written = here.scratch / "node.yaml"
    written.write_text(text)
    written.replace(here.manifests / "node.yaml")
