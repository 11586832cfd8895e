"""Sessions with FRR, GoBGP and OpenBGPD: each comes up in both directions, over IPv4 and IPv6, with MD5 where it can."""

import json
import shutil
from ipaddress import ip_address

import pytest

from tests.netns.engine.rig import AS_OURS, AS_PEER, SECRET, RecordingTable, engine_in, make_session
from towpath.lab.blaster import Blast
from towpath.lab.process import wait_for

ROUTES = [
    Blast(
        next_hop=ip_address("10.9.0.1"),
        local_as=AS_OURS,
        remote_as=AS_PEER,
        count=2,
        first=ip_address("10.64.0.0"),
        length=26,
    ),
    Blast(
        next_hop=ip_address("fd09::1"),
        local_as=AS_OURS,
        remote_as=AS_PEER,
        count=2,
        first=ip_address("fd64::"),
        length=64,
    ),
]
PASSWORD = "right-one"


def frr(host, folder):
    """FRR's bgpd alone, and a function that asks it for JSON."""
    folder = folder / "frr"
    folder.mkdir()
    shutil.chown(folder, "frr", "frr")
    (folder / "bgpd.conf").write_text(
        f"""router bgp {AS_PEER}
 bgp router-id 10.9.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart notification
 neighbor 10.9.0.1 remote-as {AS_OURS}
 neighbor 10.9.0.1 password {PASSWORD}
 neighbor 10.9.0.1 timers connect 1
 neighbor fd09::1 remote-as {AS_OURS}
 neighbor fd09::1 timers connect 1
 address-family ipv4 unicast
  network 203.0.113.0/26
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8::/64
  neighbor 10.9.0.1 activate
  neighbor fd09::1 activate
 exit-address-family
"""
    )
    common = ["-u", "frr", "-g", "frr", "--vty_socket", str(folder), "-z", str(folder / "zserv.api"), "-A", "127.0.0.1"]
    host.process(
        *("/usr/lib/frr/bgpd", *common, "-i", str(folder / "bgpd.pid"), "-f", str(folder / "bgpd.conf")),
        log=folder / "out",
    )

    def ask(command):
        text = host.run("vtysh", "--vty_socket", str(folder), "-c", command, check=False)
        return json.loads(text) if text.startswith("{") else {}

    return ask


def test_frr(segment, public):
    """FRR: IPv4 with MD5 and graceful restart with the N-bit, and IPv6; routes both ways."""
    node, tor, _ = segment
    ask = frr(tor, public)
    with engine_in(node, RecordingTable(ROUTES)) as engine:
        engine.apply(
            make_session("four", "10.9.0.2", password_ref=SECRET),
            make_session("six", "fd09::2", passive=True),
            four=PASSWORD.encode(),
        )
        engine.up("four", "six", deadline=30)
        restart = engine.table.negotiated["four"].restart
        assert restart is not None
        assert restart.notification
        assert engine.table.negotiated["four"].message_size == 65535
        wait_for(lambda: len(ask("show bgp ipv4 unicast json").get("routes", {})) == 3, deadline=10, what="routes")
        wait_for(lambda: len(ask("show bgp ipv6 unicast json").get("routes", {})) == 3, deadline=10, what="routes")
        wait_for(lambda: sum(len(body) > 23 for body in engine.table.bodies["six"]), deadline=10, what="UPDATEs")


def test_gobgp(segment, tmp_path):
    """GoBGP: IPv4 with MD5 and IPv6, both sides dialling."""
    node, tor, _ = segment
    neighbours = "\n".join(
        f"""[[neighbors]]
[neighbors.config]
neighbor-address = "{address}"
peer-as = {AS_OURS}
{auth}
[neighbors.timers.config]
connect-retry = 1
idle-hold-time-after-reset = 1
[neighbors.graceful-restart.config]
enabled = true
restart-time = 60
notification-enabled = true
{families}"""
        for address, auth, families in (
            ("10.9.0.1", f'auth-password = "{PASSWORD}"', _gobgp_family("ipv4-unicast")),
            ("fd09::1", "", _gobgp_family("ipv6-unicast")),
        )
    )
    config = tmp_path / "gobgpd.toml"
    config.write_text(f'[global.config]\nas = {AS_PEER}\nrouter-id = "10.9.0.2"\n{neighbours}')
    tor.process("gobgpd", "-f", str(config), "--api-hosts", "127.0.0.1:50051", log=tmp_path / "gobgpd.log")

    def count(family):
        text = tor.run("gobgp", "-j", "global", "rib", "-a", family, check=False)
        return len(json.loads(text)) if text.startswith("{") else 0

    with engine_in(node, RecordingTable(ROUTES)) as engine:
        engine.apply(
            make_session("four", "10.9.0.2", password_ref=SECRET),
            make_session("six", "fd09::2"),
            four=PASSWORD.encode(),
        )
        engine.up("four", "six", deadline=30)
        wait_for(lambda: count("ipv4") == 2, deadline=10, what="IPv4 routes")
        wait_for(lambda: count("ipv6") == 2, deadline=10, what="IPv6 routes")


def _gobgp_family(name):
    return f"""[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "{name}"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true"""


@pytest.mark.parametrize("passive", [False, True])
def test_openbgpd(segment, tmp_path, passive):
    """OpenBGPD: IPv4 with MD5 and IPv6; it offers no graceful restart of its own."""
    node, tor, _ = segment
    control = tmp_path / "bgpd.sock"
    config = tmp_path / "bgpd.conf"
    their_side = "" if passive else "passive"
    config.write_text(
        f"""AS {AS_PEER}
router-id 10.9.0.2
fib-update no
socket "{control}"
neighbor 10.9.0.1 {{
 remote-as {AS_OURS}
 tcp md5sig password "{PASSWORD}"
 {their_side}
}}
neighbor fd09::1 {{
 remote-as {AS_OURS}
 {their_side}
}}
allow from any
allow to any
"""
    )
    config.chmod(0o600)
    tor.run("mkdir", "-p", "/run/openbgpd")
    tor.process("/usr/sbin/bgpd", "-d", "-f", str(config), log=tmp_path / "bgpd.log")

    def prefixes():
        text = tor.run("bgpctl", "-j", "-s", str(control), "show", "rib", check=False)
        return len(json.loads(text).get("rib", [])) if text.startswith("{") else 0

    with engine_in(node, RecordingTable(ROUTES)) as engine:
        engine.apply(
            make_session("four", "10.9.0.2", password_ref=SECRET, passive=passive),
            make_session("six", "fd09::2", passive=passive),
            four=PASSWORD.encode(),
        )
        engine.up("four", "six", deadline=45)
        wait_for(lambda: prefixes() >= 4, deadline=10, what="routes")
