"""A machine made of namespaces: network, mounts, processes, host name, IPC and control groups of its own.

Its disk is a folder, its root file system that folder with this machine's ``/usr`` (read-only) in it; ``/run``, ``/tmp``
and ``/dev`` are new at every boot. Nothing of it is mounted in the host's mount namespace, and all its processes end with
its first one: a machine that is switched off leaves its disk and nothing else.
"""

import contextlib
import os
import shutil
import signal
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from towpath.lab.cluster import cgroups
from towpath.lab.netns import Host
from towpath.lab.process import Process, process_start, run, wait_for

_ETC = (
    *("alternatives", "ca-certificates.conf", "debian_version", "ethertypes", "group", "iproute2", "ld.so.cache"),
    *("ld.so.conf", "ld.so.conf.d", "nsswitch.conf", "os-release", "passwd", "protocols", "services", "ssl"),
)
_PROGRAMS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun")
_OWN_SYSCTLS = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
"""The kubelet sets these, and they are the whole kernel's: a machine has files in their place."""
_DISK = (
    *("etc/cni/net.d", "etc/kubernetes/manifests", "etc/containerd", "opt/cni/bin", "home", "root", "mnt", "media"),
    *("var/lib/kubelet", "var/lib/containerd", "var/log/pods", "var/log/containers", "var/cache", "var/tmp", "srv"),
    *("proc", "sys", "dev", "run", "tmp", "usr", "opt/lab"),
)
_INIT = "/opt/lab/init"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """One machine; ``folder`` holds its disk and what tells it from others, ``host`` is its network namespace."""

    def __init__(self, host: Host, folder: Path, *, tools: Mapping[str, Path]) -> None:
        self.host = host
        self.name = host.name
        self.folder = folder
        self.disk = folder / "disk"
        self.tools = tools
        """Folders of programs that it has, by their name under ``/opt``."""

    def install(self, *, machine_id: str, init: Path) -> None:
        """Give it an empty disk with a system on it; an old one is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in (*_DISK, *(f"opt/{tool}" for tool in self.tools)):
            (self.disk / name).mkdir(parents=True)
        for name in _ETC:
            source = Path("/etc") / name
            if source.is_dir():
                shutil.copytree(source, self.disk / "etc" / name, symlinks=True, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, self.disk / "etc" / name, follow_symlinks=True)
        (self.disk / "var" / "run").symlink_to("/run")
        for name in _PROGRAMS:
            source = Path("/") / name
            if source.is_symlink():
                (self.disk / name).symlink_to(source.readlink())
            elif source.is_dir():
                (self.disk / name).mkdir()
        shutil.copy2(init, self.disk / _INIT.lstrip("/"))
        etc = {
            "machine-id": machine_id,
            "hostname": self.name,
            "hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {self.name}",
        }
        for name, text in {**etc, "resolv.conf": "", "fstab": ""}.items():
            (self.disk / "etc" / name).write_text(f"{text}\n" if text else "")

    # -- boot and power ---------------------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """The id of its first process, as the host counts; 0 where it is off."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid, started = (self.folder / "first").read_text().split()
            if process_start(int(pid)) == started:
                return int(pid)
        return 0

    def path(self, inside: str) -> Path:
        """A file of it as its own processes see it, by a path that the host can open."""
        return Path(f"/proc/{self.first}/root") / inside

    def boot(self) -> None:
        """Start it on its disk, in its network namespace, which has to be there; returns when it is up."""
        script = self.folder / "boot.sh"
        self._identify()
        script.write_text(self._script())
        cgroups.create(self.host.netns)
        kinds = ("--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork")
        inside = ("nsenter", f"--net=/run/netns/{self.host.netns}", "unshare", *kinds, "sh", str(script))
        log = self.folder / "boot.log"
        starter = Process(self._joined(inside), log=log).start()
        pid = wait_for(lambda: _child(starter), deadline=30, what=f"{self.name} has a first process")
        if pid > 0:
            (self.folder / "first").write_text(f"{pid} {process_start(pid)}")
        booted = self.path("run/booted")
        wait_for(lambda: booted.exists() or not starter.running, deadline=60, what=f"{self.name} is up")
        if not starter.running:
            raise RuntimeError(f"{self.name} does not boot:\n{starter.log[-2000:]}")

    def power_off(self) -> None:
        """All its processes, mounts and its groups are gone at once; the disk stays. The network is the caller's."""
        pid = self.first
        if pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        cgroups.remove(self.host.netns)
        (self.folder / "first").unlink(missing_ok=True)

    # -- programs in it ---------------------------------------------------------------------------------------------

    def process(self, command: Sequence[str], *, log: Path) -> Process:
        """A long-running program in it, not started yet."""
        return Inside(self, command, log=log)

    def run(self, *command: str, check: bool = True, stdin: str | None = None, timeout: float = 60) -> str:
        """Run a short program in it."""
        return run(*self.entering(command), check=check, stdin=stdin, timeout=timeout)

    def entering(self, command: Sequence[str]) -> list[str]:
        """The command line that runs a command in it."""
        pid = self.first
        if not pid:
            raise RuntimeError(f"{self.name} is off")
        kinds = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        clean = ("env", "-i", _PATH, "HOME=/root", "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}")
        return self._joined(("nsenter", "--target", str(pid), *kinds, "--", *clean, *command))

    def _joined(self, command: Sequence[str]) -> list[str]:
        groups = " ".join(str(door) for door in cgroups.doors(self.host.netns))
        return ["sh", "-c", f'for file in {groups}; do echo $$ > $file || exit 1; done; exec "$@"', "sh", *command]

    # -- what its boot does -----------------------------------------------------------------------------------------

    def _identify(self) -> None:
        machine = (self.disk / "etc" / "machine-id").read_text().strip()
        (self.folder / "product_uuid").write_text(f"{uuid.UUID(machine)}\n")
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")

    def _script(self) -> str:
        lines = [
            "set -eu",
            f"mount --bind {self.disk} {self.disk}",
            f"cd {self.disk}",
            *(
                f"mount --rbind /{name} {name}"
                for name in ("usr", *_PROGRAMS)
                if not (Path("/") / name).is_symlink() and (Path("/") / name).is_dir()
            ),
            "mount -o remount,bind,ro usr",
            *(f"mount --bind {source} opt/{name}" for name, source in self.tools.items()),
            *(f"mount -o remount,bind,ro opt/{name}" for name in self.tools),
            "mount -t proc proc proc",
            "mount -t sysfs sysfs sys",
            "for one in run dev tmp sys/fs/cgroup; do mount -t tmpfs -o mode=755 tmpfs $one; done",
            "chmod 1777 tmp",
            *self._devices(),
            *self._cgroups(),
            *self._sysctls(),
            f"mount --bind {self.folder / 'boot_id'} proc/sys/kernel/random/boot_id",
            f"[ ! -e sys/class/dmi/id/product_uuid ] || mount --bind {self.folder / 'product_uuid'} sys/class/dmi/id/product_uuid",
            f"hostname {self.name}",
            "mkdir -p run/lock run/old",
            "pivot_root . run/old",
            "cd /",
            "umount -l /run/old",
            "rmdir /run/old",
            "mount --make-rshared /",
            "touch /run/booted",
            f"exec {_INIT}",
        ]
        return "\n".join([*lines, ""])

    @staticmethod
    def _devices() -> list[str]:
        present = [name for name in _DEVICES if (Path("/dev") / name).exists()]
        return [
            "mkdir -p dev/pts dev/shm dev/net dev/mqueue",
            *(f"touch dev/{name}; mount --bind /dev/{name} dev/{name}" for name in present),
            "mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts",
            "mount -t tmpfs -o mode=1777 tmpfs dev/shm",
            "ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr",
        ]

    @staticmethod
    def _cgroups() -> list[str]:
        lines = []
        for hierarchy in cgroups.hierarchies():
            target = str(hierarchy.path).lstrip("/")
            options = f"-o {hierarchy.options} " if hierarchy.options else ""
            lines += [f"mkdir -p {target}", f"mount -t {hierarchy.kind} {options}cgroup {target}"]
        for entry in Path("/sys/fs/cgroup").iterdir():
            if entry.is_symlink():
                lines.append(f"ln -s {entry.readlink()} sys/fs/cgroup/{entry.name}")
        return lines

    @staticmethod
    def _sysctls() -> list[str]:
        own = [name for name in _OWN_SYSCTLS if (Path("/proc/sys") / name).exists()]
        return [
            "mkdir run/sysctl",
            *(f"cat proc/sys/{name} > run/sysctl/{name.replace('/', '.')}" for name in own),
            "mount --bind proc/sys proc/sys",
            "mount -o remount,bind,ro proc/sys",
            "mount --bind /proc/sys/net proc/sys/net",
            *(f"mount --bind run/sysctl/{name.replace('/', '.')} proc/sys/{name}" for name in own),
        ]


