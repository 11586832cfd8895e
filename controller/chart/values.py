"""What an operator may set in the chart: one definition, from which ``values.yaml``, its schema and its page are made.

A field is one annotated line: its type, default and description. Objects of our own kinds are given as their specs; what
they may hold comes from the definition of the kind. What Kubernetes itself checks (resources, affinity) is passed on.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from towpath.model.kinds.kind import json_name


def _said(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


def _spec_of(kind: str, text: str) -> Meta:
    """A field that holds the spec of one of our kinds, or, as a list, specs each with a name."""
    return Meta(description=text, extra_json_schema={"kind": kind})


Port = Annotated[int, Meta(ge=1, le=65535)]
HostPath = Annotated[str, Meta(pattern=r"^/[^:]+[^/:]$", max_length=255)]
"""An absolute path on the nodes, without a slash at its end."""
Passed = dict[str, Any]
"""An object that Kubernetes checks."""


def _passed(**keys: Any) -> Any:
    return field(default_factory=lambda: keys)


class _Values(Struct, frozen=True, rename=json_name, forbid_unknown_fields=True):
    """What all parts have in common: camelCase, nothing unknown."""


class Image(_Values, frozen=True):
    """Where the image comes from."""

    repository: Annotated[str, _said("Name of the image, with its registry.", min_length=1)] = "towpath.io/towpath"
    tag: Annotated[str, _said("Tag; the chart's appVersion unless set.", pattern=r"^[\w.-]{0,128}$")] = ""
    digest: Annotated[
        str, _said("Digest such as sha256:…; it wins over the tag.", pattern=r"^(sha256:[0-9a-f]{64})?$")
    ] = ""
    pull_policy: Annotated[
        Literal["IfNotPresent", "Always", "Never"],
        _said("When nodes pull it. Never for images that were loaded by hand."),
    ] = "IfNotPresent"


class PullSecret(_Values, frozen=True):
    """A Secret with the registry's credentials."""

    name: Annotated[str, Meta(min_length=1)]


class CRDs(_Values, frozen=True):
    """The definitions of our kinds."""

    manage: Annotated[
        bool,
        _said(
            "The controller applies the definitions of its own version when it starts, as Helm never upgrades them. "
            "With false it may not, and they are applied by hand: kubectl apply --server-side -f charts/towpath/crds."
        ),
    ] = True


class Budget(_Values, frozen=True):
    """The PodDisruptionBudget of the controller."""

    enabled: Annotated[bool, _said("Whether there is one.")] = True
    max_unavailable: Annotated[int, _said("Replicas that a drain may take away at once.", ge=1, le=9)] = 1


