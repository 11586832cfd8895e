"""What a running speaker says to those who look: heard, used and told of a prefix, and whole tables, over its socket."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.unit.bgp_table.world import TOR_AS, World, announce, body, session, state
from towpath.bgp import window
from towpath.bgp.look import Look
from towpath.bgp.ports import Standing
from towpath.bgp.window import Window
from towpath.controller.plan import here
from towpath.controller.settings import CannotRunError
from towpath.model.net import parse_prefix


@pytest.fixture
def world() -> World:
    """Two ToRs with paths to one prefix, node b with its block and with one that is not its own."""
    made = World()
    for name in ("tor", "tor2", "b"):
        made.up(name)
    made.hear("tor", announce("192.0.2.0/24", hop="10.0.0.254"))
    made.hear("tor2", announce("192.0.2.0/24", hop="10.0.0.253", path=(TOR_AS, 64999)))
    made.hear("b", announce("10.244.2.0/26", hop="10.0.0.2", path=(), preference=2147482623))
    made.hear("b", announce("10.244.3.0/26", hop="10.0.0.2", path=(), preference=2147482623))
    made.drained()
    for name in ("tor", "tor2", "b"):
        while made.table.pull(name, 4096):
            pass
    return made


def look(world: World) -> Look:
    """The table as it is."""
    return world.table.look({"tor": Standing("Established")})


def test_an_address_finds_the_longest_prefix_with_every_path_and_its_verdict(world: World) -> None:
    """Both paths with their attributes, the shorter one used; nothing of it is told to anybody."""
    found = look(world).prefix(parse_prefix("192.0.2.7/32"))
    assert found["prefix"] == "192.0.2.0/24"
    heard = {one["session"]: (one["action"], one["reason"], one["attributes"]["asPath"]) for one in found["heard"]}
    assert heard == {
        "tor": ("Accept", "ImportAll", [TOR_AS]),
        "tor2": ("Accept", "ImportAll", [TOR_AS, 64999]),
    }
    assert found["used"] == {"nextHops": ["10.0.0.254"], "sessions": ["tor"], "provisional": False}
    assert found["told"] == []


def test_a_refused_path_is_there_with_its_reason(world: World) -> None:
    """Node b announces the block of c: heard, refused, not used."""
    found = look(world).prefix(parse_prefix("10.244.3.0/26"))
    (one,) = found["heard"]
    assert (one["session"], one["action"], one["reason"]) == ("b", "Reject", "OriginInvalid")
    assert found["used"] is None


def test_an_own_block_shows_what_each_peer_was_told(world: World) -> None:
    """On the internal session with LOCAL_PREF, on the external ones with our AS and without."""
    found = look(world).prefix(parse_prefix("10.244.1.0/26"))
    told = {one["session"]: one["attributes"] for one in found["told"]}
    assert told.keys() == {"tor", "tor2", "b"}
    assert (told["b"]["asPath"], told["b"]["localPreference"]) == ([], 2147482623)
    assert (told["tor"]["asPath"], told["tor"]["localPreference"]) == ([64512], None)
    assert {one["nextHop"] for one in told.values()} == {"10.0.0.1"}


def test_a_malformed_path_has_no_attributes_to_show(world: World) -> None:
    """An AS path of half a segment: the prefix is refused as Malformed, and looking at it is no trouble."""
    broken = bytes.fromhex("40010100" + "400203020200" + "4003040a0000fe")
    world.hear("tor", body(attributes=broken, announced=b"\x18\xc6\x33\x64"))
    (one,) = look(world).prefix(parse_prefix("198.51.100.0/24"))["heard"]
    assert (one["reason"], one["attributes"]) == ("Malformed", None)


def test_nothing_known_says_so(world: World) -> None:
    """A prefix that nobody spoke of."""
    assert look(world).prefix(parse_prefix("203.0.113.0/24")) == {
        "prefix": "203.0.113.0/24", "heard": [], "used": None, "told": [],
    }  # fmt: skip


def test_a_peer_that_restarts_leaves_its_routes_marked_stale(world: World) -> None:
    """The session is lost, its routes stay in use until it is back, and it shows."""
    world.lost("tor")
    (route,) = (one for one in look(world).routes() if one["prefix"] == "192.0.2.0/24")
    assert (route["stale"], route["sessions"]) == (True, ["tor"])


def test_a_restarted_table_with_other_sessions_can_be_looked_at(world: World) -> None:
    """A session that goes away takes what it heard along, whatever was used before the next decision."""
    world.apply(state(sessions={"tor2": session("tor2", "10.0.0.253", remote_as=TOR_AS, import_policy="All")}))
    assert [one for one in look(world).routes() if one["sessions"] == ["b"]]  # not decided anew yet
    world.drained()
    assert {one["prefix"] for one in look(world).routes()} == {"192.0.2.0/24"}


async def test_tables_come_over_the_socket_and_mistakes_are_answered(world: World, tmp_path: Path) -> None:
    """Routes, announcements and sessions whole; an unknown question, a bad prefix and nonsense get an error each."""
    speaker = tmp_path / "speaker.sock"
    served = Window(tmp_path / window.NAME, lambda: look(world))
    await served.open()
    try:
        routes = await asyncio.to_thread(lambda: list(here.ask(speaker, "routes")))
        assert {one["prefix"]: one["sessions"] for one in routes} == {
            "192.0.2.0/24": ["tor"],
            "10.244.2.0/26": ["b"],
        }
        told = await asyncio.to_thread(here.announcements, speaker)
        assert {(one["session"], one["prefix"]) for one in told} == {
            (name, block) for name in ("tor", "tor2", "b") for block in ("10.244.1.0/26",)
        }
        sessions = await asyncio.to_thread(here.sessions, speaker)
        assert {one["name"]: one["refused"] for one in sessions} == {
            "b": [{"reason": "OriginInvalid", "prefixes": 1}], "c": [], "tor": [], "tor2": [],
        }  # fmt: skip
        for question in (b'{"what": "everything"}', b'{"what": "prefix"}', b'{"what": "prefix", "prefix": "10.0.0.1"}'):
            answer = await asyncio.to_thread(raw, tmp_path, question + b"\n")
            assert list(json.loads(answer)) == ["error"]
        assert list(json.loads(await asyncio.to_thread(raw, tmp_path, b"\xff nonsense\n"))) == ["error"]
    finally:
        await served.close()
    assert not (tmp_path / window.NAME).exists()
    with pytest.raises(CannotRunError, match="no speaker answers at"):
        list(here.ask(speaker, "routes"))


def raw(run_dir: Path, question: bytes) -> bytes:
    """All that is answered."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(run_dir / window.NAME))
        link.sendall(question)
        return b"".join(iter(lambda: link.recv(65536), b""))
