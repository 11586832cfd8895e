"""The command ``towpath``: one word chooses the process, flags or ``TOWPATH_*`` say where things are.

Exit codes: 0 good, 1 it cannot run here (a sentence says why), 2 usage; ``offline`` has more. Only what the chosen process needs is
imported: the speaker starts without HTTP and TLS, the agent without ExaBGP.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from towpath.controller import offline
from towpath.controller.settings import (
    NETWORKS_DIR,
    RUN_DIR,
    SECRET_NAMESPACE,
    STATE_DIR,
    AgentSettings,
    CannotRunError,
    ControllerSettings,
    Logs,
    Source,
)


class _Parser(argparse.ArgumentParser):
    """A parser whose options default to ``TOWPATH_*`` of an environment."""

    environment: Mapping[str, str] = os.environ

    def option(self, flag: str, *, kind: Callable[[str], Any] = str, default: Any = None, help: str) -> None:  # noqa: A002  # argparse's word
        variable = "TOWPATH_" + flag.lstrip("-").replace("-", "_").upper()
        text = self.environment.get(variable)
        given: Any = default
        if text is not None:
            try:
                given = kind(text)
            except ValueError:
                self.error(f"{variable}={text!r} is not valid for {flag}")
        shown = f" (default {given})" if given is not None else ""
        self.add_argument(
            flag, type=kind, default=given, help=f"{help}{shown}; {variable}", metavar=kind.__name__.upper()
        )


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The whole command line."""

    class Parser(_Parser):
        pass

    Parser.environment = environment
    top = Parser(prog="towpath", description="A BGP routing controller for Kubernetes.")
    commands = top.add_subparsers(dest="command", required=True, parser_class=Parser, metavar="COMMAND")

    controller = commands.add_parser("controller", help="claim blocks for nodes, keep RoutingNodes (Deployment)")
    _source(controller)
    _logs(controller)
    controller.option("--identity", default=socket.gethostname(), help="name of this replica in the Lease")
    controller.option("--namespace", default=SECRET_NAMESPACE, help="namespace of the Lease")
    controller.option("--health-port", kind=int, help="serve /healthz and /readyz on this port of localhost")
    controller.option(
        "--manage-crds", kind=true_or_false, default=True, help="create CRDs, and make older ones newer, at start"
    )
    controller.option(
        "--leaving",
        kind=true_or_false,
        default=False,
        help="before towpath is uninstalled: let go of all pools; ready when that is done",
    )
    controller.option("--health-socket", kind=Path, help="serve them on this Unix socket")
    controller.option("--metrics-port", kind=int, help="serve /metrics on this port of all addresses")

    agent = commands.add_parser("agent", help="program this node and drive its speaker (DaemonSet)")
    _source(agent)
    agent.add_argument(
        "--from",
        dest="folder",
        type=Path,
        default=_path(environment.get("TOWPATH_FROM")),
        metavar="DIR",
        help="run from a folder of manifests in place of an API server; TOWPATH_FROM",
    )
    _logs(agent)
    _machine(agent)
    agent.option("--node", default=socket.gethostname(), help="name of this node's objects")
    agent.option("--socket", kind=Path, help="socket to the speaker (default RUN_DIR/speaker.sock)")
    agent.option("--health-port", kind=int, help="serve /healthz and /readyz on this port of localhost")
    agent.option("--metrics-port", kind=int, help="serve /metrics on this port of all addresses")

    speaker = commands.add_parser("speaker", help="speak BGP for the agent on this node (same pod)")
    _logs(speaker)
    speaker.option("--run-dir", kind=Path, default=RUN_DIR, help="folder on tmpfs for what lives until the next boot")
    speaker.option("--socket", kind=Path, help="socket to the agent (default RUN_DIR/speaker.sock)")
    speaker.option("--health-port", kind=int, help="serve /healthz and /readyz on this port of localhost")

    cleanup = commands.add_parser("cleanup", help="take everything of ours off this node")
    _logs(cleanup)
    _machine(cleanup)
    cleanup.option(
        "--health-port", kind=int, help="when it is done, stay and serve /readyz on this port of localhost until ended"
    )

    health = commands.add_parser("health", help="ask a process for its health (for probes)")
    health.add_argument("path", choices=("/healthz", "/readyz"), metavar="PATH", help="/healthz or /readyz")
    health.option("--health-socket", kind=Path, help="Unix socket that the process serves")

    connectivity = commands.add_parser(
        "connectivity", help="check that all nodes, pods and peers are reached (helm test)"
    )
    connectivity.add_argument("part", choices=("serve", "check"), help="in a pod on each node, or once beside them")
    _source(connectivity)
    _logs(connectivity)
    connectivity.option("--node", default=socket.gethostname(), help="serve: the node that this pod runs on")
    connectivity.option("--port", kind=int, default=9180, help="TCP port in the pods")
    connectivity.option("--namespace", default=SECRET_NAMESPACE, help="check: namespace of the pods")
    connectivity.option("--selector", default="app.kubernetes.io/component=test-path", help="check: label of the pods")
    connectivity.option("--timeout", kind=int, default=120, help="check: seconds until it gives up")
    connectivity.option(
        "--peers", kind=true_or_false, default=True, help="check: true or false: pods have to reach BGP peers"
    )

    offline.add(commands)

    commands.add_parser("version", help="print the version")
    return top


