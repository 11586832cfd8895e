"""``./dev demo``: a cluster comes up, grows, is hurt and shrinks, and every step is checked by packets.

Each chapter says what it does, shows it, and checks it; the exit code is 0 only if every check held and nothing was
left behind, also after Ctrl-C.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from towpath.lab import cli, facts, pods, views
from towpath.lab.demo_paths import WAYS, Way, by_shim, crossings, unheard
from towpath.lab.events import RouteEvents
from towpath.lab.golang import ToolError
from towpath.lab.probe import Probe, Result, unreached
from towpath.lab.process import run, wait_for
from towpath.lab.story import Story
from towpath.lab.table import paint, table
from towpath.lab.tools import user_mode_linux
from towpath.lab.topology import Lab
from towpath.lab.uml.machine import MachineError, boot
from towpath.model.net import family_of
from towpath.routes.machine import knows_kind
from towpath.routes.shim import SHIM

PREFIX = "tpdemo"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):  # what it is
    """Ctrl-C, or another signal that asks to end."""


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(signal.Signals(number).name)


def tell(lab: Lab, story: Story, way: Way) -> None:
    """The whole story."""
    bring_up(lab, story, way)
    attach_pods(lab, story)
    ping_everything(lab, story)
    if way.beside:
        lie_beside(lab, story)
    else:
        cross(lab, story, way)
        grow(lab, story)
        hurt(lab, story)
    shrink(lab, story)


def bring_up(lab: Lab, story: Story, way: Way) -> None:
    """Three nodes and a router."""
    story.chapter("Three nodes join a cluster (AS 64512); above them a top-of-rack router, BIRD (AS 65000)")
    lab.up()
    story.wait(lambda: not facts.blockless(lab), "the controller has given every node a block per family")
    story.wait(lambda: not facts.sessions_down(lab), "the router's sessions with all nodes are established")
    if not way.beside:
        story.wait(lambda: not facts.missing_routes(lab), "every kernel, the router's too, has a route to every block")
    story.wait(lambda: all(facts.ready(lab, node) for node in lab.nodes), "every node has its CNI configuration")
    with contextlib.suppress(AssertionError):
        facts.wait_sessions(lab, deadline=60, reported=True)
    story.check(_reported_sessions(lab) == _expected_sessions(lab), "every session is reported as established")
    story.say("Sessions: a full mesh (iBGP), and each node with the router (eBGP)")
    story.say(views.sessions(lab))
    story.say("Blocks")
    story.say(views.blocks(lab))
    if not way.beside:
        story.say("Routes of node1 and of the router")
        story.say(views.routes(lab, lab.nodes[0], "tor"))


def _reported_sessions(lab: Lab) -> int:
    found = (session for status in facts.reports(lab).values() for session in status.get("sessions", []))
    return sum(session["state"] == "Established" for session in found)


def _expected_sessions(lab: Lab) -> int:
    return len(lab.nodes) * facts.sessions_wanted(lab)


def attach_pods(lab: Lab, story: Story) -> None:
    """Pods by the CNI plugins."""
    story.chapter("Pods are attached by the CNI project's own plugins, as a container runtime calls them")
    for node in (*lab.nodes, lab.nodes[0]):
        lab.add_pod(node)
    story.say(views.pods(lab))
    blocks = facts.blocks(lab)
    inside = all(
        any(
            family_of(prefix) is family and pod.address(family) in prefix
            for prefix, owner in blocks.items()
            if owner == pod.node
        )
        for pod in lab.pods.values()
        for family in lab.families
    )
    story.check(inside, "every pod has an address of its own node's block, in both families")


def ping_everything(lab: Lab, story: Story) -> None:
    """All to all, in both families."""
    story.chapter("Everyone pings everyone: pods on the same and on other nodes, and the client behind the router")
    endpoints = facts.endpoints(lab)
    failed: list[str] = []
    count = 0
    rows: list[list[str]] = []
    for source, _ in endpoints:
        row = [source]
        for target, addresses in endpoints:
            if source == target:
                row.append("")
                continue
            answers = [pods.ping(lab.host(source), address) for address in addresses]
            count += len(answers)
            failed += [f"{source} to {address}" for address, ok in zip(addresses, answers, strict=True) if not ok]
            row.append(" ".join(f"v{a.version}" if ok else "--" for a, ok in zip(addresses, answers, strict=True)))
        rows.append(row)
    story.say(table(("from \\ to", *(name for name, _ in endpoints)), rows))
    story.check(
        not failed, f"{count} pings, {count - len(failed)} answered" + "".join(f"; not {f}" for f in failed[:5])
    )


def cross(lab: Lab, story: Story, way: Way) -> None:
    """From node to node, as large as a pod may send."""
    story.chapter(f"Between nodes packets go {way.words}")
    found = list(crossings(lab, way))
    rows = [(one.source, one.target, one.route, one.mtu) for one in found]
    story.say(table(("from", "to", "route of its node", "largest packet"), rows))
    story.check(all(one.as_wanted for one in found), "every route leads out as it should")
    story.check(all(one.whole for one in found), "packets as large as pods may send arrive in one piece")


def lie_beside(lab: Lab, story: Story) -> None:
    """Pods on the network of their nodes, and what their nodes have beside them."""
    story.chapter(
        "Pods are on the network of their nodes: nobody announces or routes them, and their node is beside them"
    )
    story.check(not set(facts.blocks(lab)) & lab.tor.routes().keys(), "the router has heard of no block")
    story.say(table(("node", "block", "device", "its own address there"), by_shim(lab)))
    story.check(unheard(lab) == [], "every node reaches its pods, and they it, in packets of full size")
    node = lab.nodes[0]
    story.chapter(f"Somebody deletes that device of {node}, while packets run every 2 ms on every path between pods")
    with Probe(lab.network, facts.flows(lab), directory=lab.root) as probe:
        lab.host(node).ip("link", "del", SHIM)
        story.wait(lambda: unheard(lab) == [], f"{node} and its pods reach each other again")
    story.check(probe.result.lost == 0, f"of {probe.result.sent} packets between pods none was lost")


def grow(lab: Lab, story: Story) -> None:
    """A fourth node."""
    story.chapter("A fourth node joins; the clock runs from the moment when its Node object is created")
    name = f"node{len(lab.nodes) + 1}"
    begun = time.monotonic()
    times: list[tuple[str, str]] = []

    def step(text: str, condition: Callable[[], bool]) -> None:
        with contextlib.suppress(AssertionError):
            wait_for(condition, deadline=30, what=text, interval=0.02)
            times.append((text, f"{time.monotonic() - begun:.2f} s"))
            return
        story.check(False, f"{text}: not within 30 s")

    lab.add_node(name)
    step("it has a block of each family", lambda: not facts.blockless(lab))
    step("it has its CNI configuration", lambda: facts.ready(lab, name))
    if not facts.ready(lab, name):
        return
    pod = lab.add_pod(name)
    times.append(("a pod is attached to it", f"{time.monotonic() - begun:.2f} s"))
    wanted = [flow for flow in facts.flows(lab) if pod.name in (flow.source, flow.target)]
    step("everyone reaches that pod, and it everyone", lambda: not unreached(lab.network, wanted, wait=0.1))
    step("every kernel has a route to its blocks", lambda: not facts.missing_routes(lab))
    story.say(table(("what", "after"), times))
    story.check(not unreached(lab.network, facts.flows(lab)), f"all {len(facts.flows(lab))} paths carry packets")


@contextlib.contextmanager
def watched(lab: Lab, *, but: str) -> Iterator[list[RouteEvents]]:
    """Route events of every other node and of the router, from now on."""
    with contextlib.ExitStack() as stack:
        names = [name for name in (*lab.nodes, "tor") if name != but]
        yield [stack.enter_context(RouteEvents(lab.host(name))) for name in names]


def hurt(lab: Lab, story: Story) -> None:
    """Restarts and kills under a running probe."""
    story.chapter(
        "Processes of node1 are restarted and killed, while packets run every 2 ms on every path from and to it"
    )
    node = lab.nodes[0]
    facts.wait_sessions(lab)
    rows: list[tuple[object, ...]] = []
    speaker, agent = f"{node}/speaker", f"{node}/agent"
    deeds: list[tuple[str, Callable[..., None], tuple[str, ...]]] = [
        ("speaker restarted", lab.stop, (speaker,)),
        ("agent restarted", lab.stop, (agent,)),
        ("both killed (kill -9)", lab.kill, (speaker, agent)),
    ]
    for text, deed, programs in deeds:
        result, events = hurt_once(lab, node, deed=lambda d=deed, p=programs: d(*p), programs=programs)  # type: ignore[misc]  # bound now
        rows.append((text, result.sent, result.lost, f"{result.longest_gap * 1000:.0f} ms", events))
        story.check(
            result.lost == 0 and events == 0, f"{text}: nothing lost, no route moved on any other node or the router"
        )
    story.say(table(("what", "packets", "lost", "longest gap", "route events elsewhere"), rows))


def hurt_once(lab: Lab, node: str, *, deed: Callable[[], None], programs: Sequence[str]) -> tuple[Result, int]:
    """Do something to the programs of a node, start them again, wait until all is well; what was lost meanwhile."""
    own = {pod.name for pod in lab.pods.values() if pod.node == node}
    flows = [flow for flow in facts.flows(lab) if (flow.source in own) != (flow.target in own)]
    with watched(lab, but=node) as watches:
        with Probe(lab.network, flows, directory=lab.root) as probe:
            deed()
            if any(name.endswith("/speaker") for name in programs):
                wait_for(lambda: facts.sessions_down(lab), deadline=10, what="the router has lost its session")
            lab.start(*programs)
            facts.wait_sessions(lab)
            facts.wait_healthy(lab)
        return probe.result, sum(len(watch.read()) for watch in watches)


def shrink(lab: Lab, story: Story) -> None:
    """A node leaves."""
    name = lab.nodes[-1]
    story.chapter(
        f"{name} is deleted: nobody has a way to its blocks any more, and nobody gets its addresses for a while"
    )
    mine = [prefix for prefix, owner in facts.blocks(lab).items() if owner == name]
    for pod in [pod.name for pod in lab.pods.values() if pod.node == name]:
        lab.delete_pod(pod)
    lab.delete_node_object(name)
    others = [node for node in lab.nodes if node != name]
    story.wait(
        lambda: all(not set(mine) & facts.kernel_routes(lab, node).keys() for node in others),
        "no other node has a route to its blocks",
    )
    story.wait(lambda: not set(mine) & lab.tor.routes().keys(), "the router has none either")
    story.wait(lambda: set(mine) <= facts.blocks(lab, state="Quarantined").keys(), "its blocks are in quarantine")
    lab.remove_node(name)
    story.say(views.blocks(lab))
    story.check(not unreached(lab.network, facts.flows(lab)), "all other paths carry packets as before")


def machine(prefix: str) -> set[str]:
    """What the demo must leave as it was: namespaces, devices and routes of this machine."""
    return {
        *(f"namespace {line}" for line in run("ip", "netns", "list").splitlines() if line.startswith(f"{prefix}-")),
        *(f"device {line.split(':')[1].strip()}" for line in run("ip", "-o", "link").splitlines()),
        *(f"route {line.strip()}" for line in run("ip", "-4", "route").splitlines()),
        *(f"route {line.strip()}" for line in run("ip", "-6", "route").splitlines() if "expires" not in line),
    }


def processes(root: Path) -> set[str]:
    """Processes that work in the demo's folder."""
    found: set[str] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{root}/".encode() in (entry / "cmdline").read_bytes():
                    found.add(f"process {entry.name}")
    return found


