"""UPDATEs that look alike are taken in together: what comes of it is what comes of them one by one."""

import random
import struct
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest
from msgspec.structs import replace

from tests import effort
from tests.unit.bgp_table.world import TOR_AS, World, as_path, attribute, body, mp_reach, session, state
from towpath.bgp import alike
from towpath.bgp.exabgp.reader import Reader
from towpath.bgp.ports import SessionError
from towpath.bgp.receive import Receiver
from towpath.model.decode import decode
from towpath.model.net import Family
from towpath.model.speaker import MaxPrefix

RULES = {
    Family.IPV4: [
        {"action": "Reject", "communities": {"values": ["65000:7"]}},
        {"action": "Reject", "asPathPrefix": [TOR_AS, 9]},
        {"action": "Reject", "cidr": "20.64.0.0/10", "matchOperator": "In"},
        {"action": "Accept", "cidr": "20.0.0.0/8", "matchOperator": "In", "operations": [{"setMED": {"value": 5}}]},
        {"action": "Accept", "communities": {"values": ["65000:1:2"]}},
    ],
    Family.IPV6: [
        {"action": "Reject", "communities": {"values": ["65000:1:3"]}},
        {"action": "Accept", "cidr": "2001:db8::/33", "matchOperator": "In"},
    ],
}
HOP = {Family.IPV4: "10.0.0.254", Family.IPV6: "fd10::fe"}
STARTS = {
    Family.IPV4: (20 << 24, 20 << 24 | 64 << 16, 10 << 24 | 244 << 16),
    Family.IPV6: (0x20010DB8 << 96, 0xFD20 << 112),
}
"""Prefixes that the filters tell apart, and some in the pools."""


def worlds(*, filtered: bool, limit: int, policy: str = "All") -> tuple[World, World]:
    """Two that are the same."""
    made = state()
    tor = session(
        "tor", "10.0.0.254", scope="Global", remote_as=TOR_AS, import_policy=policy, max_prefix=MaxPrefix(limit)
    )
    if filtered:
        spec = {f"importV{family.value}": rules for family, rules in RULES.items()}
        made = replace(made, filters={"f": decode("BGPFilter", {"metadata": {"name": "f"}, "spec": spec}).spec})
        tor = replace(tor, filters=("f",))
    made = replace(made, sessions={**made.sessions, "tor": tor})
    both = World(made), World(made)
    for world in both:
        world.up("tor")
    return both


def held(world: World) -> dict[Family, list[dict[bytes, tuple[Any, ...]]]]:
    """All that the table holds of the ToR, by value."""
    peer = world.table._peers["tor"]
    return {
        receiver.family: [
            {
                wire: (
                    path.block,
                    path.verdict,
                    path.accepted,
                    path.mask,
                    path.rule.name if path.rule else None,
                    path.via.hop.address,
                    path.attributes.med,
                    path.attributes.refusal,
                    path.attributes.path.sequence,
                )
                for wire, path in part.items()
            }
            for part in (receiver.rib.accepted, receiver.rib.refused, receiver.rib.capped)
        ]
        for receiver in peer.receivers
    }


def communities(chance: random.Random) -> list[bytes]:
    """One or two attributes with values that differ, some of which a rule asks for; sometimes graceful shutdown."""
    low = chance.choice((chance.randrange(65536), 7, 1))
    made = [attribute(0xC0, 8, struct.pack("!HH", 65000, low))]
    if chance.random() < 0.5:
        made.append(attribute(0xC0, 32, struct.pack("!III", 65000, 1, chance.randrange(5))))
    if chance.random() < 0.02:
        made[0] = attribute(0xC0, 8, b"\xff\xff\x00\x00")
    return made


