"""``./dev cluster``: a real Kubernetes cluster on this machine, without a pod network; it stays until ``down``."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from towpath.lab.addressing import BOTH, RACKS, TOR, TOR_AS
from towpath.lab.cluster import release
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.console import OURS
from towpath.lab.cluster.shape import Shape
from towpath.lab.golang import ToolError
from towpath.lab.process import WaitError
from towpath.lab.table import paint
from towpath.lab.tools import CONTAINERD, helm, kubectl
from towpath.model.net import Family

PREFIX = "cluster"
_FAMILIES = {"dual": BOTH, "ipv4": (Family.IPV4,), "ipv6": (Family.IPV6,)}


class ClusterError(Exception):
    """What was asked cannot be done; the message is for a person."""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="./dev cluster", description=__doc__)
    top.add_argument("--prefix", default=PREFIX, help="first part of the namespaces' names (default %(default)s)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring up a control plane, N nodes, a router and a client")
    up.add_argument("nodes", nargs="?", type=int, default=3, metavar="N", help="how many nodes (default 3)")
    up.add_argument("--rack-b", type=int, default=0, metavar="K", help="K of the nodes are behind the router")
    up.add_argument("--families", choices=sorted(_FAMILIES), default="dual", help="of nodes, pods and services")
    up.add_argument("--no-proxy", action="store_true", help="without kube-proxy")
    up.add_argument("--no-plugins", action="store_true", help="with an empty /opt/cni/bin on the nodes")
    up.add_argument("--pod-cidrs", action="store_true", help="the controller manager gives each node a pod range")
    up.add_argument("--containerd2", action="store_true", help=f"containerd {CONTAINERD}, built once, not Debian's")
    up.add_argument(
        "--image",
        type=Path,
        action="append",
        metavar="FILE",
        help="load this archive (default: towpath's, of this checkout)",
    )
    up.add_argument("--no-image", action="store_true", help="load no image of ours")
    commands.add_parser("down", help="take everything away")
    commands.add_parser("status", help="nodes, pods, programs and the router's sessions")
    commands.add_parser("kubeconfig", help="print the path of the kubeconfig")
    commands.add_parser("bin", help="print the path of a folder with kubectl, helm and the rest")
    commands.add_parser(
        "values", help="print the path of the chart's values for this cluster: pools, its routers as peers"
    )
    run = commands.add_parser("exec", help="run a command on a host: a node, tor, client, api")
    run.add_argument("host")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="CMD…")
    load = commands.add_parser("load", help="give every node a container image")
    load.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a docker-archive or an OCI archive")
    node = commands.add_parser("node", help="what happens to machines").add_subparsers(dest="deed", required=True)
    for deed, text in (
        ("add", "a new machine joins"),
        ("del", "the machine goes, then its Node object"),
        ("reboot", "a new kernel, /run empty, the same disk"),
        ("replace", "another machine under the same name"),
    ):
        node.add_parser(deed, help=text).add_argument("node")
    return top


def up(arguments: argparse.Namespace) -> None:
    """Bring a cluster up and say what to do with it."""
    if arguments.nodes < 1 or not 0 <= arguments.rack_b <= arguments.nodes:
        raise ClusterError("a cluster has at least one node, and no more nodes in rack b than there are")
    for path in arguments.image or ():
        if not path.is_file():
            raise ClusterError(f"there is no file {path}")
    shape = Shape(
        nodes=arguments.nodes,
        rack_b=arguments.rack_b,
        families=_FAMILIES[arguments.families],
        proxy=not arguments.no_proxy,
        plugins=not arguments.no_plugins,
        pod_cidrs=arguments.pod_cidrs,
        containerd=CONTAINERD if arguments.containerd2 else "",
    )
    images = arguments.image or ([] if arguments.no_image else [release.image(_say)])
    cluster = Cluster(arguments.prefix, shape)
    cluster.up(say=_say)
    for image in images:
        _say(f"the image {image.name} on every node")
        cluster.load_image(image.resolve())
    link_programs(cluster)
    write_values(cluster)
    print(f"\n{hints(cluster)}")


def link_programs(cluster: Cluster) -> Path:
    """A folder with everything that an operator uses."""
    folder = cluster.root / "bin"
    folder.mkdir(exist_ok=True)
    for path in (kubectl(), helm()):
        target = folder / path.name
        target.unlink(missing_ok=True)
        target.symlink_to(path)
    return folder


def write_values(cluster: Cluster) -> Path:
    """The chart's values by which towpath has pools of all the cluster's families and its routers as peers."""
    target = cluster.root / "values.yaml"
    made = release.values(cluster.shape, address=str(cluster.control.address))
    target.write_text(yaml.safe_dump(made, sort_keys=False))
    return target


def hints(cluster: Cluster) -> str:
    """What a person may try."""
    command = "./dev cluster" + ("" if cluster.prefix == PREFIX else f" --prefix {cluster.prefix}")
    peers = " and ".join(str(RACKS["a"].address(family, TOR)) for family in cluster.shape.families)
    values = f"-f $({command} values)"
    # what the chart installs by itself is one IPv4 pool, and kube-proxy leads its pods to the API server
    needs_none = cluster.shape.proxy and Family.IPV4 in cluster.shape.families
    return "\n".join(
        [
            f"{len(cluster.nodes)} nodes have registered. They are NotReady: nothing gives pods addresses yet.",
            "",
            f"  export KUBECONFIG=$({command} kubeconfig) PATH=$({command} bin):$PATH",
            "  kubectl get nodes -o wide",
            f"  helm install towpath charts/towpath -n {OURS} --create-namespace{'' if needs_none else f' {values}'}",
            "",
            f"The router of rack a takes sessions at {peers}, AS {TOR_AS}, from every node. To peer with it:",
            f"  helm upgrade towpath charts/towpath -n {OURS} {values}",
            f"  {command} exec tor birdc -s {cluster.tor.control} show protocols",
            f"  {command} exec client ping ADDRESS     from behind the router to a pod",
            f"  {command} exec node1 ip route          on a node",
            f"  {command} status                       what there is",
            f"  {command} down                         take everything away",
        ]
    )


def status(cluster: Cluster) -> str:
    """What a person wants to see first."""
    ended = [name for name, running in cluster.programs.running().items() if not running]
    parts = {
        "Nodes": cluster.kubectl("get", "nodes", "-o", "wide", check=False),
        "Pods": cluster.kubectl("get", "pods", "-A", "-o", "wide", check=False),
        "Router": cluster.tor.ask("show protocols"),
        "Programs that have ended": "\n".join(ended) or "none",
    }
    return "\n\n".join(f"{paint(name, 'bold')}\n{text.strip()}" for name, text in parts.items())


def opened(prefix: str) -> Cluster:
    """The cluster that is up."""
    try:
        return Cluster.open(prefix)
    except FileNotFoundError:
        raise ClusterError(f"there is no cluster {prefix}: ./dev cluster up makes one") from None


def execute(cluster: Cluster, host: str, words: Sequence[str]) -> None:
    """Become the command, on that host."""
    words = words or [os.environ.get("SHELL", "/bin/sh")]
    if host in cluster.nodes:
        command = cluster.machine(host).entering(words)
    elif host in {"tor", "client", "api"}:
        command = ["nsenter", f"--net=/run/netns/{cluster.host(host).netns}", *words]
    else:
        raise ClusterError(f"there is no host {host}; there are {', '.join((*cluster.nodes, 'tor', 'client', 'api'))}")
    sys.stdout.flush()
    os.execvp(command[0], command)


def change_node(cluster: Cluster, deed: str, name: str) -> None:
    """``node add`` and so on."""
    if (name in cluster.nodes) == (deed == "add"):
        raise ClusterError(
            f"there is {'a' if deed == 'add' else 'no'} node {name}; there are {', '.join(cluster.nodes)}"
        )
    match deed:
        case "add":
            cluster.add_node(name)
        case "del":
            cluster.delete_node(name)
        case "reboot":
            cluster.reboot(name)
        case _:
            cluster.replace_machine(name)


def run(arguments: argparse.Namespace) -> None:
    """Do what was asked."""
    match arguments.command:
        case "up":
            up(arguments)
        case "down":
            Cluster(arguments.prefix).down()
            print("Nothing is left.")
        case "status":
            print(status(opened(arguments.prefix)))
        case "kubeconfig":
            print(opened(arguments.prefix).kubeconfig)
        case "bin":
            print(link_programs(opened(arguments.prefix)))
        case "values":
            print(write_values(opened(arguments.prefix)))
        case "exec":
            execute(opened(arguments.prefix), arguments.host, arguments.words)
        case "load":
            cluster = opened(arguments.prefix)
            for path in arguments.files:
                if not path.is_file():
                    raise ClusterError(f"there is no file {path}")
                cluster.load_image(path.resolve())
        case _:
            change_node(opened(arguments.prefix), arguments.deed, arguments.node)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; a failure is one sentence."""
    arguments = parser().parse_args(argv)
    if os.geteuid() != 0:
        print("root is needed: namespaces are made and used", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job would not hear the first
        signal.signal(number, signal.default_int_handler)
    try:
        run(arguments)
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nstopped; nothing is left of what was begun", file=sys.stderr)
        return 130
    except (ClusterError, ToolError, WaitError, RuntimeError) as error:
        print("\n".join([str(error), *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
