"""The commands that read objects and print: plan, policy test, import, get, explain, topology, ipam. None of them changes anything, but ``ipam repair --yes``.

Exit codes: 0 good, 1 the input cannot be read, 2 usage, 3 objects were rejected (the rest is printed all the same),
4 two plans differ, 5 a policy test is not as expected, 6 ``ipam check`` found something, or ``ipam repair`` left something.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from towpath.controller.settings import RUN_DIR, SECRET_NAMESPACE, Source, UsageError

COMMANDS = frozenset({"plan", "policy", "import", "get", "explain", "topology", "ipam"})
_FORMATS = ("table", "json", "yaml")
MAKES = ("bird", "frr", "gobgp", "openbgpd", "junos", "eos", "nxos")
Sourced = Callable[[argparse.Namespace], Source]


def add(commands: Any) -> None:
    """Add their parsers."""
    plan = commands.add_parser("plan", help="print what each node will do")
    _objects(plan)
    plan.add_argument("--node", metavar="NODE", help="this node alone")
    plan.add_argument("--assign", action="store_true", help="claim the blocks that nodes lack, as the controller would")
    plan.add_argument(
        "--converged", action="store_true", help="let sessions between nodes come up, and print the routes that follow"
    )
    plan.add_argument(
        "--against",
        action="extend",
        nargs="+",
        default=[],
        metavar="FILE",
        help="print what is different from the plan of these, and which sessions that resets",
    )
    plan.add_argument("-o", "--output", choices=_FORMATS, default="table", help="default table")
    plan.add_argument(
        "--tor", choices=MAKES, help="print a configuration for the router that the nodes peer with, of this make"
    )
    plan.add_argument(
        "--peer",
        action="extend",
        nargs="+",
        default=[],
        metavar="ADDRESS",
        help="with --tor: the addresses of that router, as in peerIP; needed where nodes peer with several",
    )
    policy = commands.add_parser("policy", help="ask policy about routes that are written down")
    parts = policy.add_subparsers(dest="part", required=True, parser_class=type(policy), metavar="PART")
    test = parts.add_parser(
        "test", help="say of each route whether it is accepted, by which rule, and how it is after that"
    )
    _objects(test)
    test.add_argument("--node", metavar="NODE", required=True, help="the node whose policy is asked")
    test.add_argument(
        "--routes", metavar="FILE", required=True, help="the routes: a JSON object a line, or YAML (.yaml) with a list"
    )
    test.add_argument("-o", "--output", choices=_FORMATS, default="table", help="default table")

    imported = commands.add_parser("import", help="turn another network's manifests into ours")
    origins = imported.add_subparsers(dest="part", required=True, parser_class=type(imported), metavar="FROM")
    calico = origins.add_parser("calico", help="Calico: projectcalico.org/v3 and crd.projectcalico.org/v1")
    _files(calico, required=True, otherwise="")
    calico.option("--secret-namespace", default=SECRET_NAMESPACE, help="namespace that Secrets with passwords get")
    calico.add_argument(
        "--report", type=Path, metavar="FILE", help="write what could not be carried over to this file too, as JSON"
    )
    calico.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="default yaml")
    calico.add_argument("--for-apply", action="store_true", help="write objects of towpath alone, and passwords")

    get = commands.add_parser("get", help="list what nodes report, and what the objects have them do")
    get.add_argument("what", choices=("sessions", "routes", "blocks", "announcements"))
    explain = commands.add_parser("explain", help="follow a prefix from its object through policy to who uses it")
    explain.add_argument("what", metavar="WHAT", help="a prefix, an address, or a pod (NAMESPACE/NAME)")
    for one in (get, explain):
        _objects(one)
        one.add_argument("--node", metavar="NODE", help="of this node alone")
        one.add_argument(
            "--here", action="store_true", help="ask the speaker and the kernel of this machine, as they are now"
        )
        one.option(
            "--socket",
            kind=Path,
            default=RUN_DIR / "speaker.sock",
            help="the speaker's socket to its agent, for --here",
        )
        one.add_argument("-o", "--output", choices=_FORMATS, default="table", help="default table")

    topology = commands.add_parser("topology", help="draw nodes, routers, the sessions between them, and pools")
    _objects(topology)
    topology.add_argument("--assign", action="store_true", help="with the blocks that the controller would claim")
    topology.add_argument("-o", "--output", choices=("text", "svg"), default="text", help="default text")

    ipam = commands.add_parser("ipam", help="look at pools and the blocks that are dealt out of them")
    parts = ipam.add_subparsers(dest="part", required=True, parser_class=type(ipam), metavar="PART")
    shown = parts.add_parser("show", help="list or draw who has what of the pools, in which state, and how full it is")
    _objects(shown)
    shown.add_argument(
        "-o", "--output", choices=(*_FORMATS, "text", "svg"), default="table", help="text and svg draw; default table"
    )
    checked = parts.add_parser("check", help="say what does not fit together: pools, blocks, nodes, reports and pods")
    _objects(checked)
    checked.add_argument("--node", metavar="NODE", help="the node whose files are in --node-dir")
    checked.add_argument(
        "--node-dir",
        type=Path,
        metavar="DIR",
        help="look at the files of a node too: its /run/towpath, or a copy of it",
    )
    checked.add_argument("--here", action="store_true", help="with --node-dir: it is this machine, ask its kernel too")
    checked.add_argument("-o", "--output", choices=_FORMATS, default="table", help="default table")
    repaired = parts.add_parser("repair", help="say what of that can be mended safely, and do it with --yes")
    _objects(repaired)
    repaired.add_argument("--yes", action="store_true", help="carry the plan out, which is printed alone otherwise")
    repaired.add_argument("-o", "--output", choices=_FORMATS, default="table", help="default table")


def _files(command: Any, *, required: bool, otherwise: str) -> None:
    command.add_argument(
        "-f",
        "--filename",
        action="extend",
        nargs="+",
        default=[],
        required=required,
        metavar="FILE",
        help=f"files or folders of manifests, - is standard input{otherwise}",
    )


def _objects(command: Any) -> None:
    """Where the objects are."""
    _files(command, required=False, otherwise="; without it the live cluster counts")
    command.option("--kubeconfig", kind=Path, help="kubeconfig of the API server; without it the pod's account counts")
    command.option("--server", help="URL of an API server that needs no credentials")
    command.option("--secret-namespace", default=SECRET_NAMESPACE, help="namespace of the Secrets with passwords")


def run(arguments: argparse.Namespace, *, source: Sourced) -> int:
    """Run one of them; its exit code."""
    gc.disable()  # one pass over many values, none of which is garbage, and then the process ends
    try:
        return _run(arguments, source(arguments))
    except UsageError as error:
        print(f"towpath {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has seen enough
        return 0
    finally:
        gc.enable()


def _run(arguments: argparse.Namespace, source: Source) -> int:
    files = tuple(arguments.filename)
    if arguments.command == "import":
        from towpath.controller.calico import command as calico

        return calico.run(
            files,
            secret_namespace=source.secret_namespace,
            report=arguments.report,
            style=arguments.output,
            for_apply=arguments.for_apply,
        )
    if arguments.command == "policy":
        from towpath.controller.plan import policy

        return policy.run(
            policy.Request(
                files=files, source=source, node=arguments.node, routes=arguments.routes, style=arguments.output
            )
        )
    if arguments.command in {"get", "explain"}:
        from towpath.controller.plan import explain, get
        from towpath.controller.plan.request import Request

        asked = Request(
            what=arguments.what,
            files=files,
            source=source,
            node=arguments.node,
            style=arguments.output,
            here=arguments.socket if arguments.here else None,
        )
        return get.run(asked) if arguments.command == "get" else explain.run(asked)
    if arguments.command == "topology":
        from towpath.controller.plan.topology import command as drawing

        return drawing.run(drawing.Request(files=files, source=source, assign=arguments.assign, style=arguments.output))
    if arguments.command == "ipam":
        from towpath.controller.plan.ipam import check, repair
        from towpath.controller.plan.ipam import command as ipam

        if arguments.part == "repair":
            return repair.run(repair.Request(files=files, source=source, yes=arguments.yes, style=arguments.output))
        if arguments.part == "check":
            return check.run(
                check.Request(
                    files=files,
                    source=source,
                    style=arguments.output,
                    node=arguments.node,
                    node_dir=arguments.node_dir,
                    here=arguments.here,
                )
            )
        return ipam.run(ipam.Request(files=files, source=source, style=arguments.output))
    from towpath.controller.plan import command

    return command.run(
        command.Request(
            files=files,
            source=source,
            node=arguments.node,
            assign=arguments.assign,
            converged=arguments.converged,
            against=tuple(arguments.against),
            style=arguments.output,
            tor=arguments.tor,
            peers=tuple(arguments.peer),
        )
    )