def _source(command: Any) -> None:
    command.option("--kubeconfig", kind=Path, help="kubeconfig of the API server; without it the pod's account counts")
    command.option("--server", help="URL of an API server that needs no credentials")
    command.option("--secret-namespace", default=SECRET_NAMESPACE, help="namespace of the Secrets with passwords")


def _logs(command: Any) -> None:
    command.option("--log-format", default="console", help="console or json")


def _machine(command: Any) -> None:
    command.option("--run-dir", kind=Path, default=RUN_DIR, help="folder on tmpfs for what lives until the next boot")
    command.option(
        "--state-dir", kind=Path, default=STATE_DIR, help="folder on disk for the last picture of the cluster"
    )
    command.option(
        "--cni-conf-dir", kind=Path, help="folder of CNI configurations, such as /etc/cni/net.d; none: no CNI"
    )
    command.option(
        "--cni-networks-dir",
        kind=Path,
        default=NETWORKS_DIR,
        help="folder of configurations of networks beside that of all pods, where Multus looks for them",
    )
    command.option("--cni-bin-dir", kind=Path, default=Path("/opt/cni/bin"), help="folder of the CNI plugins")
    command.option(
        "--cni-plugin-source",
        kind=Path,
        help="folder of static CNI plugins to put into --cni-bin-dir where it lacks them; none: it is left as it is",
    )
    command.option("--proc-sys", kind=Path, default=Path("/proc/sys"), help="where sysctls are written")
    command.option(
        "--host-root",
        kind=Path,
        default=Path("/"),
        help="where etc/systemd, run/systemd/netif and run/NetworkManager are",
    )