_WHILE_THE_NODE_IS_NOT_READY: tuple[Passed, ...] = (
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists"},
    {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"},
    {"key": "node.cloudprovider.kubernetes.io/uninitialized", "operator": "Exists"},
    {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
)


class Controller(_Values, frozen=True):
    """The Deployment that claims blocks."""

    replicas: Annotated[
        int,
        _said("Replicas; one of them leads, the others wait. One is enough on one node.", ge=1, le=9),
    ] = 2
    resources: Annotated[Passed, _said("Requests and limits of its container.")] = _passed(
        requests={"cpu": "20m", "memory": "96Mi"}
    )
    node_selector: Annotated[dict[str, str], _said("Labels that its nodes must have.")] = _passed()
    affinity: Annotated[
        Passed, _said("Affinity. Replicas are spread over nodes and zones where they can be, also without one.")
    ] = _passed()
    tolerations: Annotated[
        tuple[Passed, ...],
        _said(
            "Taints that it bears. It must run on nodes that have no network yet; from a node that vanished it moves "
            "on after a minute."
        ),
    ] = _WHILE_THE_NODE_IS_NOT_READY
    priority_class_name: Annotated[str, _said("Its priority.")] = "system-cluster-critical"
    pod_annotations: Annotated[dict[str, str], _said("Annotations of its pods.")] = _passed()
    disruption_budget: Annotated[Budget, _said("How many replicas a drain may take away.")] = Budget()


class Agent(_Values, frozen=True):
    """The container that programs a node."""

    resources: Annotated[Passed, _said("Requests and limits of this container.")] = _passed(
        requests={"cpu": "50m", "memory": "96Mi"}
    )
    health_port: Annotated[Port, _said("Port on the node's loopback for probes; nothing else may listen there.")] = 9179


class Speaker(_Values, frozen=True):
    """The container that speaks BGP."""

    resources: Annotated[
        Passed,
        _said("Requests and limits of this container. A limit on memory has to allow for the peers' whole tables."),
    ] = _passed(requests={"cpu": "50m", "memory": "64Mi"})
    health_port: Annotated[Port, _said("Port on the node's loopback for probes; nothing else may listen there.")] = 9178


class Node(_Values, frozen=True):
    """The DaemonSet that runs agent and speaker."""

    node_selector: Annotated[
        dict[str, str],
        _said("Labels of the nodes that run it, besides kubernetes.io/os: linux."),
    ] = _passed()
    tolerations: Annotated[tuple[Passed, ...], _said("Taints that it bears: all of them.")] = ({"operator": "Exists"},)
    priority_class_name: Annotated[str, _said("Its priority.")] = "system-node-critical"
    max_unavailable: Annotated[
        int | str,
        Meta(
            description="Nodes whose pod is replaced at the same time: a number, or a part of all. Routes stay meanwhile.",
            extra_json_schema={"is": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[1-9][0-9]*%?$"}},
        ),
    ] = "10%"
    update_strategy: Annotated[
        Literal["RollingUpdate", "OnDelete"],
        _said(
            "How a new version comes to the nodes: to one after the other, or to each when somebody deletes its pod."
        ),
    ] = "RollingUpdate"
    termination_grace_period_seconds: Annotated[
        int,
        _said("Time that agent and speaker have to end; both do in less than a second.", ge=1, le=600),
    ] = 10
    pod_annotations: Annotated[dict[str, str], _said("Annotations of its pods.")] = _passed()
    agent: Annotated[Agent, _said("The container agent: routes, CNI configuration, status.")] = Agent()
    speaker: Annotated[Speaker, _said("The container speaker: BGP.")] = Speaker()


class Unnumbered(_Values, frozen=True):
    """Sessions over interfaces without addresses."""

    enabled: Annotated[
        bool,
        _said(
            "Gives the agent NET_RAW, with which it looks for routers at the ends of interfaces and tells them of itself. "
            "Needed by bgpConfiguration.unnumbered.enabled. Off: NET_ADMIN is all it has."
        ),
    ] = False


class Metrics(_Values, frozen=True):
    """Metrics for Prometheus."""

    enabled: Annotated[
        bool,
        _said(
            "Agent and controller serve /metrics, on all addresses of their nodes and without a password; their pods say so "
            "with prometheus.io annotations. Off: nothing listens."
        ),
    ] = False
    node_port: Annotated[Port, _said("Port of the agent on every node.")] = 9181
    controller_port: Annotated[
        Port, _said("Port of the controller; where two replicas run on one node the second has no metrics.")
    ] = 9182


class HostChecks(_Values, frozen=True):
    """What is looked at on the hosts beyond what the kernel tells."""

    enabled: Annotated[
        bool,
        _said(
            "Mounts /etc/systemd, /run/systemd and /run/NetworkManager read-only (made where they are missing), to read what"
            " both are told to manage. Off: neither is looked for."
        ),
    ] = False


class Cleanup(_Values, frozen=True):
    """Taking everything of ours off the nodes."""

    enabled: Annotated[
        bool,
        _said(
            "Replaces agent and speaker on every node by towpath cleanup, which takes off routes, CNI configuration "
            "and files. Its pods are ready when that is done: then uninstall. Pods lose their network."
        ),
    ] = False


class Test(_Values, frozen=True):
    """What helm test does."""

    port: Annotated[Port, _said("TCP port in the test's pods.")] = 9180
    timeout_seconds: Annotated[int, _said("How long it tries before it fails.", ge=10, le=3600)] = 120
    peers: Annotated[
        bool,
        _said(
            "Whether pods have to reach the addresses of the BGP peers, by ICMP or TCP; off for routers that answer "
            "neither. That their sessions are established is checked always."
        ),
    ] = True


class Values(_Values, frozen=True):
    """All values, in the order in which an operator meets them."""

    pools: Annotated[
        tuple[Passed, ...],
        _spec_of(
            "IPPool",
            "Ranges of pod addresses, one IPPool each: the fields of its spec, and a name (default-ipv4 or "
            "default-ipv6 unless set). One of each family makes the cluster dual-stack. They must not overlap the "
            "nodes' addresses or the service range. A pool's cidr and blockSize cannot be changed later. "
            "Empty: pools are made by hand.",
        ),
    ] = ({"cidr": "10.244.0.0/16"},)
    bgp_configuration: Annotated[
        Passed,
        _spec_of(
            "BGPConfiguration", "Spec of the BGPConfiguration named default; empty: it is not made, the defaults hold."
        ),
    ] = _passed()
    bgp_peers: Annotated[
        tuple[Passed, ...],
        _spec_of("BGPPeer", "Routers to peer with, one BGPPeer each: a name and the fields of its spec."),
    ] = ()
    ipam_configuration: Annotated[
        Passed,
        _spec_of(
            "IPAMConfiguration",
            "Spec of the IPAMConfiguration named default; empty: it is not made, the defaults hold.",
        ),
    ] = _passed()
    keep_objects: Annotated[
        bool, _said("The objects above stay when the release is uninstalled, and an installation finds them again.")
    ] = True
    crds: Annotated[CRDs, _said("The definitions of towpath's kinds. They stay when the release is uninstalled.")] = (
        CRDs()
    )
    image: Annotated[Image, _said("The image of all processes.")] = Image()
    image_pull_secrets: Annotated[
        tuple[PullSecret, ...], _said("Secrets of this namespace with the registry's credentials, each {name: …}.")
    ] = ()
    kubernetes_service_host: Annotated[
        str,
        _said(
            "Name or address at which all nodes reach the API server. Needed only where the service address does not "
            "work before towpath runs: without kube-proxy.",
            pattern=r"^[A-Za-z0-9.:-]*$",
        ),
    ] = ""
    kubernetes_service_port: Annotated[Port, _said("Port of the API server there.")] = 6443
    cni_conf_dir: Annotated[HostPath, _said("Folder of CNI configurations that the container runtime reads.")] = (
        "/etc/cni/net.d"
    )
    cni_networks_dir: Annotated[
        HostPath,
        _said(
            "Folder of configurations of networks beside pods' own: where Multus looks for them by name (its confDir)."
        ),
    ] = "/etc/cni/multus/net.d"
    cni_bin_dir: Annotated[HostPath, _said("Folder of the CNI plugins that the container runtime runs.")] = (
        "/opt/cni/bin"
    )
    install_cni_plugins: Annotated[
        bool,
        _said(
            "Plugins that a node lacks in cniBinDir are put there from the image; what it has is never replaced. With "
            "false the folder is only looked at."
        ),
    ] = True
    log_format: Annotated[
        Literal["json", "console"], _said("How processes log. How much is said by BGPConfiguration logSeverityScreen.")
    ] = "json"
    unnumbered: Annotated[Unnumbered, _said("BGP over interfaces without addresses.")] = Unnumbered()
    host_checks: Annotated[
        HostChecks,
        _said("Looking for systemd-networkd and NetworkManager, which may remove what is not their own from a node."),
    ] = HostChecks()
    metrics: Annotated[Metrics, _said("What Prometheus can ask for.")] = Metrics()
    controller: Annotated[
        Controller, _said("The Deployment towpath-controller: gives blocks of addresses to nodes.")
    ] = Controller()
    node: Annotated[Node, _said("The DaemonSet towpath-node: routes and BGP on every node.")] = Node()
    cleanup: Annotated[Cleanup, _said("Taking towpath off all nodes before it is uninstalled.")] = Cleanup()
    test: Annotated[Test, _said("What helm test checks.")] = Test()
