"""A whole cluster on one machine: nodes on a switch, a top-of-rack router, a client behind it, an API server apart.

Everything that a lab has is found again from its prefix: namespaces by name, files under ``/dev/shm/towpath-lab/PREFIX``,
running programs from ``lab.json`` there. So one process can bring it up, another use it and a third take it down.

    client -- tor -- switch a -- node1, node2, ...        (rack b hangs on a port of its own of the ToR: its nodes
               |                                           and those of rack a are not on one link)
               +--- switch b -- ...
    api, ctl1, ctl2 -- switch mgmt -- every node
"""

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from towpath.lab import objects, pods
from towpath.lab.addressing import (
    API,
    API_PORT,
    CLIENT,
    CLIENT_HOST,
    CLUSTER_AS,
    CONTROLLERS,
    MANAGEMENT,
    RACKS,
    TOR,
    TOR_AS,
    Segment,
    node_number,
)
from towpath.lab.api import LabApi
from towpath.lab.bird import Bird, Neighbour, configuration
from towpath.lab.kubernetes import Place, install_crds
from towpath.lab.netns import Host, Machine, Network
from towpath.lab.netns import remove as remove_namespaces
from towpath.lab.pods import Pod
from towpath.lab.process import Process, wait_for
from towpath.lab.programs import Programs
from towpath.lab.shape import PARTS, ROOT, NodePlace, Shape, State
from towpath.model.net import Address, Family


