"""The facts: each a function that shows it on a bench, or shows that the router lacks what it takes.

They are run in this order on one bench a make; those that end sessions come last.
"""

import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Self

import pytest

from tests.netns.interop import opened
from tests.netns.interop.conftest import Place
from tests.netns.interop.makes import FrrMake, GobgpMake, NotifyingMake
from tests.netns.interop.node import (
    KEPT4,
    KEPT6,
    MARKED,
    MARKED6,
    MORE,
    OWN4,
    OWN6,
    PREFERRED,
    REFLECTED,
    THEIRS,
    UNNUMBERED,
    UPSTREAM,
    manifests,
)
from tests.netns.interop.results import RESULTS, YES, Cannot, Outcome
from towpath.lab.events import RouteEvents
from towpath.lab.process import wait_for
from towpath.lab.routers.router import Router
from towpath.model.net import Prefix

FACTS: dict[str, tuple[str, Callable[[Place], Outcome]]] = {}


def fact(words: str) -> Callable[[Callable[[Place], Outcome]], Callable[[Place], Outcome]]:
    """Enter a fact into the table."""

    def enter(check: Callable[[Place], Outcome]) -> Callable[[Place], Outcome]:
        FACTS[check.__name__] = words, check
        return check

    return enter


def _in_their_kernel(place: Place, prefix: Prefix) -> None:
    """Where the router programs one here."""
    if place.make.kernel:
        asked = (f"-{prefix.version}", "route", "show", str(prefix))
        wait_for(lambda: place.router.host.ip_json(*asked), deadline=20, what=f"{prefix} in the router's kernel")


@fact("IPv4 routes, both ways, into the kernel")
def routes4(place: Place) -> Outcome:
    place.bench.held(OWN4, "10.9.1.1")
    assert place.bench.told(MARKED).next_hop == ip_address("10.9.1.2")
    wait_for(lambda: MARKED in place.node.kernel(), deadline=20, what="the route in our kernel")
    _in_their_kernel(place, OWN4)
    return YES


@fact("IPv6 routes, both ways, into the kernel")
def routes6(place: Place) -> Outcome:
    place.bench.held(OWN6, "fd09:2::1")
    assert place.bench.told(MARKED6).next_hop == ip_address("fd09:2::2")
    wait_for(lambda: MARKED6 in place.node.kernel(), deadline=20, what="the route in our kernel")
    _in_their_kernel(place, OWN6)
    return YES


@fact("Both families on one session")
def both(place: Place) -> Outcome:
    place.bench.held(OWN4, "10.9.8.1")
    place.bench.held(OWN6, "fd09:20::1")
    assert "families=['ipv4', 'ipv6']" in place.node.said("established", "10.9.8.2")[-1]
    return YES


@fact("Next hop self, outside and inside an AS")
def next_hop(place: Place) -> Outcome:
    place.bench.held(OWN4, "10.9.3.1")
    assert place.bench.told(PREFERRED).next_hop == ip_address("10.9.3.2")
    return YES


def _carried(place: Place, *, ours: str, theirs: str) -> Outcome:
    """A community of ours reaches the router in both families, and one of its own reaches us."""
    for prefix, address in ((OWN4, "10.9.1.1"), (OWN6, "fd09:2::1")):
        assert ours in place.bench.held(prefix, address).communities
    assert all(theirs in place.bench.told(prefix).communities for prefix in (MARKED, MARKED6))
    return YES


@fact("Communities (RFC 1997)")
def communities(place: Place) -> Outcome:
    return _carried(place, ours="64512:7", theirs="65000:1")


@fact("Large communities (RFC 8092)")
def large_communities(place: Place) -> Outcome:
    return _carried(place, ours="64512:1:2", theirs="65000:1:2")


@fact("AS path, with prepending")
def as_path(place: Place) -> Outcome:
    assert place.bench.held(OWN4, "10.9.1.1").as_path == (64512, 64512, 64512)
    assert place.bench.held(OWN4, "10.9.3.1").as_path == ()
    assert place.bench.told(MARKED).as_path == (65000, 65000, 65000)
    return YES


@fact("MED")
def med(place: Place) -> Outcome:
    assert place.bench.held(OWN4, "10.9.1.1").med == 77
    assert place.bench.told(MARKED).med == 50
    return YES


