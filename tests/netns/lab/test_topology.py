"""Labs come up, are found again, and go away whole."""

import subprocess
import sys
from pathlib import Path

from tests.names import own
from towpath.lab import facts
from towpath.lab.process import run, wait_for
from towpath.lab.shape import ROOT, Shape
from towpath.lab.topology import Lab

PREFIX = own("tplt")


def _namespaces() -> list[str]:
    return [line for line in run("ip", "netns", "list").splitlines() if line.startswith(f"{PREFIX}-")]


def test_a_lab_is_found_by_another_process_and_leaves_nothing_when_it_goes() -> None:
    """What one process brings up another takes down: namespaces, programs and files."""
    Lab(PREFIX, Shape(nodes=1, mode="none")).up()
    found = Lab.open(PREFIX)
    assert found.nodes == ("node1",)
    assert found.programs.running() == {"tor": True}
    pid = found.programs["tor"].pid
    assert "node1_v4" in found.tor.protocols()
    found.down()
    assert not _namespaces()
    assert not (ROOT / PREFIX).exists()
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
    found.down()  # once more does no harm


def test_down_finds_what_a_crash_left() -> None:
    """Without ``lab.json`` the prefix alone is enough."""
    made = Lab(PREFIX, Shape(nodes=1, mode="none")).up()
    (made.root / "lab.json").unlink()
    Lab(PREFIX).down()
    assert not _namespaces()
    assert not made.root.exists()
    assert wait_for(lambda: not made.programs["tor"].running, deadline=5, what="bird is gone")


def test_nodes_behind_the_router_have_next_hops_off_the_link() -> None:
    """Racks are separate segments: from rack a to a node of rack b the way leads through the router."""
    with Lab(PREFIX, Shape(nodes=2, rack_b=1, mode="none")) as lab:
        lab.up()
        far = lab.node_addresses("node2")[0]
        assert lab.host("node1").ip_json("route", "get", str(far))[0]["gateway"] == "192.0.2.1"
        assert "1 received" in lab.host("node1").run("ping", "-n", "-c", "1", "-W", "20", str(far))


def test_a_powered_off_node_is_silent_and_comes_back_empty() -> None:
    """A reboot keeps the disk and loses ``/run``, routes and pods."""
    with Lab(PREFIX, Shape(nodes=2, mode="none")) as lab:
        lab.up()
        (lab.node_directory("node1", "run") / "gone").touch()
        (lab.node_directory("node1", "state") / "kept").touch()
        lab.host("node1").ip("route", "add", "10.244.9.0/24", "via", "192.0.2.12", "proto", "179")
        lab.power_off("node1")
        address = str(lab.node_addresses("node1")[0])
        assert "0 received" in lab.host("node2").run("ping", "-n", "-c", "1", "-W", "1", address, check=False)
        lab.power_on("node1")
        assert facts.kernel_routes(lab, "node1") == {}
        assert not (lab.node_directory("node1", "run") / "gone").exists()
        assert (lab.node_directory("node1", "state") / "kept").exists()
        assert "1 received" in lab.host("node2").run("ping", "-n", "-c", "1", "-W", "20", address)


def test_the_router_learns_blocks_and_takes_new_neighbours_without_losing_the_old_ones() -> None:
    """A BIRD on a node announces a block: the router's kernel has it, and a node that joins resets nothing."""
    with Lab(PREFIX, Shape(nodes=1, mode="none")) as lab:
        lab.up()
        config = lab.root / "node.conf"
        config.write_text(
            "router id 192.0.2.11;\nprotocol device {}\nprotocol static { ipv4; route 10.244.1.0/26 blackhole; }\n"
            "protocol bgp tor { local 192.0.2.11 as 64512; neighbor 192.0.2.1 as 65000;\n"
            "  connect delay time 1; ipv4 { import none; export all; }; }\n"
        )
        node = lab.host("node1")
        bird = node.process(
            *("bird", "-f", "-c", str(config), "-s", str(lab.root / "n.ctl"), "-P", str(lab.root / "n.pid")),
            log=lab.root / "node.log",
        )
        routes = wait_for(lab.tor.routes, deadline=20, what="the router has learned the block")
        assert [(str(prefix), route.gateways) for prefix, route in routes.items()] == [
            ("10.244.1.0/26", ("192.0.2.11",))
        ]
        wait_for(
            lambda: (
                [one["gateway"] for one in facts.kernel_routes(lab, "tor", protocol="bird").values()] == ["192.0.2.11"]
            ),
            deadline=20,
            what="the router's kernel has it",
        )
        lab.add_node("node2")
        protocols = lab.tor.protocols()
        assert protocols["node1_v4"].established
        assert not protocols["node2_v4"].established
        assert facts.sessions_down(lab) == ("node1_v6", "node2_v4", "node2_v6")
        bird.stop()


def test_the_command_line_answers_a_mistake_with_one_sentence() -> None:
    """No traceback for a lab that is not there."""
    done = subprocess.run(
        [sys.executable, "-m", "towpath.lab.cli", "--prefix", PREFIX, "status"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no lab" in done.stderr
    assert "Traceback" not in done.stderr