def last_words(lab: Lab) -> str:
    """The end of every program's log."""
    return "\n".join(
        f"{paint(name, 'bold')}\n" + "\n".join(lab.programs[name].log.splitlines()[-8:])
        for name in lab.programs.running()
    )


def clean(lab: Lab, story: Story, before: set[str]) -> None:
    """Take everything away, and look whether it is gone."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    lab.down()  # first of all: nobody may be reading what is printed
    if story.failed:
        _wait_for_children()
        lab.down()
    story.chapter("Cleaning up")
    left = (machine(lab.network.prefix) - before) | processes(lab.root)
    if lab.root.exists():
        left.add(f"files in {lab.root}")
    story.check(
        not left, "no namespace, device, process, file or route is left" + "".join(f"; {item}" for item in left)
    )


def _wait_for_children() -> None:
    """What was just being started when a signal came is nobody's child by name, and may make something yet."""
    end = time.monotonic() + 10
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


def elsewhere(kind: str, path: str) -> int:
    """The same in a kernel that has such devices; the exit code."""
    print(f"this machine's kernel has no devices of kind {kind}: the demo runs in user-mode Linux", flush=True)
    try:
        kernel = user_mode_linux()
        return boot(
            kernel,
            *(sys.executable, "-m", "towpath.lab.demo", "--path", path),
            folder=Path.cwd(),
            show=lambda printed: os.write(sys.stdout.fileno(), printed),
            deadline=900,
        )
    except (ToolError, MachineError) as error:
        print(f"the demo cannot run: {error}", file=sys.stderr)
        return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the cluster running, to play with")
    parser.add_argument(
        "--path", choices=WAYS, default="bgp", help="how packets go between nodes (default %(default)s)"
    )
    parser.add_argument("--prefix", default=PREFIX, help="first part of the namespaces' names (default %(default)s)")
    arguments = parser.parse_args(argv)
    prefix, way = str(arguments.prefix), WAYS[arguments.path]
    for kind in filter(None, (way.kind, way.pods)):
        if not knows_kind(kind):
            return elsewhere(kind, arguments.path)
    Lab(prefix).down()  # what an earlier one may have left
    before = machine(prefix)
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    lab, story = Lab(prefix, way.shape), Story()
    keep = False
    try:
        tell(lab, story, way)
        keep = arguments.keep
    except Interrupted as error:
        story.failed.append(f"interrupted by {error}")
        print(f"\ninterrupted by {error}", flush=True)
    except AssertionError as error:
        story.check(False, str(error))
    finally:
        logs = last_words(lab) if story.failed else ""
        if not keep:
            clean(lab, story, before)
    took = time.monotonic() - story.started
    if story.failed:
        print(paint(f"\n{len(story.failed)} checks did not hold, after {took:.0f} s:", "red", "bold"))
        print("\n".join(f"  {text}" for text in story.failed), flush=True)
        print(f"\nWhat the programs said last:\n{logs}")
        return 1
    print(paint(f"\nAll {story.held} checks held, in {took:.0f} s.", "green", "bold"), flush=True)
    if keep:
        print(f"\nIt keeps running; its files are in {lab.root}.\n{cli.hints(prefix)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