@fact("LOCAL_PREF")
def local_preference(place: Place) -> Outcome:
    assert place.bench.held(OWN4, "10.9.3.1").local_preference == 300
    assert place.bench.told(PREFERRED).local_preference == 250
    return YES


@fact("AS numbers of four bytes (RFC 6793)")
def four_octet(place: Place) -> Outcome:
    assert place.bench.held(OWN4, "10.9.7.1").as_path == (4200000001,)
    return YES


@fact("TCP-MD5 (RFC 2385)")
def signed(place: Place) -> Outcome:
    place.bench.held(OWN4, "10.9.4.1")
    return YES


@fact("TTL security (RFC 5082)")
def near(place: Place) -> Outcome:
    place.bench.held(OWN4, "10.9.5.1")
    return YES


@fact("Role: we are the customer and insist that the router is the provider (RFC 9234)")
def role(place: Place) -> Outcome:
    if opened.ROLE not in place.offers:
        assert place.node.up("10.9.9.2") == 0
        return Cannot("its OPEN has no capability 9 (role)")
    place.bench.held(OWN4, "10.9.9.1")
    return YES


@fact("A link without addresses: peers found by neighbour discovery, IPv6 routes")
def unnumbered(place: Place) -> Outcome:
    ours, theirs = "fe80::1", "peer=fe80::2%eth1"
    wait_for(lambda: theirs in place.node.speaker.log, deadline=30, what="our end is up")
    wait_for(
        lambda: any(str(one).partition("%")[0] == ours for one in place.router.established()),
        deadline=20,
        what="their end is up",
    )
    wait_for(lambda: _over_the_link(place, OWN6), deadline=20, what=f"{OWN6}: {place.router.paths(OWN6)}")
    return YES


def _over_the_link(place: Place, prefix: Prefix) -> bool:
    """Whether the router has our block by the link."""
    return any(str(path.next_hop).startswith("fe80::1") for path in place.router.paths(prefix))


@fact("IPv4 routes with IPv6 next hops over it (RFC 8950), both ways")
def extended_next_hop(place: Place) -> Outcome:
    if opened.EXTENDED_NEXT_HOP not in place.offers:
        return Cannot("its OPEN has no capability 5 (extended next hop)")
    wait_for(lambda: _over_the_link(place, OWN4), deadline=20, what=f"{OWN4}: {place.router.paths(OWN4)}")
    wait_for(lambda: UNNUMBERED in place.node.kernel(), deadline=20, what="the route in our kernel")
    (route,) = place.node.host.ip_json("-4", "route", "show", str(UNNUMBERED))
    assert (route["via"]["host"], route["dev"]) == ("fe80::2", "eth1")
    return YES


@fact("Our reflector, the router as its client (RFC 4456)")
def our_reflector(place: Place) -> Outcome:
    path = place.bench.held(REFLECTED, "10.9.20.3")
    assert path.originator == ip_address("10.9.0.3")
    assert ip_address("10.9.8.8") in path.clusters
    wait_for(lambda: UPSTREAM in place.node.kernel(), deadline=20, what="the route in our kernel")
    return YES


@fact("The router as reflector, our node as its client")
def their_reflector(place: Place) -> Outcome:
    path = wait_for(lambda: place.router.paths(THEIRS), deadline=20, what="a path of the other client")[0]
    assert path.next_hop == ip_address("10.9.12.3")
    wait_for(lambda: THEIRS in place.node.kernel(), deadline=20, what="it is reflected")
    return YES


@fact("Extended messages (RFC 8654)")
def extended_messages(place: Place) -> Outcome:
    if opened.EXTENDED_MESSAGE not in place.offers:
        return Cannot("its OPEN has no capability 6 (extended message)")
    return YES


@fact("Route refresh (RFC 2918), asked for by the router")
def route_refresh(place: Place) -> Outcome:
    asked, before = place.make.refreshes("10.9.1.1"), place.make.updates("10.9.1.1")
    place.make.refresh("10.9.1.1")
    if isinstance(place.make, GobgpMake):
        assert opened.ROUTE_REFRESH in place.offers
        assert place.make.refreshes("10.9.1.1") == asked
        return Cannot("it reads its own table again (`softresetin`) and sends no ROUTE-REFRESH")
    wait_for(lambda: place.make.updates("10.9.1.1") > before, deadline=20, what="updates once more")
    return YES


