"""``./dev lab``: a whole cluster on this machine to play with; it stays until ``down``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from towpath.controller.manifests import ManifestError, documents, dump
from towpath.lab import facts, views
from towpath.lab.api import AnswerError
from towpath.lab.pods import NotReadyError, PluginError
from towpath.lab.process import WaitError
from towpath.lab.shape import ROOT, Shape
from towpath.lab.table import paint
from towpath.lab.topology import Lab
from towpath.model.kinds.registry import KINDS

PREFIX = "towpath"


class LabError(Exception):
    """What was asked cannot be done; the message is for a person."""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="./dev lab", description=__doc__)
    top.add_argument("--prefix", default=PREFIX, help="first part of the namespaces' names (default %(default)s)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring up N nodes, a router, a client and an API server")
    up.add_argument("nodes", nargs="?", type=int, default=3, metavar="N", help="how many nodes (default 3)")
    up.add_argument("--rack-b", type=int, default=0, metavar="K", help="K of the nodes are behind the router")
    commands.add_parser("down", help="take everything away")
    run = commands.add_parser("exec", help="run a command in a host: a node, a pod, tor, client, api")
    run.add_argument("host")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="CMD…")
    pod = commands.add_parser("pod", help="add or delete a pod").add_subparsers(dest="deed", required=True)
    pod.add_parser("add", help="a pod on a node, attached by its CNI plugins").add_argument("node")
    pod.add_parser("del", help="remove a pod").add_argument("pod")
    node = commands.add_parser("node", help="add, delete or reboot a node").add_subparsers(dest="deed", required=True)
    node.add_parser("add", help="a machine and its Node object").add_argument("node")
    node.add_parser("del", help="the Node object and the machine").add_argument("node")
    node.add_parser("reboot", help="a new kernel, /run empty").add_argument("node")
    for command, text in (("kill", "kill -9 a program"), ("start", "start a program again"), ("logs", "its output")):
        one = commands.add_parser(command, help=f"{text}: api, ctl1, tor, node1/agent, node1/speaker")
        one.add_argument("program")
    apply = commands.add_parser("apply", help="create the objects of a file, or merge them into those there are")
    apply.add_argument("files", nargs="+", type=Path, metavar="FILE")
    get = commands.add_parser("get", help="objects as YAML: a kind, such as BGPPeer, and perhaps a name")
    get.add_argument("kind")
    get.add_argument("name", nargs="?")
    delete = commands.add_parser("delete", help="delete an object")
    delete.add_argument("kind")
    delete.add_argument("name")
    status = commands.add_parser("status", help="programs, sessions, blocks, routes and pods")
    status.add_argument("--routes", action="store_true", help="the routes of every host too")
    return top


def up(prefix: str, *, nodes: int, rack_b: int) -> None:
    """Bring a lab up and wait until it is ready."""
    lab = Lab(prefix, Shape(nodes=nodes, rack_b=rack_b))
    lab.up(say=lambda text: print(f"  {text}", flush=True))
    facts.wait_converged(lab, deadline=60)
    facts.wait_ready(lab)
    print(f"\n{len(lab.nodes)} nodes are up; everyone has a route to every block.\n")
    print(hints(prefix))


def hints(prefix: str) -> str:
    """What a person may try."""
    command = "./dev lab" + ("" if prefix == PREFIX else f" --prefix {prefix}")
    return "\n".join(
        [
            "Try:",
            f"  {command} pod add node1               a pod, attached by the CNI plugins",
            f"  {command} exec node1 ip route         the routes of a node (protocol 179 is towpath)",
            f"  {command} exec client ping ADDRESS    from behind the router to a pod",
            f"  {command} kill node1/speaker          and: start node1/speaker",
            f"  {command} node add node9              a machine joins",
            f"  {command} exec tor birdc -s {ROOT}/{prefix}/tor/bird.ctl show route",
            f"  {command} get IPAMBlock               objects as YAML; apply FILE writes some",
            f"  {command} exec api kubectl -s http://203.0.113.1:8001 get ipamblocks    (where kubectl is installed)",
            f"  {command} status                      what there is",
            f"  {command} down                        take everything away",
        ]
    )


def opened(prefix: str) -> Lab:
    """The lab that is up."""
    try:
        return Lab.open(prefix)
    except FileNotFoundError:
        raise LabError(f"there is no lab {prefix}: ./dev lab up makes one") from None


def known_host(lab: Lab, name: str) -> str:
    """The name, if the lab has such a host."""
    hosts = (*lab.nodes, *lab.pods, "tor", "client", "api", *(n for n in lab.program_names if n.startswith("ctl")))
    if name not in hosts:
        raise LabError(f"there is no host {name}; there are {', '.join(hosts)}")
    return name


def known_node(lab: Lab, name: str) -> str:
    """The name, if the lab has such a node."""
    if name not in lab.nodes:
        raise LabError(f"there is no node {name}; there are {', '.join(lab.nodes)}")
    return name


def known_program(lab: Lab, name: str) -> str:
    """The name, if the lab has such a program, running or not."""
    if name not in lab.program_names:
        raise LabError(f"there is no program {name}; there are {', '.join(lab.program_names)}")
    return name


def pod(lab: Lab, arguments: argparse.Namespace) -> None:
    """``pod add`` and ``pod del``."""
    if arguments.deed == "add":
        made = lab.add_pod(known_node(lab, arguments.node))
        print(f"{made.name}: {', '.join(made.addresses)}")
    elif arguments.pod not in lab.pods:
        raise LabError(f"there is no pod {arguments.pod}; there are {', '.join(lab.pods) or 'none'}")
    else:
        lab.delete_pod(arguments.pod)
        print(f"{arguments.pod} is gone")


def node(lab: Lab, arguments: argparse.Namespace) -> None:
    """``node add``, ``node del`` and ``node reboot``."""
    name = arguments.node
    if arguments.deed == "add":
        if name in lab.nodes:
            raise LabError(f"there is a node {name} already")
        lab.add_node(name)
    elif arguments.deed == "del":
        lab.delete_node(known_node(lab, name))
        print(f"{name} is gone")
        return
    else:
        lab.power_off(known_node(lab, name))
        lab.power_on(name)
    facts.wait_ready(lab, name)
    print(f"{name} is ready for pods")


def apply(lab: Lab, files: Sequence[Path]) -> None:
    """``apply``: what a file says is what the API server has then; fields it does not name stay as they are."""
    for path in files:
        try:
            objects = list(documents(path.read_text()))
        except (OSError, ManifestError) as error:
            raise LabError(f"{path}: {error}") from None
        for body in objects:
            body["kind"] = known_kind(body["kind"], "Secret", "Namespace")
            lab.api.apply(body)
            print(f"{body['kind']}/{body['metadata']['name']} is applied")


def known_kind(name: str, *more: str) -> str:
    """The kind, if it is one of ours, Node or one of ``more``; capitals do not matter."""
    kinds = (*KINDS, "Node", *more)
    for kind in kinds:
        if kind.lower() == name.lower():
            return kind
    raise LabError(f"there is no kind {name}; there are {', '.join(kinds)}")


def get(lab: Lab, kind: str, name: str | None) -> None:
    """``get``: as YAML, without what only machines read."""
    objects = lab.api.items(kind)
    if name is not None and name not in objects:
        raise LabError(f"there is no {kind} {name}; there are {', '.join(sorted(objects)) or 'none'}")
    for body in (objects[name],) if name is not None else objects.values():
        for field in ("managedFields", "uid", "resourceVersion", "generation", "creationTimestamp"):
            body["metadata"].pop(field, None)
        print(f"---\n{dump(body)}", end="")


def status(lab: Lab, *, routes: bool) -> None:
    """Print everything."""
    parts = {"Programs": views.programs, "Sessions": views.sessions, "Blocks": views.blocks, "Pods": views.pods}
    if routes:
        parts["Routes"] = views.routes
    for name, view in parts.items():
        print(f"{paint(name, 'bold')}\n{view(lab)}\n")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    if arguments.command == "up":
        up(arguments.prefix, nodes=arguments.nodes, rack_b=arguments.rack_b)
        return 0
    if arguments.command == "down":
        Lab(arguments.prefix).down()
        print("Nothing is left.")
        return 0
    lab = opened(arguments.prefix)
    match arguments.command:
        case "exec":
            netns = lab.host(known_host(lab, arguments.host)).netns
            words = arguments.words or [os.environ.get("SHELL", "/bin/sh")]
            os.execvp("nsenter", ["nsenter", f"--net=/run/netns/{netns}", *words])
        case "pod":
            pod(lab, arguments)
        case "node":
            node(lab, arguments)
        case "kill":
            lab.kill(known_program(lab, arguments.program))
        case "start":
            lab.start(known_program(lab, arguments.program))
        case "apply":
            apply(lab, arguments.files)
        case "get":
            get(lab, known_kind(arguments.kind), arguments.name)
        case "delete":
            lab.api.delete(known_kind(arguments.kind), arguments.name)
        case "logs":
            print(lab.programs[known_program(lab, arguments.program)].log, end="")
        case _:
            status(lab, routes=arguments.routes)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; a failure is one sentence."""
    arguments = parser().parse_args(argv)
    if os.geteuid() != 0:
        print("root is needed: network namespaces are made and used", file=sys.stderr)
        return 1
    try:
        return run(arguments)
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LabError, NotReadyError, PluginError, WaitError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except AnswerError as error:
        print(error.message, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
