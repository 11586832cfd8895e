"""A whole Kubernetes cluster on this machine, found again from its prefix by another process, and gone without a trace.

The control plane runs in a namespace behind the router; every node is a machine of its own (``machine.py``). What is on
disk lies under ``shape.ROOT``/PREFIX; the namespaces carry the prefix; the nodes' control groups carry both.
"""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from towpath.lab.bird import Bird
from towpath.lab.cluster import cgroups, control, images, node
from towpath.lab.cluster.console import Console
from towpath.lab.cluster.machine import Machine
from towpath.lab.cluster.shape import ROOT, NodePlace, Shape, State
from towpath.lab.cluster.underlay import Underlay, choosing, way_in
from towpath.lab.netns import Host, Network
from towpath.lab.netns import remove as remove_namespaces
from towpath.lab.process import Process, run, wait_for
from towpath.lab.programs import Programs
from towpath.lab.tools import COMMANDS, kubernetes


class Cluster(Console):
    """One cluster. ``up`` makes it, ``Cluster.open`` finds one that is up; as a context manager it is gone afterwards."""

    def __init__(self, prefix: str, shape: Shape | None = None) -> None:
        self.prefix = prefix
        self.root = ROOT / prefix
        self.state = State(shape or Shape())
        super().__init__(self.root / "kubeconfig", Network(prefix))
        self._machines: dict[str, Machine] = {}
        self._underlay = Underlay(self.network, families=self.shape.families)
        self.programs = _Programs(self)

    @classmethod
    def open(cls, prefix: str) -> "Cluster":
        """The cluster that another process brought up; ``FileNotFoundError`` if there is none."""
        state = msgspec.json.decode((ROOT / prefix / "cluster.json").read_bytes(), type=State)
        cluster = cls(prefix, state.shape)
        cluster.state = state
        cluster.programs.serve(cluster.control.commands())
        cluster.programs.adopt(state.processes)
        return cluster

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
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes whose machines are there."""
        return tuple(self.state.nodes)

    def host(self, name: str) -> Host:
        """A namespace of the cluster: a node, ``tor``, ``client``, ``api``, ``switch-a``."""
        return self.network.known(name)

    def machine(self, name: str) -> Machine:
        """A node as a machine: commands in it, its disk."""
        if name not in self._machines:
            self._machines[name] = Machine(self.host(name), self.root / name, tools=node.tools(self.shape))
        return self._machines[name]

    @property
    def control(self) -> control.Control:
        """The control plane: its files and addresses."""
        outside = way_in(self.state.link)[1]
        return control.Control(self.root / "control", shape=self.shape, outside=outside, context=self.prefix)

    @property
    def tor(self) -> Bird:
        """The router's BIRD."""
        return self.programs.bird()

    # -- all of it --------------------------------------------------------------------------------------------------

    def up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Bring everything up, until all nodes have registered; they are not Ready, for nothing gives pods addresses."""
        self.clear()
        kubernetes(*COMMANDS)
        self.root.mkdir(parents=True)
        try:
            say("a router, two switches, a client")
            self._make_underlay()
            say("etcd, API server, controller manager, scheduler")
            self._start_control()
            self._make_images()
            names = [f"node{number}" for number in range(1, self.shape.nodes + 1)]
            say(f"{len(names)} nodes: containerd, kubelet{', kube-proxy' if self.shape.proxy else ''}")
            behind = set(names[len(names) - self.shape.rack_b :]) if self.shape.rack_b else set()
            for name in names:
                self._place(name, rack="b" if name in behind else "a")
            self._each(self._install, names)
            self._each(self._switch_on, names)
            self.save()
            self.wait_registered(names)
        except BaseException as error:
            error.add_note(self.logs())
            self.down()
            raise

    def logs(self, *, lines: int = 15) -> str:
        """The end of what every program wrote, for a report of what went wrong."""
        files = sorted(self.root.glob("*.log"))
        ends = {path.stem: path.read_text(errors="replace").splitlines()[-lines:] for path in files}
        return "\n".join("\n".join((f"== {name}", *(line[:300] for line in end))) for name, end in ends.items())

    def down(self) -> None:
        """Take everything away, whatever state it is in."""
        self.clear()
        if ROOT.exists() and [entry.name for entry in ROOT.iterdir()] == [".lock"]:
            with contextlib.suppress(OSError):  # somebody else's cluster may just begin
                (ROOT / ".lock").unlink()
                ROOT.rmdir()

    def clear(self) -> None:
        """The same, but the folder of all clusters stays."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            state = msgspec.json.decode((self.root / "cluster.json").read_bytes(), type=State)
            Underlay.close_way_in(state.link)
            for name, identity in state.processes.items():
                Process([name], log=self.root / "none").adopt(identity).kill()
        self.network.close()
        for name in cgroups.names(self.prefix):
            cgroups.remove(name)
        remove_namespaces(self.prefix)
        self._machines.clear()
        mounts = Path("/proc/self/mountinfo").read_text()
        if f" {self.root}/" in mounts:  # never delete through a mount
            raise RuntimeError(f"something is mounted under {self.root}; unmount it first")
        run("rm", "-rf", "--one-file-system", str(self.root), timeout=300)

    def save(self) -> None:
        """Write ``cluster.json``, so that others find what there is."""
        self.state.processes = self.programs.identities()
        new = self.root / "cluster.json.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self.state)))
        new.rename(self.root / "cluster.json")

    def _make_underlay(self) -> None:
        self._underlay.make()
        with choosing() as number:
            self.state.link = number
            self.save()
            self._underlay.open_way_in(number)
        folder = self.root / "tor"
        folder.mkdir()
        self.tor.start(self._underlay.tor_configuration(folder))

    def _start_control(self) -> None:
        self.control.prepare()
        self.programs.serve(self.control.commands())
        self.start("api/etcd", "api/server")
        wait_for(self._serves, deadline=120, what="the API server is ready", interval=0.2)
        self.start(*control.PROGRAMS[2:])

    def _serves(self) -> bool:
        for name in ("api/etcd", "api/server"):
            if not self.programs[name].running:
                raise RuntimeError(f"{name} ended:\n{self.programs[name].log[-3000:]}")
        return self.kubectl("get", "--raw", "/readyz", check=False) == "ok"

    def _each(self, act: Callable[[str], object], names: Iterable[str]) -> None:
        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(act, names):
                pass

    # -- images -----------------------------------------------------------------------------------------------------

    def load_image(self, archive: Path) -> None:
        """Give every node, and those that join later, an image: a docker-archive or an OCI archive."""
        kept = self.root / "images" / f"{len(self.state.images)}-{archive.name}"  # the original may go meanwhile
        shutil.copyfile(archive, kept)
        self.state.images.append(str(kept))
        self.save()
        self._each(lambda name: self._import(name, kept), self.nodes)

    def _make_images(self) -> None:
        folder = self.root / "images"
        folder.mkdir()
        pause = images.make_pause(folder / "pause")
        made = (images.pause_image(pause, folder / "pause.tar"), images.busybox_image(folder / "busybox.tar"))
        self.state.images.extend(str(path) for path in made)

    def _import(self, name: str, archive: Path) -> None:
        command = node.ctr(self.shape, "images", "import", "--snapshotter", node.snapshotter(), "-")
        feed = f'exec "$@" < {archive}'
        run("sh", "-c", feed, "sh", *self.machine(name).entering(command), timeout=300)

    # -- pods from below --------------------------------------------------------------------------------------------

    @contextmanager
    def attached(self, pod: dict[str, Any], name: str) -> Iterator[Host]:
        """The network namespace of a pod as a host of the lab's network, for probes and ``ip``; ``name`` is its name."""
        where, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
        machine = self.machine(where)
        match = f'labels."io.kubernetes.pod.uid"=={uid},labels."io.cri-containerd.kind"==sandbox'
        sandbox = machine.run(*node.ctr(self.shape, "containers", "list", "--quiet", match)).split()
        tasks = machine.run(*node.ctr(self.shape, "tasks", "list")).splitlines()
        pids = [line.split()[1] for line in tasks if line.split()[0] in sandbox]
        if not pids:
            raise RuntimeError(f"no sandbox of pod {pod['metadata']['name']} runs on {where}")
        host = self.network.known(name)
        target = Path("/run/netns") / host.netns
        target.touch()
        run("mount", "--bind", str(machine.path(f"proc/{pids[0]}/ns/net")), str(target))
        try:
            yield host
        finally:
            self.network.hosts.pop(name, None)
            run("umount", str(target))
            target.unlink()

    # -- programs: names are tor, api/server, node1/kubelet ----------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start programs; running ones stay."""
        for name in names:
            self.programs.start(name)
        self.save()

    def stop(self, *names: str) -> None:
        """SIGTERM, and wait."""
        self.programs.stop(*names, deadline=20)
        self.save()

    def kill(self, *names: str) -> None:
        """SIGKILL."""
        self.programs.kill(*names)
        self.save()

    def restart(self, *names: str) -> None:
        """SIGTERM, wait, and start again: a kubelet or containerd leaves its pods running."""
        self.stop(*names)
        self.start(*names)
        for name in names:
            where, _, program = name.partition("/")
            if program == "containerd":
                self._wait_containers(where)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def add_node(self, name: str, *, rack: str = "a") -> None:
        """A new machine joins; returns when its Node object is there."""
        self._place(name, rack=rack)
        self._install(name)
        self._switch_on(name)
        self.save()
        self.wait_registered([name])

    def remove_node(self, name: str) -> None:
        """The machine is gone with its disk; its Node object is not touched."""
        self.power_off(name)
        shutil.rmtree(self.root / name)
        self._machines.pop(name, None)
        self.state.nodes.pop(name)
        self.save()

    def delete_node(self, name: str) -> None:
        """As an administrator does it: the machine goes, then its Node object is deleted."""
        self.remove_node(name)
        self.kubectl("delete", "node", name)

    def power_off(self, name: str) -> None:
        """The machine is off without a word: no packet, no process, no mount; its disk stays."""
        # the cable first, so that the kernel cannot say goodbye for the processes
        self.host(name).ip("link", "set", "dev", "eth0", "down")
        self.machine(name).power_off()
        self.programs.forget(*(f"{name}/{program}" for program in node.PROGRAMS))
        self.network.remove_host(name)
        self.save()

    def power_on(self, name: str) -> None:
        """Boot it again: an empty kernel, ``/run`` empty, the disk as it was, the same machine-id."""
        self._switch_on(name)
        self.save()

    def reboot(self, name: str) -> None:
        """Off and on again."""
        self.power_off(name)
        self.power_on(name)

    def replace_machine(self, name: str) -> None:
        """Another machine under the same name and address: an empty disk, another machine-id. The old one may be off."""
        if self.machine(name).first:
            self.power_off(name)
        place = self.state.nodes[name]
        self.state.nodes[name] = msgspec.structs.replace(place, machine=uuid.uuid4().hex)
        self._install(name)
        self._switch_on(name)
        self.save()

    def _place(self, name: str, *, rack: str) -> None:
        index = 1 + max((place.index for place in self.state.nodes.values()), default=0)
        self.state.nodes[name] = NodePlace(name, index, rack, uuid.uuid4().hex)

    def _install(self, name: str) -> None:
        place, machine = self.state.nodes[name], self.machine(name)
        machine.install(machine_id=place.machine, init=self.root / "images" / "pause")
        node.configure(machine, place, shape=self.shape, plane=self.control)

    def _switch_on(self, name: str) -> None:
        machine = self.machine(name)
        fresh = not any((machine.disk / "var/lib/containerd").iterdir())
        self._underlay.plug(self.state.nodes[name])
        machine.boot()
        self.programs.start(f"{name}/containerd")
        self._wait_containers(name)
        for archive in self.state.images if fresh else ():
            self._import(name, Path(archive))
        for program in node.programs(self.shape)[1:]:
            self.programs.start(f"{name}/{program}")

    def _wait_containers(self, name: str) -> None:
        command = node.ctr(self.shape, "version")
        wait_for(
            lambda: "Server" in self.machine(name).run(*command, check=False),
            deadline=60,
            what=f"containerd of {name} answers",
            interval=0.1,
        )


class _Programs(Programs):
    """The router and control plane in their namespaces, the rest in the nodes' machines."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.network, cluster.root, servers={}, source=())
        self._cluster = cluster

    def serve(self, commands: Mapping[str, Sequence[str]]) -> None:
        """What the control plane consists of."""
        self.servers = commands

    def _make(self, name: str) -> Process:
        where, _, program = name.partition("/")
        if where in self._cluster.state.nodes:
            command = node.commands(self._cluster.state.nodes[where], self._cluster.shape)[program]
            return self._cluster.machine(where).process(command, log=self.root / f"{where}-{program}.log")
        return super()._make(name)
