"""``towpath-ipam`` with the CNI project's host-local, and an agent that answers, is silent, or is gone."""

import contextlib
import json
import os
import random
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.cni.conftest import Node
from towpath.lab.process import run
from towpath.lab.tools import ROOT
from towpath.model.net import parse_address

TRY_AGAIN, UNAVAILABLE = 11, 50
LISTED = '{"name":"a","b":[1.5e3,null,true,"\\u00e9"]}'


def given(node: Node) -> set[str]:
    return {str(one.address) for one in node.records.records()}


def test_a_pod_gets_what_the_agent_says_and_gives_it_back(served: Node) -> None:
    """ADD asks, once; CHECK finds the addresses and DEL frees them without asking."""
    addresses = served.add()
    assert addresses == ["10.99.0.8/24", "fd99::8/64"]
    (question,) = served.asked
    assert (question.pod, question.container) == ("default/p", "c")
    assert served.call("CHECK", prevResult={"cniVersion": "1.1.0", "ips": [{"address": one} for one in addresses]}) == (
        0,
        None,
    )
    assert served.call("DEL") == (0, None)
    assert given(served) == set()
    code, said = served.call("CHECK")
    assert (code, len(served.asked)) == (1, 1), said


def test_a_pod_gets_the_address_that_it_asks_for(served: Node) -> None:
    """Of the other family it gets any; one that is taken, another node's, or nobody's is refused with what would help."""
    served.asks = {
        "default/p": "10.99.0.13",
        "default/q": '["fd99::e", "10.99.0.13"]',
        "default/r": "10.99.0.17",
        "default/s": "10.98.0.1",
        "default/t": "10.99.0.77",
        "default/u": "10.99.0.300",
        "default/v": "10.99.0.13,10.99.0.14",
    }
    assert served.add(pod="default/p") == ["10.99.0.13/24", "fd99::8/64"]
    code, said = served.call("ADD", pod="default/q", container="d")
    assert (code, said["code"]) == (1, TRY_AGAIN)
    assert said["msg"] == (
        "Pod/default/q metadata.annotations[towpath.io/ip-addresses]:"
        " 10.99.0.13 is taken by container c: this pod waits until it is free"
    )
    for pod, words in {
        "default/r": "block 10.99.0.16/29 of node m, and this pod is on n",
        "default/s": "10.98.0.1 lies in no IPPool and in no IPAMBlock",
        "default/t": "in no block of this node (n) or any other yet: the pod waits for the controller to claim one; the node has "
        "10.99.0.8/29, fd99::8/125",
        "default/u": "10.99.0.300 is no list of addresses",
        "default/v": "two addresses of one family",
    }.items():
        code, said = served.call("ADD", pod=pod, container=pod[-1])
        assert (code, said["code"]) == (1, TRY_AGAIN if "waits" in words else 100), pod
        assert words in said["msg"], pod
    assert given(served) == {"10.99.0.13", "fd99::8"}
    assert served.call("DEL") == (0, None)
    assert served.add(pod="default/q", container="d") == ["10.99.0.13/24", "fd99::e/64"]


def test_a_full_node_says_so(served: Node) -> None:
    """The text names the family, the node and its blocks."""
    assert len({served.add(container=str(number))[0] for number in range(8)}) == 8
    code, said = served.call("ADD", container="late")
    assert (code, said["code"]) == (1, TRY_AGAIN)
    assert "no IPv4 address is free on node n: all of 10.99.0.8/29 of IPPool/a are taken" in said["msg"]


def test_without_an_agent_the_configuration_counts(node: Node) -> None:
    """No socket, one that nobody listens at, and an agent that knows nothing yet: the pod starts, and can be deleted."""
    assert node.add(container="c")[0] == "10.99.0.8/24"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(node.socket))
    assert node.add(container="d")[0] == "10.99.0.9/24"
    for container in "cd":
        assert node.call("DEL", container=container) == (0, None)
    assert given(node) == set()


def test_an_agent_that_knows_nothing_yet_says_nothing(served: Node) -> None:
    """The pod starts as without it, unless its namespace has to wait; then the text says why."""
    served.silent, served.waiting = True, ("team",)
    assert served.add(pod="default/p")[0] == "10.99.0.8/24"
    code, said = served.call("ADD", pod="team/p", container="d")
    assert (code, said["code"]) == (1, TRY_AGAIN)
    assert "pods of namespace team get addresses of their own pools, or fixed ones" in said["msg"]
    served.silent = False
    assert served.add(pod="team/p", container="d")[0] == "10.99.0.9/24"


def silent(connection: socket.socket) -> None:
    """Read and never answer."""
    while connection.recv(1 << 16):
        pass


def trickles(connection: socket.socket) -> None:
    """Answer a byte at a time, for ever."""
    silent(connection)
    head = b"use 1000000\n"
    while True:
        connection.send(head[:1] or b" ")
        head = head[1:]
        threading.Event().wait(0.05)


def babbles(connection: socket.socket) -> None:
    """Answer what is no answer."""
    silent(connection)
    connection.send(b"use 5\n{]{]{")
    connection.close()


def half(connection: socket.socket) -> None:
    """Die in the middle of the answer."""
    silent(connection)
    connection.send(b'use 1000\n{"cniVersion": "1.0.0"')
    connection.close()


def floods(connection: socket.socket) -> None:
    """Answer without an end."""
    silent(connection)
    while True:
        connection.sendall(b" " * (1 << 16))


def deaf(connection: socket.socket) -> None:
    """Close without reading."""
    connection.close()


