"""Our nftables table in a real kernel: made, changed, repaired and taken away, with others' tables left alone."""

import asyncio
import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.model.net import Prefix
from towpath.routes import nft

RANGES: tuple[Prefix, ...] = (ip_network("10.96.0.0/16"), ip_network("192.0.2.1/32"), ip_network("fd00:96::/112"))
OTHER = "table inet strict {\n chain f {\n type filter hook forward priority 0; policy accept;\n }\n}\n"


@pytest.fixture
def host() -> Iterator[Host]:
    """An empty namespace, with somebody else's table in it."""
    with Network(own("tpf")) as network:
        made = network.host("a")
        made.run("nft", "-f", "-", stdin=OTHER)
        yield made


def tables(host: Host) -> list[str]:
    listed = json.loads(host.run("nft", "-j", "list", "tables"))["nftables"]
    return sorted(one["table"]["name"] for one in listed if "table" in one)


def dropped(host: Host) -> set[str]:
    """The elements of our sets."""
    found: set[str] = set()
    for one in json.loads(host.run("nft", "-j", "list", "table", "inet", "towpath"))["nftables"]:
        for element in one.get("set", {}).get("elem", ()):
            prefix: Any = element["prefix"] if isinstance(element, dict) else {"addr": element, "len": None}
            found.add(prefix["addr"] if prefix["len"] is None else f"{prefix['addr']}/{prefix['len']}")
    return found


def desire(host: Host, table: nft.Table, *ranges: Prefix) -> None:
    async def ask() -> None:
        await table.desire(ranges)

    with host.entered():
        asyncio.run(ask())


def test_the_table_is_what_is_desired(host: Host) -> None:
    """Made with the ranges of both families, changed as a whole, gone without any; a fresh process takes it over."""
    table = nft.Table()
    desire(host, table)
    assert tables(host) == ["strict"]
    desire(host, table, *RANGES)
    assert tables(host) == ["strict", "towpath"]
    assert dropped(host) == {"10.96.0.0/16", "192.0.2.1", "fd00:96::/112"}
    desire(host, nft.Table(), RANGES[0])
    assert dropped(host) == {"10.96.0.0/16"}
    desire(host, nft.Table())
    assert tables(host) == ["strict"]


@pytest.mark.parametrize(
    "deed",
    [
        "delete table inet towpath",
        "flush chain inet towpath services",
        "delete element inet towpath services4 { 10.96.0.0/16 }",
        "insert rule inet towpath services accept",
    ],
)
def test_what_others_do_to_it_is_repaired(host: Host, deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next look; packets that were counted meanwhile are no change."""
    monkeypatch.setattr(nft, "LOOK_EVERY", 0.0)
    table = nft.Table()
    desire(host, table, *RANGES)
    before = host.run("nft", "-j", "-s", "list", "table", "inet", "towpath")
    desire(host, table, *RANGES)
    assert host.run("nft", "-j", "-s", "list", "table", "inet", "towpath") == before, "nothing was to be done"
    host.run("nft", *deed.split(" "))
    desire(host, table, *RANGES)
    assert dropped(host) == {"10.96.0.0/16", "192.0.2.1", "fd00:96::/112"}
    assert host.run("nft", "-s", "list", "chain", "inet", "towpath", "services").count("drop") == 2
    assert "services accept" not in host.run("nft", "-s", "list", "table", "inet", "towpath")


def test_it_is_taken_away_once(host: Host) -> None:
    """``remove`` leaves others' tables, and nothing to do the second time."""
    desire(host, nft.Table(), *RANGES)
    with host.entered():
        asyncio.run(nft.remove())
        asyncio.run(nft.remove())
    assert tables(host) == ["strict"]


def test_a_refusal_is_an_error_in_words(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no nft; it is tried again when asked again."""
    table = nft.Table()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        with pytest.raises(OSError, match="nft is not installed"):
            desire(host, table, *RANGES)
    monkeypatch.setattr(nft, "script", lambda _: "nonsense\n")
    with pytest.raises(OSError, match="syntax error"):
        desire(host, table, *RANGES)
    monkeypatch.undo()
    desire(host, table, *RANGES)
    assert "towpath" in tables(host)
