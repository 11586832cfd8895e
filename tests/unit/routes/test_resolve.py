"""How next hops resolve, beside a naive model that looks at everything every time."""

from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from towpath.model.net import Address, Family, Prefix, scoped, to_wire
from towpath.routes.kernel import AddressEvent, Link, LinkAddress, LinkEvent, RouteEvent, RouteSeen
from towpath.routes.resolve import Resolution, Resolver
from towpath.routes.route import NextHop, RouteType, Spec, spec

BASE = {Family.IPV4: int(ip_address("10.0.0.0")), Family.IPV6: int(ip_address("fd00::"))}
LINKS = [Link(index, f"eth{index}", usable=usable) for index, usable in ((1, True), (2, True), (3, False), (4, True))]
IGNORED = 4
METRIC = 1179


def host(family: Family, number: int) -> Address:
    """One of 16 addresses at the end of the range."""
    return type(ip_address("::" if family is Family.IPV6 else "0.0.0.0"))(BASE[family] + number)


def prefix(family: Family, number: int, length: int) -> Prefix:
    """A prefix of the last four bits, or the default route for length -1."""
    if length < 0:
        return ip_network("0.0.0.0/0" if family is Family.IPV4 else "::/0")
    return ip_network((int(host(family, number)), family.bits - 4 + length), strict=False)


families = st.sampled_from(list(Family))
routes = st.tuples(
    st.integers(0, 15),
    st.integers(-1, 4),
    st.lists(st.tuples(st.integers(1, 4), st.one_of(st.none(), st.integers(0, 15))), max_size=2),
    st.integers(0, 3),
)


def made(family: Family, hops: list[tuple[int, int | None]], metric: int) -> Spec:
    if not hops:
        return spec(RouteType.OTHER, metric=metric)
    ways = [NextHop(None if gateway is None else host(family, gateway), device) for device, gateway in hops]
    return spec(RouteType.UNICAST, ways, metric=metric)


def naive(addresses: list[LinkAddress], table: list[tuple[Prefix, Spec]], address: Address) -> Resolution | None:
    """The longest prefix first, links before routes, then the lowest metric; the first that has a usable way."""
    usable = {link.index for link in LINKS if link.usable and link.index != IGNORED}
    if any(one.local == address for one in addresses):
        return None
    candidates: list[tuple[int, int, int, Spec]] = []
    for one in addresses:
        network = one.subnet.network
        if address in network and one.index in usable:
            route = spec(RouteType.UNICAST, (NextHop(None, one.index),), metric=0)
            candidates.append((-network.prefixlen, 0, -one.index, route))
    candidates += [(-net.prefixlen, 1, route.metric, route) for net, route in table if address in net]
    for _, _, _, route in sorted(candidates, key=lambda found: found[:3]):
        ways = tuple(hop for hop in route.next_hops if hop.device in usable)
        if ways:
            direct = all(hop.gateway is None for hop in ways)
            resolved = tuple(NextHop(address, hop.device) if hop.gateway is None else hop for hop in ways)
            return Resolution(resolved, 0 if direct else 1 + route.metric)
        if route.type is not RouteType.UNICAST:
            return None
    return None


def by_gateways(
    behind: dict[Address, Address], addresses: list[LinkAddress], table: list[tuple[Prefix, Spec]], address: Address
) -> Resolution | None:
    """A route of ours to the address alone is longer than all others; its gateway is where the others say."""
    own = any(one.local == address for one in addresses)
    found = naive(addresses, table, behind[address]) if address in behind and not own else None
    return naive(addresses, table, address) if found is None else Resolution(found.next_hops, 1 + METRIC)


def longest(
    addresses: list[LinkAddress], table: list[tuple[Prefix, Spec]], address: Address
) -> tuple[int, Resolution | None] | None:
    """What ``naive`` finds, with the length that it counts with: of a link of ours all bits; None: nothing says anything."""
    found = naive(addresses, table, address)
    usable = {link.index for link in LINKS if link.usable and link.index != IGNORED}
    links = [one.subnet.network.prefixlen for one in addresses if address in one.subnet.network and one.index in usable]
    nets = [
        net.prefixlen
        for net, route in table
        if address in net
        and (route.type is not RouteType.UNICAST or any(hop.device in usable for hop in route.next_hops))
    ]
    if max(links, default=-1) >= max(nets, default=-1):
        return (address.max_prefixlen, found) if links else None
    return max(nets), found