KEPT = (str(KEPT4), str(KEPT6))
OURS = {ip_address(f"10.9.{number}.1") for number in range(1, 8)}
EOR_ALONE = "it keeps routes for others, but its own OPEN names no family for graceful restart"
PEERS = ("10.9.1.2", "fd09:2::2", "10.9.3.2", "10.9.4.2", "10.9.5.2", "10.9.6.2", "10.9.7.2", "10.9.20.3", "fd09:20::3")


def _restarting(place: Place) -> bytes:
    """The value of the graceful restart capability of its OPEN: flags and time, then families (RFC 4724 section 3)."""
    return place.offers[opened.RESTART]


class Looking(threading.Thread):
    """Asks a router again and again whether it has a path of our block, from its start to its end."""

    def __init__(self, router: Router) -> None:
        super().__init__(daemon=True)
        self._router, self._ended = router, threading.Event()
        self.missed = 0

    def run(self) -> None:
        while not self._ended.is_set():
            self.missed += not self._router.paths(KEPT4)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def _sessions_again(place: Place, before: dict[str, int]) -> None:
    """Every session of before has come up once more, on both sides."""
    wait_for(
        lambda: all(place.node.up(peer) > count for peer, count in before.items()),
        deadline=60,
        what=f"sessions are up again, more than {before}",
        interval=0.1,
    )
    place.router.wait_established("10.9.1.1", "fd09:2::1", "10.9.3.1", "10.9.20.3")


@fact("Graceful restart (RFC 4724): our speaker is killed, the router keeps our routes")
def we_restart(place: Place) -> Outcome:
    place.bench.held(KEPT4, "10.9.1.1")
    place.bench.held(KEPT6, "fd09:2::1")
    before = {peer: place.node.up(peer) for peer in PEERS}
    with RouteEvents(place.router.host) as events, Looking(place.router) as looking:
        place.node.speaker.kill()
        wait_for(lambda: not place.router.established() & OURS, deadline=30, what="the router sees it")
        assert place.router.paths(KEPT4)
        place.node.speaker.start()
        _sessions_again(place, before)
        wait_for(
            lambda: not any(path.stale for path in place.router.paths(KEPT4)), deadline=30, what="nothing is stale"
        )
        place.bench.held(KEPT4, "10.9.1.1")
        moved = [event for event in events.read() if event.prefix in KEPT]
    assert (moved, looking.missed) == ([], 0)
    if isinstance(place.make, FrrMake):
        assert place.make.restart_bits("10.9.1.1") == (True, True, True)
    return YES


@fact("Graceful restart: the router is killed, our kernel moves no route")
def they_restart(place: Place) -> Outcome:
    wait_for(lambda: UPSTREAM in place.node.kernel(), deadline=30, what="the route")
    peers = ("10.9.1.2", "fd09:2::2", "10.9.3.2")
    alone = len(_restarting(place)) == 2
    before, losses = {peer: place.node.up(peer) for peer in peers}, len(place.node.losses("10.9.1.2"))
    with RouteEvents(place.node.host) as events:
        place.router.kill()
        wait_for(lambda: len(place.node.losses("10.9.1.2")) > losses, deadline=30, what="the loss")
        if alone:
            wait_for(lambda: UPSTREAM not in place.node.kernel(), deadline=30, what="the route is gone")
        place.router.restart()
        place.make.originate()
        _sessions_again(place, before)
        place.bench.held(OWN4, "10.9.1.1")
        wait_for(lambda: UPSTREAM in place.node.kernel(), deadline=30, what="the route")
        moved = [event for event in events.read() if event.prefix == str(UPSTREAM)]
    if alone:
        return Cannot(EOR_ALONE)
    assert moved == []
    return YES


