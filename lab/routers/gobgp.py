"""GoBGP: one program that keeps its routes to itself, asked over its API on loopback."""

from ipaddress import ip_address
from typing import Any

from towpath.lab.process import Process
from towpath.lab.routers.router import HeldPath, Returning, parsed
from towpath.model.net import Address, Prefix, family_of

_API = "127.0.0.1:50051"
_ESTABLISHED = 6  # PeerState.SessionState of its API


class Gobgp(Returning):
    """GoBGP without routes in the kernel."""

    configuration = "gobgpd.toml"

    def program(self) -> Process:
        options = ("--api-hosts", _API, "--pprof-disable", *(("-r",) if self.killed else ()))
        return Process(
            ("gobgpd", "-f", str(self.file), *options), log=self.directory / "gobgpd.log", netns=self.host.netns
        )

    def ask(self, *command: str) -> str:
        """What ``gobgp`` answers."""
        return self.host.run("gobgp", *command, check=False)

    def json(self, *command: str) -> Any:
        """The same where it is JSON; None where it is not."""
        return parsed(self.ask("-j", *command))

    def answers(self) -> bool:
        return "asn" in (self.json("global") or {})

    def established(self) -> frozenset[Address]:
        return frozenset(
            ip_address(one["state"]["neighbor_address"])
            for one in self.json("neighbor") or ()
            if one["state"].get("session_state") == _ESTABLISHED
        )

    def paths(self, prefix: Prefix) -> tuple[HeldPath, ...]:
        found = self.json("global", "rib", str(prefix), "-a", family_of(prefix).key)
        listed = found.get(str(prefix), ()) if isinstance(found, dict) else ()
        return tuple(_held(one) for one in sorted(listed, key=lambda one: not one.get("best", False)))


def _held(one: dict[str, Any]) -> HeldPath:
    by_type = {attribute["type"]: attribute for attribute in one["attrs"]}
    hop = by_type.get(3, {}).get("nexthop") or by_type.get(14, {}).get("nexthop")
    standard = (f"{value >> 16}:{value & 0xFFFF}" for value in by_type.get(8, {}).get("communities", ()))
    large = (
        f"{value['ASN']}:{value['LocalData1']}:{value['LocalData2']}" for value in by_type.get(32, {}).get("value", ())
    )
    originator = by_type.get(9, {}).get("value")
    return HeldPath(
        next_hop=ip_address(hop) if hop else None,
        as_path=tuple(number for segment in by_type.get(2, {}).get("as_paths", ()) for number in segment["asns"]),
        communities=frozenset((*standard, *large)),
        med=by_type.get(4, {}).get("metric"),
        local_preference=by_type.get(5, {}).get("value"),
        originator=ip_address(originator) if originator else None,
        clusters=tuple(map(ip_address, by_type.get(10, {}).get("value") or ())),
        stale=bool(one.get("stale")),
    )