def by_neighbours(
    told: dict[Prefix, tuple[Address, ...]],
    addresses: list[LinkAddress],
    table: list[tuple[Prefix, Spec]],
    address: Address,
    *,
    near: frozenset[Address] = frozenset(),
) -> Resolution | None:
    """The longest prefix that neighbours told and that leads somewhere, unless links or others' routes say it more closely."""
    if any(one.local == address for one in addresses):
        return None
    other = longest(addresses, table, address)
    if address in near:
        return other[1] if other is not None else None
    for net in sorted((net for net in told if address in net), key=lambda one: -one.prefixlen):
        if other is not None and other[0] > net.prefixlen:
            break
        if other is not None and other[0] == net.prefixlen and (other[1] is None or other[1].metric <= 1 + METRIC):
            break
        ways = [naive(addresses, table, gateway) for gateway in told[net]]
        hops = tuple(dict.fromkeys(hop for way in ways if way is not None for hop in way.next_hops))
        if hops:
            return Resolution(hops, 1 + METRIC)
    return other[1] if other is not None else None


@settings(max_examples=examples(300))
@given(
    family=families,
    addresses=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 15), st.integers(0, 4)), max_size=4),
    table=st.lists(
        routes, max_size=6, unique_by=lambda route: (str(prefix(Family.IPV4, route[0], route[1])), route[3])
    ),
    told=st.dictionaries(
        st.tuples(st.integers(0, 15), st.integers(-1, 4)),
        st.lists(st.integers(0, 15), min_size=1, max_size=2),
        max_size=4,
    ),
    neighbours=st.sets(st.integers(0, 15), max_size=4),
    lower=st.booleans(),
    later=st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=4),
)
def test_neighbours_routes_lead_to_next_hops_and_never_to_themselves(  # one world has all of these
    family, addresses, table, told, neighbours, lower, later
) -> None:
    """Like the naive model; gateways are looked for on links and in others' routes alone, whatever neighbours told of them.

    So are neighbours themselves. Others' routes that come and go later are taken in wherever they make a difference.
    """
    local = {
        LinkAddress(index, host(family, number), ip_interface((host(family, number), family.bits - 4 + length)))
        for index, number, length in addresses
    }
    foreign = [
        (prefix(family, number, length), made(family, hops, metric if lower else metric + 2 * METRIC))
        for number, length, hops, metric in table
    ]
    ways = {
        prefix(family, number, length): tuple(host(family, gateway) for gateway in gateways)
        for (number, length), gateways in told.items()
    }
    resolver = Resolver()
    resolver.ignore(("eth4",))
    resolver.reset_links(LINKS, local)
    near = frozenset(host(family, number) for number in neighbours)
    resolver.reset_routes(family, ((to_wire(net), route) for net, route in foreign))
    resolver.behind({}, metric=METRIC)
    questions = [host(family, number) for number in range(16)]
    resolver.changed(questions)
    resolver.lead(ways, near=near)
    assert resolver.changed(questions) == (questions if ways or near else [])
    sorted_local = sorted(local, key=lambda one: one.index)
    answers = {address: resolver.resolve(address) for address in questions}
    for address in questions:
        assert answers[address] == by_neighbours(ways, sorted_local, foreign, address, near=near)
    there = dict(enumerate(foreign))
    for number, gone in later:
        if number < len(foreign) and (number in there) is gone:
            resolver.route(event(family, *foreign[number], gone=gone))
            there = {at: one for at, one in enumerate(foreign) if (at in there) is not (at == number)}
            answers |= {address: resolver.resolve(address) for address in resolver.changed(questions)}
            for address in questions:
                wanted = by_neighbours(ways, sorted_local, list(there.values()), address, near=near)
                assert answers[address] == wanted
    resolver.lead({}, near=frozenset())
    for address in questions:
        assert resolver.resolve(address) == by_neighbours({}, sorted_local, list(there.values()), address)


@settings(max_examples=examples(300))
@given(
    family=families,
    addresses=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 15), st.integers(0, 4)), max_size=4),
    table=st.lists(
        routes, max_size=8, unique_by=lambda route: (str(prefix(Family.IPV4, route[0], route[1])), route[3])
    ),
    removed=st.sets(st.integers(0, 7)),
    peers=st.dictionaries(st.integers(0, 15), st.integers(0, 15), max_size=3),
)
def test_like_the_naive_model(family, addresses, table, removed, peers) -> None:
    """The resolver answers like the naive model, whether it was told everything at once or bit by bit."""
    local = {
        LinkAddress(index, host(family, number), ip_interface((host(family, number), family.bits - 4 + length)))
        for index, number, length in addresses
    }
    foreign = [(prefix(family, number, length), made(family, hops, metric)) for number, length, hops, metric in table]
    kept = [route for number, route in enumerate(foreign) if number not in removed]
    behind = {host(family, peer): host(family, gateway) for peer, gateway in peers.items()}

    whole = Resolver()
    whole.ignore(("eth4",))
    whole.reset_links(LINKS, local)
    whole.reset_routes(family, ((to_wire(net), route) for net, route in kept))
    whole.behind(behind, metric=METRIC)

    told = Resolver()
    told.ignore(("eth4",))
    questions = [host(family, number) for number in range(16)]
    answers: dict[Address, Resolution | None] = {}

    def settle() -> None:
        answers.update({address: told.resolve(address) for address in told.changed(questions)})

    settle()
    for net, route in foreign:
        told.route(event(family, net, route, gone=False))
    settle()
    told.behind(behind, metric=METRIC)
    settle()
    for link in LINKS:
        told.link(LinkEvent(link, gone=False))
    for one in local:
        told.address(AddressEvent(one, gone=False))
    settle()
    for number in removed:
        if number < len(foreign):
            told.route(event(family, *foreign[number], gone=True))
    settle()

    for address in questions:
        expected = by_gateways(behind, sorted(local, key=lambda one: one.index), kept, address)
        assert whole.resolve(address) == expected
        assert answers[address] == expected