@fact("A NOTIFICATION ends the session and moves no route: the N bit of both (RFC 8538)")
def notification(place: Place) -> Outcome:
    if not _restarting(place)[0] & 0x40:
        return Cannot("its OPEN lacks the N bit")
    assert isinstance(place.make, NotifyingMake)
    before = {"10.9.1.2": place.node.up("10.9.1.2")}
    with RouteEvents(place.node.host) as events:
        place.make.soft_reset("10.9.1.1")
        _sessions_again(place, before)
        place.bench.told(UPSTREAM)
        place.bench.held(OWN4, "10.9.1.1")
        moved = [event for event in events.read() if event.prefix == str(UPSTREAM)]
    assert "code=6" in place.node.losses("10.9.1.2")[-1]
    assert moved == []
    return YES


@fact("Cease/Hard Reset from the router: its routes go (RFC 8538)")
def hard_reset(place: Place) -> Outcome:
    if not _restarting(place)[0] & 0x40:
        return Cannot("its OPEN lacks the N bit")
    if isinstance(place.make, GobgpMake):
        return Cannot("no command of `gobgp` sends it: `disable` is Cease/Administrative Shutdown")
    before = {"10.9.1.2": place.node.up("10.9.1.2")}
    place.make.hard_reset("10.9.1.1")
    wait_for(lambda: "Hard Reset" in "".join(place.node.losses("10.9.1.2")[-1:]), deadline=30, what="a hard reset")
    wait_for(lambda: UPSTREAM not in place.node.kernel(), deadline=30, what="the route is gone")
    place.make.revive("10.9.1.1")
    _sessions_again(place, before)
    wait_for(lambda: UPSTREAM in place.node.kernel(), deadline=30, what="the route again")
    return YES


@fact("Our limit of prefixes: the rest is refused, the session stays")
def our_limit(place: Place) -> Outcome:
    wait_for(lambda: "reason=MaxPrefix" in place.node.speaker.log, deadline=20, what="a notice of the limit")
    # a router that has come back dials and is dialled: of two connections one ends
    wait_for(
        lambda: "session.established" in place.node.said("(?:established|lost)", "10.9.6.2")[-1],
        deadline=30,
        what="the session is up",
    )
    assert not any("code=6 subcode=1 " in one for one in place.node.losses("10.9.6.2"))
    return YES


@fact("Their limit of prefixes: Cease, with its reason in our log")
def their_limit(place: Place) -> Outcome:
    place.node.write(manifests(more=MORE))
    ending = "Maximum Number of Prefixes"  # FRR says it inside a hard reset
    wait_for(lambda: any(ending in one for one in place.node.losses("10.9.6.2")), deadline=20, what="Cease/1")
    return YES


@fact("Our words at a shutdown (RFC 9003)")
def our_words(place: Place) -> Outcome:
    place.node.write(manifests(near={"shutdown": {"message": "rack 1 moves"}}))
    wait_for(lambda: "rack 1 moves" in place.make.heard("10.9.5.1"), deadline=20, what="our words")
    wait_for(lambda: place.bench.from_session(OWN4, "10.9.5.1") is None, deadline=20, what="our routes are gone")
    return YES


@fact("Their words at a shutdown")
def their_words(place: Place) -> Outcome:
    place.make.shut("10.9.7.1", "back-at-noon")
    ended = "Administrative Shutdown"
    losses = wait_for(
        lambda: [one for one in place.node.losses("10.9.7.2") if ended in one],
        deadline=20,
        what="the end of that session",
    )
    if isinstance(place.make, GobgpMake):
        assert "back-at-noon" not in losses[0]
        return Cannot("`gobgp neighbor N disable WORDS` sends the NOTIFICATION without them")
    assert "back-at-noon" in losses[0]
    return YES


@fact("We leave for good, graceful restart agreed upon: the router keeps no route of ours, not even as stale")
def leaving(place: Place) -> Outcome:
    place.bench.held(KEPT4, "10.9.1.1")
    place.bench.held(KEPT6, "fd09:2::1")

    def gone() -> bool:
        there = [path for prefix in (KEPT4, KEPT6) for path in place.router.paths(prefix)]
        assert not any(path.stale for path in there)
        return there == [] and not place.router.established() & OURS

    place.node.write(manifests(leaving=True))
    wait_for(gone, deadline=20, what="no session and no route of ours", interval=0.02)
    return YES


@pytest.mark.parametrize("name", FACTS)
def test_fact(place: Place, name: str) -> None:
    """It holds with this make, or the router lacks what it takes, which is shown."""
    RESULTS[name, place.make.name] = FACTS[name][1](place)
