"""A machine with another kernel beside a network: hosts in it on the network's switches, and programs run from outside."""

import os
import signal
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests import names
from towpath.lab.netns import Host, Network
from towpath.lab.pods import ping
from towpath.lab.process import wait_for
from towpath.lab.uml.guest import Guest

SAYING = "tr a-z A-Z; echo no >&2; exit 7"


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Guest, Host, Host, Host]]:
    """The machine, a host in it, a host in this kernel on the same switch, and that one's neighbour in the machine."""
    prefix = names.own("tpgu")
    with names.in_memory(prefix) as root, Network(prefix) as network, Guest(network, cards=2, shared=root) as guest:
        switch = network.switch("s")
        inside, outside, beside = (
            network.host("in", machine=guest),
            network.host("out"),
            network.host("by", machine=guest),
        )
        for number, host in enumerate((inside, outside, beside), 1):
            network.plug(switch, host)
            host.address(f"192.0.2.{number}/24", f"2001:db8::{number}/64", dev="eth0")
        yield guest, inside, outside, beside
    assert names.namespaces() == set()
    assert [line for line in names.processes().values() if prefix in line] == []


def test_its_hosts_are_in_another_kernel(hosts: tuple[Guest, Host, Host, Host]) -> None:
    """And no thread of this one gets into them."""
    guest, inside, outside, _ = hosts
    assert inside.run("uname", "-r").endswith("-towpath\n")
    assert outside.run("uname", "-r") == os.uname().release + "\n"
    with pytest.raises(RuntimeError, match="in is in another kernel"), inside.entered():
        pass
    (guest.shared / "word").write_text("told")
    assert inside.run("cat", str(guest.shared / "word")) == "told"


def test_they_are_on_the_switch(hosts: tuple[Guest, Host, Host, Host]) -> None:
    """Packets of full size pass between all, in both families."""
    _, *three = hosts
    for number, host in enumerate(three, 1):
        for other in {1, 2, 3} - {number}:
            for address in (f"192.0.2.{other}", f"2001:db8::{other}"):
                assert ping(host, ip_address(address), wait=5, size=1500), f"{host.name} to {address}"


def test_a_program_inside_is_as_one_here(
    hosts: tuple[Guest, Host, Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads what it is given, has the same environment, and what it prints and how it ends is known."""
    _, inside, _, _ = hosts
    monkeypatch.setenv("WORD", "one  two")
    assert inside.run("sh", "-c", 'echo "$WORD"') == "one  two\n"
    with pytest.raises(RuntimeError, match=r"exit 7\nHELLO\nno\n"):
        inside.run("sh", "-c", SAYING, stdin="hello\n")
    large = "x" * (1 << 20)
    assert inside.run("cat", stdin=large) == large
    with pytest.raises(RuntimeError, match="exit 127"):
        inside.run("nonesuch")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_here_ends_there(
    hosts: tuple[Guest, Host, Host, Host], tmp_path: Path, ending: signal.Signals
) -> None:
    """A program that is told to end says its last words; one whose stand-in is killed is killed."""
    _, inside, _, _ = hosts
    script = "trap 'echo bye; exit 0' TERM; echo $$; while :; do sleep 0.1; done"
    program = inside.process("sh", "-c", script, log=tmp_path / "log")
    wait_for(lambda: program.log.endswith("\n"), deadline=20, what="it runs")
    at = f"/proc/{int(program.log)}/cmdline"
    assert "bye" in inside.run("cat", at)
    program.signal(ending)
    wait_for(lambda: not program.running, deadline=20, what="it has ended here")
    wait_for(lambda: "bye" not in inside.run("cat", at, check=False), deadline=20, what="and there")
    assert ("bye" in program.log) == (ending is signal.SIGTERM)