def run(chance: random.Random, family: Family) -> list[bytes]:
    """Some bodies of one shape."""
    path = as_path([TOR_AS, *chance.sample((9, 64512, 3356), chance.randint(0, 2))])
    more = chance.choice(([], [attribute(0x80, 4, b"\0\0\0\3")], [attribute(0xC0, 7, bytes(3))]))
    kinds = len(communities(chance))
    length = chance.choice((24, 26, 32, 30) if family is Family.IPV4 else (64, 122, 61))
    each, front = chance.choice((1, 1, 3)), chance.random() < 0.3
    tagged = chance.random() < 0.8
    number = chance.choice(STARTS[family]) >> (family.bits - length)
    made = []
    for _ in range(chance.randint(1, 60)):
        tags = next(found for found in iter(lambda: communities(chance), None) if len(found) == kinds) if tagged else []
        octets = (length + 7) // 8
        packed = b""
        for _ in range(each):
            number += chance.random() < 0.9
            shifted = (number << (family.bits - length)) | (chance.random() < 0.02)
            packed += bytes((length,)) + shifted.to_bytes(family.bits // 8, "big")[:octets]
        hop = [attribute(0x40, 3, ip_address(HOP[family]).packed)] if family is Family.IPV4 else []
        block = b"".join(
            [attribute(0x40, 1, b"\0"), path, *(tags if front else []), *hop, *more, *([] if front else tags)]
        )
        if family is Family.IPV4:
            made.append(body(attributes=block, announced=packed))
        else:
            made.append(body(attributes=mp_reach(family, IPv6Address(HOP[family]).packed, packed) + block))
    return made


def stream(chance: random.Random) -> list[bytes]:
    """Runs of bodies one after the other, some of them with a byte that was changed."""
    made = [one for _ in range(chance.randint(1, 5)) for one in run(chance, chance.choice(list(Family)))]
    for _ in range(chance.choice((0, 0, 1, 3))):
        at = chance.randrange(len(made))
        broken = bytearray(made[at])
        broken[chance.randrange(len(broken))] = chance.randrange(256)
        made[at] = bytes(broken)
    return made


def outcome(world: World, bodies: list[bytes]) -> tuple[int, int] | None:
    try:
        world.hear("tor", *bodies)
    except SessionError as error:
        return error.code, error.subcode
    return None


def test_together_is_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any stream the same is held, used and refused, and the same ends the session."""
    chance = effort.chance("alike")
    for _ in range(effort.examples(150)):
        limit, filtered = chance.choice((10, 100_000)), chance.random() < 0.6
        together, alone = worlds(filtered=filtered, limit=limit, policy=chance.choice(("All", "Filtered")))
        bodies = stream(chance)
        with monkeypatch.context() as never:
            never.setattr(alike, "LEAST", len(bodies))
            expected = outcome(alone, bodies)
        assert outcome(together, bodies) == expected
        assert held(together) == held(alone)
        assert together.hops() == alone.hops()
        assert together.refused("tor") == alone.refused("tor")
        if limit == 10:
            continue  # which prefixes a limit leaves no room for depends on the order in which they are judged again
        first = together.state
        for now in (replace(first, filters={}), first):
            for world in (together, alone):
                world.apply(now)
                while world.table.unsettled:
                    world.table.settle(1000)
            assert held(together) == held(alone)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("filtered", [False, True])
def test_a_large_community_a_route_costs_no_look_at_each(
    monkeypatch: pytest.MonkeyPatch, family: Family, filtered: bool
) -> None:
    """Of 100 UPDATEs of one shape, each with a community of its own, two are looked at: then all others look like them."""
    world, _ = worlds(filtered=filtered, limit=100_000)
    looks: list[int] = []
    real = Receiver.announce
    monkeypatch.setattr(Receiver, "announce", lambda *args, **kwargs: looks.append(1) or real(*args, **kwargs))
    bodies = []
    for number in range(100):
        tags = attribute(0xC0, 32, struct.pack("!III", 65000, number, 1))
        start = attribute(0x40, 1, b"\0") + as_path([TOR_AS])
        packed = (
            bytes((24,)) + bytes((20, 0, number))
            if family is Family.IPV4
            else b"\x40" + bytes((0x20, 1, 0xD, 0xB8, 0, 0, 0, number))
        )
        if family is Family.IPV4:
            bodies.append(
                body(attributes=start + attribute(0x40, 3, ip_address(HOP[family]).packed) + tags, announced=packed)
            )
        else:
            bodies.append(body(attributes=mp_reach(family, ip_address(HOP[family]).packed, packed) + start + tags))
    world.hear("tor", *bodies)
    assert len(world.hops()) == 100
    assert len(looks) <= 2


def test_a_stream_is_cut_the_same_in_any_pieces() -> None:
    """Messages that have one header and those that differ, whole or cut anywhere, come out as they went in."""
    chance = effort.chance("pieces")
    for _ in range(effort.examples(100)):
        messages = []
        for _ in range(chance.randint(1, 6)):
            kind, size = chance.choice(((2, 40), (2, 41), (2, 300), (4, 0)))
            for _ in range(chance.choice((1, 3, 12, 40))):
                messages.append((kind, chance.randbytes(size)))
        data = b"".join(b"\xff" * 16 + struct.pack("!HB", 19 + len(one), kind) + one for kind, one in messages)
        reader = Reader()
        found: list[tuple[int, bytes]] = []
        at = 0
        while at < len(data):
            size = chance.choice((1, 50, 1000, 5000))
            found += [(kind, one) for kind, some in reader.feed(data[at : at + size]) for one in some]
            at += size
        assert found == messages


def test_a_wrong_header_among_many_alike_ends_the_stream_after_those_before_it() -> None:
    """In marker, length or type: what came before is delivered first."""
    good = b"\xff" * 16 + struct.pack("!HB", 59, 2) + bytes(40)
    for place, value in ((3, 0), (16, 0xFF), (17, 5), (18, 9)):
        bad = bytearray(good)
        bad[place] = value
        found: list[bytes] = []
        with pytest.raises(SessionError):
            for _, some in Reader().feed(good * 20 + bytes(bad) + good * 20):
                found += some
        assert found == [bytes(40)] * 20
