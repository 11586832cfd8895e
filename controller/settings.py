"""Settings of a process: from its command line, or from ``TOWPATH_*`` in its environment; never a secret.

Settings say where things are on this machine. What the network should look like is said by objects only.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct

RUN_DIR = Path("/run/towpath")
STATE_DIR = Path("/var/lib/towpath")
NETWORKS_DIR = Path("/etc/cni/multus/net.d")
"""The default of Multus (its ``confDir``)."""
SECRET_NAMESPACE = "towpath-system"  # noqa: S105  # the name of a namespace


class CannotRunError(Exception):
    """Something on this machine or in the settings keeps the process from running; the message is for a person."""


class UsageError(Exception):
    """The command line asks for something that there is not; the message is for a person."""


class Logs(Struct, frozen=True):
    """How a process logs."""

    process: str
    style: Literal["console", "json"] = "console"


class Source(Struct, frozen=True):
    """Where objects come from: a folder of manifests, a server by URL, a kubeconfig, or else the pod's own account."""

    folder: Path | None = None
    server: str | None = None
    kubeconfig: Path | None = None
    secret_namespace: str = SECRET_NAMESPACE


class AgentSettings(Struct, frozen=True):
    """One agent. Several run on one machine if they are in namespaces and their folders differ."""

    node: str
    source: Source
    socket: Path
    run_dir: Path
    state_dir: Path
    cni_conf_dir: Path | None
    """None: no CNI configuration is written."""
    cni_networks_dir: Path
    """For configurations of networks beside that of all pods: where Multus looks for them by name."""
    cni_bin_dir: Path
    cni_plugin_source: Path | None
    """Static plugins to put into ``cni_bin_dir`` where it lacks them; None: the host has its own."""
    proc_sys: Path
    host_root: Path
    """Below it lie those folders of the host that are only looked at: ``etc/systemd``, ``run/systemd/netif`` and the like."""
    health_port: int | None = None
    """Port on localhost for ``/healthz`` and ``/readyz``; None: neither is served."""
    metrics_port: int | None = None
    """Port on all addresses for ``/metrics``; None: it is not served."""

    @property
    def snapshot(self) -> Path:
        """The last complete picture of the cluster."""
        return self.state_dir / "snapshot"

    @property
    def secrets(self) -> Path:
        """The passwords that this node holds, on tmpfs only."""
        return self.run_dir / "secrets"

    @property
    def plugins(self) -> Path:
        """Which CNI plugins of the host are ours."""
        return self.state_dir / "cni-plugins"

    @property
    def hostports(self) -> Path:
        """The chains of nftables that were there before our network."""
        return self.run_dir / "hostports"

    @property
    def sysctls(self) -> Path:
        """The sysctls that were changed, as they were before."""
        return self.run_dir / "sysctls"


class ControllerSettings(Struct, frozen=True):
    """One replica of the controller."""

    source: Source
    identity: str
    namespace: str
    health_port: int | None = None
    manage_crds: bool = True
    """Create the CustomResourceDefinitions, and make older ones newer, at start."""
    metrics_port: int | None = None
    """Port on all addresses for ``/metrics``; None: it is not served."""
    leaving: bool = False
    """towpath is being taken off the cluster: no pool is kept from going, and this is ready when none is."""
    health_socket: Path | None = None
    """Where ``/healthz`` and ``/readyz`` are served besides: two replicas may share one host's ports."""
