"""BGPFilter rules read literally, one at a time: what the compiled ones must agree with."""

import fnmatch
from dataclasses import dataclass, replace
from typing import Any

from towpath.model.community import Community
from towpath.model.net import Prefix, parse_prefix

BASE = 2147483647


@dataclass(frozen=True)
class Route:
    """A route as a person would write it down."""

    prefix: Prefix
    path: tuple[int, ...] = ()
    communities: frozenset[str] = frozenset()
    local_preference: int = BASE - 1024
    med: int | None = None
    interface: str = ""
    learned: bool = True
    ebgp_session: bool = True


def priority(local_preference: int, normal: int = 1024) -> int:
    return BASE - local_preference if 1 <= BASE - local_preference <= 65535 else normal


def inside(prefix: Prefix, rule: dict[str, Any]) -> bool:
    """Whether the prefix is in the set that cidr, operator and lengths name, before negation."""
    cidr = parse_prefix(rule["cidr"])
    least = rule.get("prefixLength", {}).get("min", 0)
    most = rule.get("prefixLength", {}).get("max", 128)
    if prefix.version != cidr.version or not least <= prefix.prefixlen <= most:
        return False
    return prefix == cidr if rule["matchOperator"].endswith("Equal") else prefix.subnet_of(cidr)


def matches(rule: dict[str, Any], route: Route) -> bool:
    if "cidr" in rule and inside(route.prefix, rule) is rule["matchOperator"].startswith("Not"):
        return False
    if rule.get("source") == "RemotePeers" and not route.learned:
        return False
    if "peerType" in rule and (rule["peerType"] == "eBGP") is not route.ebgp_session:
        return False
    if "interface" in rule and not (route.interface and fnmatch.fnmatchcase(route.interface, rule["interface"])):
        return False
    if "communities" in rule and canonical(rule["communities"]["values"][0]) not in route.communities:
        return False
    wanted = tuple(rule.get("asPathPrefix", ()))
    if route.path[: len(wanted)] != wanted:
        return False
    return "priority" not in rule or priority(route.local_preference) == rule["priority"]


def canonical(text: str) -> str:
    return str(Community.parse(text))


def changed(rule: dict[str, Any], route: Route) -> Route:
    for operation in rule.get("operations", ()):
        ((name, value),) = operation.items()
        if name == "addCommunity":
            route = replace(route, communities=route.communities | {canonical(value["value"])})
        elif name == "removeCommunity":
            route = replace(route, communities=route.communities - {canonical(value["value"])})
        elif name == "prependASPath":
            route = replace(route, path=(*value["prefix"], *route.path))
        elif name == "setPriority":
            route = replace(route, local_preference=BASE - value["value"])
        elif name == "setLocalPref":
            route = replace(route, local_preference=value["value"])
        else:
            route = replace(route, med=value["value"])
    return route


def first(filters: list[list[dict[str, Any]] | None], route: Route) -> tuple[int, int] | None:
    """The first rule that matches: number of the filter and of the rule in it; a filter that does not exist is None."""
    for at, rules in enumerate(filters):
        if rules is None:
            return at, -1
        for place, rule in enumerate(rules):
            if matches(rule, route):
                return at, place
    return None
