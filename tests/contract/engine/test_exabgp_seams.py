"""What we take for granted of ExaBGP: a new version that changes one of these facts fails here, not in a network."""

import subprocess
import sys
from importlib.metadata import version
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.netns.engine.rig import make_session, make_settings
from towpath.bgp.exabgp import codec
from towpath.bgp.exabgp.neighbor import neighbor, open_message
from towpath.bgp.ports import PeerRestart, SessionError
from towpath.lab.blaster import open_message as plain_open
from towpath.model.net import Family


def read_open(body, sent, view):
    return codec.read_open(body, sent, view, role=None, strict_role=False)


def ours(*, restarting=True, preserved=True, peer="10.9.0.2", **changes):
    session = make_session("a", peer, **changes)
    view = neighbor(session, make_settings())
    return view, open_message(session, view, restarting=restarting, preserved=preserved)


def test_the_version_is_the_one_these_facts_are_of():
    """ExaBGP is pinned exactly."""
    assert version("exabgp") == "5.0.15"


def test_our_open_byte_by_byte():
    """Our OPEN has MP for both families, four-octet AS, graceful restart with R, N and F, refresh, extended messages."""
    _, opening = ours()
    parameters = [
        "0206010400010001",
        "0206010400020001",
        "020641040000fc00",
        "020c400ac0780001018000020180",  # R and N, 120 s, F of both families
        "02020200",
        "02020600",
    ]
    body = opening.message()[19:]
    assert body[:9].hex() == "04fc00005a0a090001"
    found, rest = [], body[10:]
    while rest:
        found.append(rest[: 2 + rest[1]].hex())
        rest = rest[2 + rest[1] :]
    assert sorted(found) == sorted(parameters)


def test_flags_of_a_session_that_did_not_restart():
    """Without a restart R is clear, and F says whether the kernel's routes were kept."""
    _, opening = ours(restarting=False, preserved=False)
    assert "400a4078" + "00010100" + "00020100" in opening.message().hex()


def test_no_restart_time_means_no_capability():
    """Graceful restart is not offered without a restart time."""
    _, opening = ours(restart_time=None)
    assert codec.Capability.CODE.GRACEFUL_RESTART not in opening.capabilities


def test_a_large_as_goes_into_the_capability():
    """An AS above 65535 is AS_TRANS in the header and whole in the capability."""
    _, opening = ours(local_as=4200000001)
    assert opening.message()[20:22] == (23456).to_bytes(2, "big")
    assert b"\x41\x04" + (4200000001).to_bytes(4, "big") in opening.message()


def test_an_open_of_the_peer_is_negotiated():
    """Families, hold time, AS, identifier and graceful restart of the peer's OPEN come out as our values."""
    view, sent = ours(hold_time=30)
    agreed = read_open(plain_open(65000, IPv4Address("10.9.0.2"), restart_time=77)[19:], sent, view)
    assert agreed == codec.Agreement(
        families=(Family.IPV4, Family.IPV6),
        peer_router_id=int(ip_address("10.9.0.2")),
        peer_as=65000,
        hold_time=30,
        four_octet_as=True,
        message_size=4096,
        refresh=False,
        restart=PeerRestart(
            restart_time=77,
            restarting=False,
            notification=False,
            preserved=(Family.IPV4, Family.IPV6),
            families=(Family.IPV4, Family.IPV6),
        ),
    )


def test_a_peer_without_capabilities_speaks_ipv4():
    """RFC 4760 §8: no multiprotocol capability means IPv4 unicast."""
    view, sent = ours()
    agreed = read_open(bytes.fromhex("04fde8005a0a09000200"), sent, view)
    assert agreed.families == (Family.IPV4,)
    assert not agreed.four_octet_as
    assert agreed.restart is None


EXTENDED = bytes.fromhex("0506000100010002")
"""IPv4 unicast with IPv6 next hops, as a capability (RFC 8950 section 4)."""