# A machine's own init starts a program again that has ended, but not one that was told to.
_AGAIN = """
told=
trap 'told=1' TERM
while :; do
  "$@" &
  wait $!
  [ -z "$told" ] || { wait; exit 0; }
  sleep 1 &
  wait $!
  [ -z "$told" ] || exit 0
done
"""


class Inside(Process):
    """A program in a machine, started again a second after it ends by itself, as by systemd with ``Restart=always``.

    Its pid is the host's number for the shell that watches it; signals go to the program as well.
    """

    def __init__(self, machine: Machine, command: Sequence[str], *, log: Path) -> None:
        super().__init__(command, log=log)
        self._machine = machine
        self._inner = list(command)

    def start(self) -> "Inside":
        """Start the program; its output is appended to the log."""
        self.command = self._machine.entering(("sh", "-c", _AGAIN, "sh", *self._inner))
        super().start()
        pid = wait_for(lambda: _child(self), deadline=30, what=f"{self._inner[0]} starts in {self._machine.name}")
        if pid > 0:
            self.adopt((pid, process_start(pid)))
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and its watcher."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(self.pid), number)


def _child(starter: Process) -> int:
    """The child of a program that makes one; 0: not yet, -1: it has ended without."""
    if not starter.running:
        return -1
    with contextlib.suppress(FileNotFoundError):
        words = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        # until nsenter or unshare is there, the child may be another's
        if words and Path(f"/proc/{starter.pid}/comm").read_text().strip() in {"nsenter", "unshare"}:
            return int(words[0])
    return 0