@pytest.mark.parametrize("manner", [trickles, babbles, half, floods, deaf])
def test_whatever_an_agent_does_a_pod_starts(node: Node, manner: Callable[[socket.socket], None]) -> None:
    """An answer that is slow, broken, without an end, or none: the configuration's ranges count; a namespace that needs others waits."""
    node.waiting = ("team",)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node.socket))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    manner(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert node.add()[0] == "10.99.0.8/24"
            code, said = node.call("ADD", pod="team/p", container="d")
            assert (code, said["code"]) == (1, TRY_AGAIN)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_an_agent_whose_queue_is_full_is_as_one_that_is_silent(node: Node) -> None:
    """Nobody accepts: the program does not wait for ever."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node.socket))
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(str(node.socket))
            assert node.add()[0] == "10.99.0.8/24"
        finally:
            for one in waiting:
                one.close()


def test_what_nobody_uses_any_more_is_given_back(node: Node) -> None:
    """GC: attachments that the runtime does not name go, the agent's own reservations stay; without the list nothing goes."""
    for container in "cde":
        node.add(container=container)
    node.records.hold([parse_address("10.99.0.15")])
    valid = [{"containerID": "c", "ifname": "eth0"}, {"containerID": "d", "ifname": "net1"}]
    code, said = node.call("GC")
    assert (code, said["code"]) == (1, 7)
    assert len(given(node)) == 7
    assert node.call("GC", **{"cni.dev/valid-attachments": valid}) == (0, None)
    assert given(node) == {"10.99.0.8", "fd99::8", "10.99.0.15"}
    assert node.call("GC", **{"cni.dev/valid-attachments": None}) == (0, None)
    assert given(node) == {"10.99.0.15"}


def test_status_says_whether_pods_can_have_addresses(node: Node) -> None:
    """Not without host-local, and not without any range; an agent that is away is no reason."""
    assert node.call("STATUS") == (0, None)
    code, said = node.call("STATUS", ipam={"type": "towpath-ipam", "ranges": []})
    assert (code, said["code"]) == (1, UNAVAILABLE)
    node.path = str(node.folder)
    code, said = node.call("STATUS")
    assert (code, said["code"]) == (1, UNAVAILABLE)
    for command in ("ADD", "DEL", "CHECK"):
        code, said = node.call(command)
        assert (code, said["code"]) == (1, 5), command
        assert f"there is no host-local in CNI_PATH ({node.folder})" in said["msg"]


def test_what_is_no_configuration_is_refused(node: Node) -> None:
    """With the code that the specification has for it; a command that there is not as well."""
    for text, wanted in {
        "": 6,
        "{": 6,
        "[]": 7,
        '{"name": "towpath"}': 7,
        '{"name": "../etc", "ipam": {}}': 7,
        '{"name": "towpath", "ipam": {"agent": 1}}': 7,
        "[" * 100_000: 6,
    }.items():
        for command in ("ADD", "STATUS", "GC"):
            code, said = node.call_with(text, command)
            assert (code, said["code"]) == (1, wanted), (text[:20], command)
    assert node.call("NONSENSE")[1]["code"] == 4
    code, said = node.call("VERSION")
    assert (code, said["supportedVersions"][-1]) == (0, "1.1.0")


def test_a_configuration_of_before_and_after(node: Node) -> None:
    """Pods of a configuration with host-local alone are deleted by the program, and the other way round: the records are the same."""
    before = node.configuration()
    before["ipam"] = {**before["ipam"], "type": "host-local"}
    environment = {
        "CNI_CONTAINERID": "old",
        "CNI_NETNS": "/run/netns/none",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": node.path,
    }
    program = node.path.split(":")[1] + "/host-local"

    def directly(command: str, container: str) -> None:
        subprocess.run(
            [program],
            input=json.dumps(before).encode(),
            env={**environment, "CNI_COMMAND": command, "CNI_CONTAINERID": container},
            capture_output=True,
            check=True,
        )

    directly("ADD", "old")
    assert node.add(container="new")[0] == "10.99.0.9/24"
    assert node.call("DEL", container="old") == (0, None)
    assert given(node) == {"10.99.0.9", "fd99::9"}
    directly("DEL", "new")
    assert given(node) == set()


def test_no_text_makes_it_read_or_write_where_it_should_not(node: Node, tmp_path: Path) -> None:
    """20,000 changed configurations and answers, with the sanitizers of the compiler watching."""
    fuzz = tmp_path / "fuzz"
    sources = [str(ROOT / "cni" / name) for name in ("scan.c", "request.c")]
    flags = (
        "-std=c11",
        "-g",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    )
    run("gcc", *flags, f"-I{ROOT / 'cni'}", "-o", str(fuzz), str(Path(__file__).with_name("fuzz.c")), *sources)
    node.waiting = ("default", "a\u00e9\U0001f600")
    valid = [{"containerID": "c", "ifname": "eth0"}, {"containerID": "d"}]
    texts = {
        "configuration": json.dumps(node.configuration(**{"cni.dev/valid-attachments": valid})),
        "arguments": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p",
        "use": f"use {len(LISTED)}\n{LISTED}",
        "refuse": "refuse 11 5\n\u00e9 no",
        "list": '["default", {"containerID": "c", "ifname": "\\ud83d\\ude00"}]',
    }
    files = []
    for name, text in texts.items():
        files.append(tmp_path / name)
        files[-1].write_text(text)
    seed = os.environ.get("TOWPATH_SEED") or str(random.randrange(1 << 32))
    print(f"seed {seed}")
    run(str(fuzz), seed, "20000", *map(str, files), timeout=120)