@pytest.mark.parametrize(("peer", "offered"), [("fd09::2", True), ("fe80::2%eth0", True), ("10.9.0.2", False)])
def test_ipv6_next_hops_of_ipv4_are_agreed_on(peer, offered):
    """Offered on sessions over IPv6 that carry IPv4, agreed on where the peer offers the same, whatever else it offers."""
    view, sent = ours(peer=peer)
    assert (EXTENDED in sent.message()) is offered
    families = bytes.fromhex("010400010001010400020001")
    for said, agreed in ((EXTENDED, offered), (EXTENDED[:2] + bytes.fromhex("000100800002"), False), (b"", False)):
        parameter = bytes((2, len(families) + len(said))) + families + said
        body = bytes.fromhex("04fde8005a0a090002") + bytes((len(parameter),)) + parameter
        assert read_open(body, sent, view).ipv6_next_hops is agreed
    assert EXTENDED not in ours(peer="fd09::2", families=(Family.IPV6,))[1].message()


def test_no_family_in_common_is_refused():
    """An IPv6-only session with a peer that speaks IPv4 only ends with 2/7."""
    view, sent = ours(families=(Family.IPV6,))
    with pytest.raises(SessionError) as refused:
        read_open(bytes.fromhex("04fde8005a0a09000200"), sent, view)
    assert (refused.value.code, refused.value.subcode) == (2, 7)


@settings(max_examples=examples(300))
@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: bytes.fromhex("04fde8005a0a090002") + tail))
def test_any_bytes_as_open_are_judged(body):
    """Whatever bytes stand in an OPEN: it is accepted, or refused with a SessionError; nothing else is raised."""
    view, sent = ours()
    code = 2
    try:
        read_open(body, sent, view)
    except SessionError as refused:
        code = refused.code
    assert code in (1, 2)


@given(st.binary(max_size=300))
def test_any_bytes_as_notification_are_read(body):
    """A NOTIFICATION is never answered: every one can be read."""
    assert isinstance(codec.read_notification(body).message, str)


@given(st.binary(min_size=4, max_size=4))
def test_any_bytes_as_refresh_are_judged(body):
    """A ROUTE-REFRESH (its length is the reader's to judge) is for a family of ours or for none; nothing ends a session."""
    asked = {b"\0\1\0\1": Family.IPV4, b"\0\2\0\1": Family.IPV6}
    assert codec.read_refresh(body) is asked.get(body)
    for known, family in asked.items():
        assert codec.read_refresh(known) is family


def test_shutdown_messages_and_hard_reset():
    """The text of a shutdown (RFC 9003) is read; a hard reset carries the code within."""
    text = "back at five"
    goodbye = codec.read_notification(bytes((6, 2, len(text))) + text.encode())
    assert text in goodbye.message
    assert codec.hard_reset(6, 3)[19:] == bytes((6, 9, 6, 3))
    assert codec.notification(1, 2, b"\x10\x01")[16:] == b"\x00\x17\x03\x01\x02\x10\x01"


def test_lengths_by_type():
    """ExaBGP's table of message lengths is that of RFC 4271 §4 and RFC 2918."""
    assert [codec.valid_length(codec.OPEN, n) for n in (28, 29)] == [False, True]
    assert [codec.valid_length(codec.UPDATE, n) for n in (22, 23)] == [False, True]
    assert [codec.valid_length(codec.NOTIFICATION, n) for n in (20, 21)] == [False, True]
    assert [codec.valid_length(codec.KEEPALIVE, n) for n in (18, 19, 20)] == [False, True, False]
    assert not codec.valid_length(9, 19)


def test_strings_do_not_reach_exabgp():
    """No string of a session is in what ExaBGP is given: its configuration language runs commands."""
    evil = 'x"; } process p { run /bin/false; }'
    session = make_session(evil, "10.9.0.2", peer_node=evil)
    view = neighbor(session, make_settings(node=evil))
    assert evil not in repr(dict(view))
    assert evil.encode() not in open_message(session, view, restarting=False, preserved=False).message()


def test_neither_reactor_nor_configuration_of_exabgp_is_loaded():
    """The speaker's imports leave ExaBGP's reactor, configuration parser and process API out, and its log silent."""
    program = (
        "import sys, towpath.bgp.exabgp.engine; from exabgp.environment import getenv; "
        "assert not getenv().log.enable; "
        "print([m for m in sys.modules if m.startswith(('exabgp.reactor', 'exabgp.configuration', 'exabgp.application'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_no_name_is_looked_up():
    """Importing the engine asks no resolver: a node whose DNS is away starts its speaker as fast as any other."""
    program = (
        "import socket\n"
        "def ask(*_): raise SystemExit('a name was looked up')\n"
        "socket.getfqdn = socket.gethostbyaddr = socket.getaddrinfo = socket.gethostbyname = ask\n"
        "import towpath.bgp.speaker\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