class Lab:
    """One lab. ``up`` makes it, ``Lab.open`` finds one that is up; as a context manager it is gone afterwards."""

    def __init__(self, prefix: str, shape: Shape | None = None) -> None:
        self.network = Network(prefix)
        self.root = ROOT / prefix
        self.state = State(shape or Shape())
        self.machines: dict[str, Machine] = {}
        """Of nodes that are in another kernel, from when they are plugged in or powered on next; this process alone knows."""
        address = str(MANAGEMENT.address(Family.IPV4, API))
        if self.shape.api == "kubernetes":
            self._place = Place(self.root / "kubernetes", address, audited=True)
            credentials = (self._place.authority.certificate, self._place.token)
            self.api = LabApi(self.host("api"), address=address, port=self._place.secure, credentials=credentials)
            self.programs = Programs(
                self.network,
                self.root,
                servers={"api/etcd": self._place.etcd_command(), "api": self._place.apiserver_command()},
                source=("--kubeconfig", str(self._place.kubeconfig)),
            )
        else:
            listen = f"{address}:{API_PORT}"
            data = str(self.root / "api.sqlite")
            command = (sys.executable, "-m", "towpath.lab.apiserver", "--listen", listen, "--data", data)
            self.api = LabApi(self.host("api"), address=address, port=API_PORT)
            self.programs = Programs(
                self.network,
                self.root,
                servers={"api": (*command, *(() if self.shape.checked else ("--unchecked",)))},
                source=("--server", f"http://{listen}"),
            )

    @classmethod
    def open(cls, prefix: str) -> "Lab":
        """The lab that another process brought up; ``FileNotFoundError`` if there is none."""
        state = msgspec.json.decode((ROOT / prefix / "lab.json").read_bytes(), type=State)
        lab = cls(prefix, state.shape)
        lab.state = state
        lab.programs.adopt(lab.state.processes)
        return lab

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # -- what there is ----------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        """What was asked for."""
        return self.state.shape

    @property
    def families(self) -> tuple[Family, ...]:
        """The address families of the pods and nodes."""
        return self.shape.families

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes that are there."""
        return tuple(self.state.nodes)

    def host(self, name: str) -> Host:
        """A namespace of the lab: a node, a pod, ``tor``, ``client``, ``api``, ``ctl1``, ``switch-a``."""
        return self.network.known(name)

    def node_directory(self, node: str, kind: Literal["run", "state", "cni"]) -> Path:
        """A folder of a node; ``run`` is what a reboot empties."""
        return self.root / node / kind

    def audit(self) -> list[dict[str, Any]]:
        """Every write that the real API server has answered, in the order of the answers (audit.k8s.io/v1 ``Event``)."""
        lines = self._place.audit.read_bytes().splitlines()
        return [msgspec.json.decode(line) for line in lines]

    @property
    def tor(self) -> Bird:
        """The router's BIRD."""
        return self.programs.bird()

    @property
    def pods(self) -> dict[str, Pod]:
        """The pods by name."""
        return self.state.pods

    def node_addresses(self, node: str) -> tuple[Address, ...]:
        """The addresses of a node, in the lab's families."""
        place = self.state.nodes[node]
        return tuple(RACKS[place.rack].address(family, node_number(place.index)) for family in self.families)

    def client_addresses(self) -> tuple[Address, ...]:
        """The addresses of the host behind the router."""
        return tuple(CLIENT.address(family, CLIENT_HOST) for family in self.families)

    # -- up and down ------------------------------------------------------------------------------------------------

    def up(self, *, say: Callable[[str], None] = lambda _text: None) -> Self:
        """Make everything and start everything; what a lab with this prefix left behind goes first."""
        self._sweep()
        self.root.mkdir(parents=True)
        (self.root / "tor").mkdir()
        self.save()
        say("switches, the router and the client")
        self._make_network()
        if self.shape.mode == "api":
            say("the API server")
            self._make_management()
            self._start_api()
            for body in objects.cluster(self.shape):
                self.api.apply(body)
            for number in range(1, self.shape.controllers + 1):
                self.start(f"ctl{number}")
        for index in range(1, self.shape.nodes + 1):
            name = f"node{index}"
            say(name)
            self.add_node(name, rack="b" if index > self.shape.nodes - self.shape.rack_b else "a")
        return self

    def _start_api(self) -> None:
        if self.shape.api == "kubernetes":
            self._place.prepare()
        self.start(*self.programs.servers)
        wait_for(self.api.ready, deadline=60, what="the API server answers", interval=0.1)
        if self.shape.api == "kubernetes":
            install_crds(self.api.request)

    def down(self) -> None:
        """Take everything away; it does not matter how much of it is there."""
        self.programs.stop_all()
        self._sweep()
        self.state = State(self.shape)

    def _sweep(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            left = msgspec.json.decode((self.root / "lab.json").read_bytes(), type=State)
            for name, identity in left.processes.items():
                Process([name], log=self.root / "none").adopt(identity).kill()
        self.network.close()
        remove_namespaces(self.network.prefix)
        shutil.rmtree(self.root, ignore_errors=True)
        with contextlib.suppress(OSError):  # others' labs may be in it
            ROOT.rmdir()

    def save(self) -> None:
        """Write ``lab.json``, so that others find what there is."""
        self.state.processes = self.programs.identities()
        new = self.root / "lab.json.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self.state)))
        new.rename(self.root / "lab.json")

    def _make_network(self) -> None:
        tor = self.network.host("tor")
        for name, segment in RACKS.items():
            switch = self.network.switch(f"switch-{name}")
            device = f"rack-{name}"
            self.network.link(tor, device, switch, "to-tor")
            switch.ip("link", "set", "dev", "to-tor", "master", "bridge0")
            self._address(tor, segment, TOR, device=device)
        client = self.network.host("client", forwarding=False)
        self.network.link(tor, "client", client, "eth0")
        self._address(tor, CLIENT, TOR, device="client")
        self._address(client, CLIENT, CLIENT_HOST, device="eth0")
        self._default_route(client, CLIENT)
        self.tor.start(self.tor_configuration())
        self.save()

    def _make_management(self) -> None:
        self.network.switch("mgmt")
        names = ("api", *(f"ctl{number}" for number in range(1, self.shape.controllers + 1)))
        for name, number in zip(names, (API, *CONTROLLERS), strict=False):
            host = self.network.host(name, forwarding=False)
            self.network.plug(self.host("mgmt"), host)
            host.address(str(MANAGEMENT.interface(Family.IPV4, number)), dev="eth0")

    def _address(self, host: Host, segment: Segment, number: int, *, device: str) -> None:
        host.address(*(str(segment.interface(family, number)) for family in self.families), dev=device)

    def _default_route(self, host: Host, segment: Segment) -> None:
        for family in self.families:
            host.ip(f"-{family.value}", "route", "replace", "default", "via", str(segment.address(family, TOR)))

    def tor_configuration(self) -> str:
        """What the router's BIRD is told: a session with every node, in each family."""
        neighbours = [
            Neighbour(
                name=f"{place.name.replace('-', '_')}_v{family.value}",
                address=RACKS[place.rack].address(family, node_number(place.index)),
                local=RACKS[place.rack].address(family, TOR),
                remote_as=int(self.shape.configuration.get("asNumber", CLUSTER_AS)),
            )
            for place in self.state.nodes.values()
            for family in self.families
        ]
        return configuration(neighbours, local_as=TOR_AS, router_id="192.0.2.1", log=self.root / "tor" / "bird.log")

    @property
    def program_names(self) -> tuple[str, ...]:
        """All programs that belong to the lab, running or not."""
        if self.shape.mode == "none":
            return ("tor",)
        controllers = (f"ctl{number}" for number in range(1, self.shape.controllers + 1))
        return (
            *self.programs.servers,
            "tor",
            *controllers,
            *(f"{node}/{part}" for node in self.nodes for part in PARTS),
        )

    # -- programs: names are api, ctl1, tor, node1/agent, node1/speaker ------------------------------------------------

    def start(self, *names: str) -> None:
        """Start programs; running ones stay."""
        for name in names:
            self.programs.start(name)
        self.save()

    def stop(self, *names: str) -> None:
        """SIGTERM, and wait: to our processes that means a restart."""
        self.programs.stop(*names)
        self.save()

    def kill(self, *names: str) -> None:
        """SIGKILL, all of them before any is waited for."""
        self.programs.kill(*names)
        self.save()

    # -- nodes ------------------------------------------------------------------------------------------------------

    def add_node(self, name: str, *, rack: str = "a") -> None:
        """A new node: its namespace, its Node object, its two processes. Returns before it is ready."""
        self.plug_in(name, rack=rack)
        if self.shape.mode == "api":
            self.register(name)
        self.save()

    def plug_in(self, name: str, *, rack: str = "a") -> None:
        """A new machine, on which nothing runs, and of which nobody knows but the router."""
        index = 1 + max((place.index for place in self.state.nodes.values()), default=0)
        self.state.nodes[name] = NodePlace(name, index, rack)
        self._make_node(name)
        self.tor.configure(self.tor_configuration())

    def register(self, name: str) -> None:
        """Its Node object, then its two processes."""
        self.api.apply(objects.node(name, self.node_addresses(name), rack=self.state.nodes[name].rack))
        self.start(f"{name}/speaker", f"{name}/agent")

    def _make_node(self, name: str) -> None:
        place = self.state.nodes[name]
        number = node_number(place.index)
        host = self.network.host(name, machine=self.machines.get(name))
        self.network.plug(self.host(f"switch-{place.rack}"), host)
        host.mac(f"02:00:00:00:00:{number:02x}", dev="eth0")  # as before a reboot: neighbours talk to it for a while
        self._address(host, RACKS[place.rack], number, device="eth0")
        self._default_route(host, RACKS[place.rack])
        if self.shape.mode == "api":
            self.network.plug(self.host("mgmt"), host, "mgmt0")
            host.mac(f"02:00:00:00:01:{number:02x}", dev="mgmt0")
            host.address(str(MANAGEMENT.interface(Family.IPV4, number)), dev="mgmt0")
        for kind in ("run", "state", "cni"):
            self.node_directory(name, kind).mkdir(parents=True, exist_ok=True)

    def configure_underlay(self, name: str) -> None:
        """Give a node its own addresses and default route again, as its distribution does after a link was down."""
        rack = RACKS[self.state.nodes[name].rack]
        for family in self.families:
            address = rack.interface(family, node_number(self.state.nodes[name].index))
            self.host(name).ip("addr", "replace", str(address), "dev", "eth0", *(("nodad",) if family == 6 else ()))
        self._default_route(self.host(name), rack)

    def delete_node_object(self, name: str) -> None:
        """Only the Node object goes, as when a cluster's administrator deletes it."""
        self.api.delete("Node", name)

    def delete_node(self, name: str) -> None:
        """The Node object and the machine."""
        self.delete_node_object(name)
        self.remove_node(name)

    def remove_node(self, name: str) -> None:
        """The machine goes too, with its pods; its object is not touched."""
        for pod in [pod for pod in self.state.pods.values() if pod.node == name]:
            self._forget_pod(pod.name)
        self.programs.forget(*(f"{name}/{part}" for part in PARTS))
        self.network.remove_host(name)
        shutil.rmtree(self.root / name)
        self.state.nodes.pop(name)
        self.tor.configure(self.tor_configuration())
        self.save()

    def power_off(self, name: str) -> None:
        """The machine is gone without a word: no FIN, no route, no process; ``power_on`` boots it again."""
        for pod in [pod for pod in self.state.pods.values() if pod.node == name]:
            self._forget_pod(pod.name)
        # the cable first, so that the kernel cannot say goodbye for the processes
        for device in ("eth0", *(("mgmt0",) if self.shape.mode == "api" else ())):
            self.host(name).ip("link", "set", "dev", device, "down")
        self.programs.forget(*(f"{name}/{part}" for part in PARTS))
        self.network.remove_host(name)

    def power_on(self, name: str, *, start: bool = True) -> None:
        """Boot a machine that was powered off: an empty kernel, ``/run`` empty, the disk as it was."""
        shutil.rmtree(self.node_directory(name, "run"))
        self._make_node(name)
        if start and self.shape.mode == "api":
            self.start(*(f"{name}/{part}" for part in PARTS))

    # -- the API server away ----------------------------------------------------------------------------------------

    def cut_api(self, *names: str) -> None:
        """Packets to and from the API server vanish: connections stay half-open. All hosts, or only those named."""
        for name in names or ("api",):
            self.host("mgmt").ip("link", "set", "dev", f"to-{name}", "down")

    def mend_api(self, *names: str) -> None:
        """The API server can be reached again."""
        for name in names or ("api",):
            self.host("mgmt").ip("link", "set", "dev", f"to-{name}", "up")

    # -- pods -------------------------------------------------------------------------------------------------------

    def add_pod(self, node: str) -> Pod:
        """A pod on a node, attached by the CNI plugins; ``pods.NotReadyError`` where the node is not ready."""
        folder = self.node_directory(node, "cni")
        pods.conflist(folder)
        used = {pod.name for pod in self.state.pods.values()}
        name = next(name for name in (f"{node}-p{number}" for number in range(1, 100000)) if name not in used)
        host = self.network.host(name, forwarding=False, machine=self.host(node).machine)
        try:
            pod = pods.add(self.host(node), host, folder=folder)
        except BaseException:
            self.network.remove_host(name)
            raise
        self.state.pods[name] = pod
        self.save()
        return pod

    def delete_pod(self, name: str) -> None:
        """Detach a pod and remove it."""
        pod = self.state.pods[name]
        folder = self.node_directory(pod.node, "cni")
        pods.remove(self.host(pod.node), self.host(name), folder=folder, container=pod.container)
        self._forget_pod(name)
        self.save()

    def _forget_pod(self, name: str) -> None:
        self.network.remove_host(name)
        self.state.pods.pop(name)