def event(family: Family, net: Prefix, route: Spec, *, gone: bool) -> RouteEvent:
    return RouteEvent(family, gone=gone, replaced=False, seen=RouteSeen(to_wire(net), 4, route))


def test_only_what_may_have_changed() -> None:
    """After a change of one foreign route only addresses inside it are asked about again."""
    resolver = Resolver()
    resolver.reset_links([Link(1, "eth1", usable=True)], [])
    questions = [ip_address("10.0.0.1"), ip_address("10.1.0.1")]
    assert resolver.changed(questions) == questions
    route = spec(RouteType.UNICAST, (NextHop(None, 1),), metric=0)
    resolver.route(event(Family.IPV4, ip_network("10.1.0.0/16"), route, gone=False))
    assert resolver.changed(questions) == [ip_address("10.1.0.1")]
    assert resolver.changed(questions) == []
    resolver.link(LinkEvent(Link(1, "eth1", usable=False), gone=False))
    assert resolver.changed(questions) == questions


def test_merged_next_hop_is_taken_out() -> None:
    """When one next hop of an IPv6 route goes, the others stay."""
    resolver = Resolver()
    resolver.reset_links([Link(1, "eth1", usable=True)], [])
    one, other = NextHop(ip_address("fe80::1"), 1), NextHop(ip_address("fe80::2"), 1)
    net = ip_network("fd00:1::/64")
    both = spec(RouteType.UNICAST, (one, other), metric=1024)
    resolver.route(event(Family.IPV6, net, both, gone=False))
    resolver.route(event(Family.IPV6, net, spec(RouteType.UNICAST, (one,), metric=1024), gone=True))
    found = resolver.resolve(ip_address("fd00:1::7"))
    assert found is not None
    assert found.next_hops == (other,)
    assert found.metric == 1025


def test_link_local_says_nothing() -> None:
    """A link-local next hop without its device does not resolve."""
    resolver = Resolver()
    interface = ip_interface("fe80::1/64")
    resolver.reset_links([Link(1, "eth1", usable=True)], [LinkAddress(1, interface.ip, interface)])
    assert resolver.resolve(ip_address("fe80::2")) is None


def test_default_gateways() -> None:
    """Those of the usable default route with the lowest metric; a device that is down or a link-local gateway does not count."""
    resolver = Resolver()
    resolver.reset_links(LINKS, [])
    default = to_wire(ip_network("0.0.0.0/0"))
    far, near, down = (
        made(Family.IPV4, [(1, 9)], 200),
        made(Family.IPV4, [(2, 2), (1, 1)], 100),
        made(Family.IPV4, [(3, 7)], 0),
    )
    resolver.reset_routes(Family.IPV4, [(default, far), (default, near), (default, down)])
    assert resolver.default_gateways(Family.IPV4) == (ip_address("10.0.0.1"), ip_address("10.0.0.2"))
    link_local = spec(RouteType.UNICAST, [NextHop(ip_address("fe80::1"), 1)], metric=1024)
    resolver.reset_routes(Family.IPV6, [(to_wire(ip_network("::/0")), link_local)])
    assert resolver.default_gateways(Family.IPV6) == ()
    assert Resolver().default_gateways(Family.IPV4) == ()


def test_link_local_with_its_interface() -> None:
    """On the link of the device that it names, while that is usable, whatever addresses it has; another one's is another."""
    resolver = Resolver()
    resolver.reset_links(LINKS, [])
    found = resolver.resolve(scoped(ip_address("fe80::2"), "eth2"))
    assert found == Resolution((NextHop(ip_address("fe80::2"), 2),), 0)
    questions = [scoped(ip_address("fe80::2"), name) for name in ("eth1", "eth3", "nowhere")]
    assert [resolver.resolve(one) is not None for one in questions] == [True, False, False]
    assert [resolver.device_of(one) for one in questions] == [1, 3, None]
    resolver.changed(questions)
    resolver.link(LinkEvent(Link(1, "eth1", usable=False), gone=False))
    assert resolver.changed(questions) == questions
    assert resolver.resolve(questions[0]) is None
    resolver.link(LinkEvent(Link(9, "nowhere", usable=True), gone=False))
    assert resolver.resolve(questions[2]) == Resolution((NextHop(ip_address("fe80::2"), 9),), 0)
    resolver.ignore(["no*"])
    assert resolver.resolve(questions[2]) is None
