"""``receive`` with import filters on both sides: 20 rules with prefixes, communities and AS paths.

The rules are written once and put into the words of each side. None of the first 19 matches what the peer sends, so
every route is asked about all of them; the last accepts it and adds a community.
"""

from collections.abc import Iterator
from typing import NamedTuple

from towpath.lab.bench.receive import SHAPES, measured
from towpath.lab.bench.result import Result
from towpath.lab.bench.rig import DUT, DUT_AS, PEER, PEER_AS, document, manifests, peer
from towpath.model.net import Family

ELSEWHERE = {
    Family.IPV4: tuple(f"{number}.0.0.0/8" for number in range(30, 37)),
    Family.IPV6: tuple(f"26{number:02d}::/16" for number in range(7)),
}
HERE = {Family.IPV4: ("20.0.0.0/6", 16), Family.IPV6: ("2000::/8", 32)}
COMMUNITIES = ("65001:1", "65001:2", "65001:3", "65001:4", "65001:1:1", "65001:1:2", "65001:1:3")
PATHS = tuple((PEER_AS, number) for number in range(100, 105))
ADDED = f"{DUT_AS}:100"


class Sides(NamedTuple):
    """The same rules in the words of both."""

    towpath: str
    bird: str


def receive_policy() -> Iterator[Result]:
    """All shapes, both families."""
    for family in Family:
        sides = rules(family)
        filters = document("BGPFilter", "policy", f"{{importV{family.value}: [{sides.towpath}]}}")
        session = peer("peer", PEER[family], policy="importPolicy: Filtered, filters: [policy]")
        for shape, per_set in SHAPES.items():
            yield measured(
                f"receive-policy {family.key} {shape}",
                family,
                per_set=per_set,
                manifests=manifests(family, peers=f"{session}\n---\n{filters}"),
                bird=_bird(family, sides.bird),
            )


def rules(family: Family) -> Sides:
    """20 rules."""
    ours: list[str] = []
    theirs: list[str] = []
    for cidr in ELSEWHERE[family]:
        ours.append(f"{{action: Reject, cidr: '{cidr}', matchOperator: In}}")
        theirs.append(f"if net ~ [ {cidr}+ ] then reject;")
    for text in COMMUNITIES:
        attribute = "bgp_community" if text.count(":") == 1 else "bgp_large_community"
        ours.append(f"{{action: Reject, communities: {{values: ['{text}']}}}}")
        theirs.append(f"if ({text.replace(':', ', ')}) ~ {attribute} then reject;")
    for path in PATHS:
        ours.append(f"{{action: Reject, asPathPrefix: [{', '.join(map(str, path))}]}}")
        theirs.append(f"if bgp_path ~ [= {' '.join(map(str, path))} * =] then reject;")
    cidr, least = HERE[family]
    ours.append(
        f"{{action: Accept, cidr: '{cidr}', matchOperator: In, prefixLength: {{min: {least}}}, "
        f"operations: [{{addCommunity: {{value: '{ADDED}'}}}}]}}"
    )
    theirs.append(
        f"if net ~ [ {cidr}{{{least},{family.bits}}} ] then {{ bgp_community.add(({ADDED.replace(':', ', ')})); accept; }}"
    )
    return Sides(", ".join(ours), "\n  ".join(theirs))


def _bird(family: Family, statements: str) -> str:
    channel = family.key
    return f"""router id 10.255.0.1;
protocol device {{}}
protocol kernel {{ {channel} {{ export all; }}; }}
filter policy {{
  {statements}
  reject;
}}
protocol bgp peer {{
  local {DUT[family]} as {DUT_AS}; neighbor {PEER[family]} as {PEER_AS}; passive;
  {channel} {{ import filter policy; export none; }};
}}
"""