def true_or_false(text: str) -> bool:
    """A switch, as it stands in an environment."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def agent_settings(arguments: argparse.Namespace) -> AgentSettings:
    """Settings of ``agent`` and ``cleanup``."""
    run_dir = arguments.run_dir.absolute()  # the CNI configuration is a link to it, read from another folder
    return AgentSettings(
        node=getattr(arguments, "node", ""),
        source=_source_settings(arguments),
        socket=getattr(arguments, "socket", None) or run_dir / "speaker.sock",
        run_dir=run_dir,
        state_dir=arguments.state_dir,
        cni_conf_dir=arguments.cni_conf_dir,
        cni_networks_dir=arguments.cni_networks_dir,
        cni_bin_dir=arguments.cni_bin_dir,
        cni_plugin_source=arguments.cni_plugin_source,
        proc_sys=arguments.proc_sys,
        host_root=arguments.host_root,
        health_port=getattr(arguments, "health_port", None),
        metrics_port=getattr(arguments, "metrics_port", None),
    )


def _source_settings(arguments: argparse.Namespace) -> Source:
    folder = getattr(arguments, "folder", None)
    chosen = [
        flag
        for flag, value in (
            ("--from", folder),
            ("--server", getattr(arguments, "server", None)),
            ("--kubeconfig", getattr(arguments, "kubeconfig", None)),
        )
        if value
    ]
    if len(chosen) > 1:
        raise CannotRunError(f"{' and '.join(chosen)} exclude each other")
    return Source(
        folder=folder,
        server=getattr(arguments, "server", None),
        kubeconfig=getattr(arguments, "kubeconfig", None),
        secret_namespace=getattr(arguments, "secret_namespace", SECRET_NAMESPACE),
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen process until it ends."""
    if arguments.command == "version":
        from importlib.metadata import version

        print(version("towpath"))
        return 0
    if arguments.command == "health":
        return _ask_health(arguments)
    if arguments.command in offline.COMMANDS:
        return offline.run(arguments, source=_source_settings)
    with _importing():
        from towpath.controller.logging import configure, set_level
    if arguments.log_format not in {"console", "json"}:
        raise CannotRunError(f"--log-format {arguments.log_format}: console or json")
    logs = Logs(process=arguments.command, style=arguments.log_format)
    configure(process=logs.process, style=logs.style)
    if arguments.command == "agent":
        with _importing():
            from towpath.controller import agent

        return agent.main(agent_settings(arguments))
    if arguments.command == "cleanup":
        from towpath.controller.node import cleanup

        return cleanup.main(agent_settings(arguments))
    if arguments.command == "speaker":
        with _importing():
            from towpath.bgp import speaker

        path = arguments.socket or arguments.run_dir / "speaker.sock"
        path.parent.mkdir(parents=True, exist_ok=True)
        asyncio.run(_speak(speaker.run(path, severity=set_level), health_port=arguments.health_port))
        return 0
    if arguments.command == "connectivity":
        return _connectivity(arguments)
    with _importing():
        from towpath.controller import replica

    settings = ControllerSettings(
        source=_source_settings(arguments),
        identity=arguments.identity,
        namespace=arguments.namespace,
        health_port=arguments.health_port,
        manage_crds=arguments.manage_crds,
        leaving=arguments.leaving,
        health_socket=arguments.health_socket,
        metrics_port=arguments.metrics_port,
    )
    return replica.main(settings)


async def _speak(speaking: Coroutine[Any, Any, None], *, health_port: int | None) -> None:
    """The speaker, with its health beside it: a loop that does not turn any more does not answer."""
    if health_port is not None:
        from towpath.controller.health import Health

        await Health(dead=lambda: None, unready=lambda: None).serve(health_port)
    await speaking


def _connectivity(arguments: argparse.Namespace) -> int:
    from towpath.controller.connectivity import check

    if arguments.part == "serve":
        check.serve(arguments.node, port=arguments.port)
        return 0
    return check.check(
        check.CheckSettings(
            source=_source_settings(arguments),
            namespace=arguments.namespace,
            selector=arguments.selector,
            port=arguments.port,
            timeout=arguments.timeout,
            peers=arguments.peers,
        )
    )


def _ask_health(arguments: argparse.Namespace) -> int:
    from towpath.controller.health import ask

    if arguments.health_socket is None:
        raise CannotRunError("--health-socket says which process is asked")
    well, said = asyncio.run(ask(arguments.health_socket, arguments.path, within=5))
    print(said)
    return 0 if well else 1


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """A start is mostly imports: what they make is never looked through for garbage, and rich is left where it is.

    structlog takes rich wherever it is installed, for tracebacks with the values of local variables, passwords among them.
    """
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]  # documented: its import fails then
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        if hidden:
            del sys.modules["rich"]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the script ``towpath``."""
    arguments = parser(os.environ).parse_args(argv)
    try:
        return run(arguments)
    except CannotRunError as error:
        print(f"towpath {arguments.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
