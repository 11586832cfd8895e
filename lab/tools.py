"""Programs that no distribution has, or has too old: Kubernetes, Helm, CNI plugins, containerd 2, a kernel as a process."""

import contextlib
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from towpath.lab.clang import LOCK, compile_static
from towpath.lab.golang import ToolError, ask_go, build, cache, locked
from towpath.lab.process import run
from towpath.lab.uml import build as uml
from towpath.lab.uml.machine import Kernel

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES = os.environ.get("TOWPATH_KUBERNETES") or "v1.36.3"
OLDER_KUBERNETES = "v1.34.4"
"""What the contract is also held to in a soak."""
HELM = "v3.22.0"
CNI_PLUGINS = "v1.9.1"
CONTAINERD = "v2.4.2"
COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
"""What a cluster consists of."""
KUBECTL = (1, 32)
"""The oldest kubectl that is good enough."""
_ON_REQUEST = {"containerd": "containerd", "user-mode Linux": "uml"}
"""What is made only where its short name is given."""
_PLUGINS = {
    "main": ("bridge", "host-device", "ipvlan", "loopback", "macvlan", "ptp"),
    "ipam": ("host-local",),
    "meta": ("bandwidth", "firewall", "portmap", "tuning"),
}
_STAGING = re.compile(r"^\s*(?:replace )?(k8s\.io/[a-z0-9-]+) => \./staging/", re.MULTILINE)


def kube_apiserver(version: str = KUBERNETES) -> Path:
    """The path of kube-apiserver; the first time this takes minutes."""
    return kubernetes("kube-apiserver", version=version)[0]


def kubernetes(*commands: str, version: str = KUBERNETES) -> tuple[Path, ...]:
    """The paths of commands of Kubernetes; those that are missing are built together."""
    folder = cache() / "kubernetes" / version
    targets = tuple(folder / command for command in commands)
    _made(targets, lambda missing: _build_kubernetes([one.name for one in missing], version=version, into=folder))
    return targets


def kubectl(version: str = KUBERNETES) -> Path:
    """The path of kubectl: the one on PATH if it is new enough, else built as the API server is."""
    found = shutil.which("kubectl")
    if found is not None and _kubectl_version(found) >= KUBECTL:
        return Path(found)
    return kubernetes("kubectl", version=version)[0]


def _kubectl_version(path: str) -> tuple[int, int]:
    match = re.search(r"v(\d+)\.(\d+)", run(path, "version", "--client", check=False))
    return (int(match[1]), int(match[2])) if match else (0, 0)


def helm(version: str = HELM) -> Path:
    """The path of Helm."""
    target = cache() / "helm" / version / "helm"
    module = "helm.sh/helm/v3"
    _made(
        (target,),
        lambda _: build(
            (f"{module}/cmd/helm",),
            target.parent,
            require=(f"{module} {version}",),
            stamps=(f"{module}/internal/version.version={version}",),
        ),
    )
    return target


def cni_plugins(version: str = CNI_PLUGINS, *, architecture: str = "") -> Path:
    """The folder of the CNI project's plugins, static programs; for this machine, or another architecture of Go's."""
    folder = cache() / "cni-plugins" / "-".join(filter(None, (version, architecture)))
    module = "github.com/containernetworking/plugins"
    packages = {folder / name: f"{module}/plugins/{kind}/{name}" for kind, names in _PLUGINS.items() for name in names}
    _made(
        tuple(packages),
        lambda missing: build(
            [packages[one] for one in missing],
            folder,
            require=(f"{module} {version}",),
            stamps=(f"{module}/pkg/utils/buildversion.BuildVersion={version}",),
            architecture=architecture,
        ),
    )
    return folder


def towpath_ipam(*, architecture: str = "") -> Path:
    """The path of our own CNI program, static; for this machine, or another architecture of Go's."""
    sources = sorted((ROOT / "cni").glob("*.[ch]"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in (*sources, LOCK))).hexdigest()[:24]
    target = cache() / "towpath-ipam" / "-".join(filter(None, (version, architecture))) / "towpath-ipam"
    programs = [path for path in sources if path.suffix == ".c"]
    _made((target,), lambda _: compile_static(programs, target, architecture=architecture))
    return target


def containerd(version: str = CONTAINERD) -> Path:
    """The folder of containerd 2, its shim and ``ctr``."""
    folder = cache() / "containerd" / version
    module = "github.com/containerd/containerd/v2"
    names = ("containerd", "containerd-shim-runc-v2", "ctr")
    _made(
        tuple(folder / name for name in names),
        lambda missing: build(
            [f"{module}/cmd/{one.name}" for one in missing],
            folder,
            require=(f"{module} {version}",),
            stamps=(f"{module}/version.Version={version}",),
        ),
    )
    return folder


def user_mode_linux() -> Kernel:
    """A Linux that runs as a process, with devices that the host's may lack; made from the distribution's kernel source."""
    source = uml.source()
    kernel = _uml(source)
    _made((kernel.preload, kernel.program), lambda _: uml.build(source, kernel.program.parent))
    return kernel


def _uml(source: uml.Source) -> Kernel:
    folder = cache() / "uml" / source.digest
    return Kernel(folder / "linux", preload=folder / "xstate.so")


def _uml_known() -> bool:
    with contextlib.suppress(ToolError, RuntimeError):  # told by whoever makes it
        return _uml(uml.source()).program.exists()
    return False


def etcd() -> Path:
    """The path of etcd, which comes from the distribution (Debian: ``etcd-server``)."""
    found = shutil.which("etcd")
    if found is None:
        raise ToolError("etcd is missing: install the package etcd-server")
    return Path(found)


def _made(targets: Sequence[Path], make: Callable[[Sequence[Path]], None]) -> None:
    """Make those that are missing, unless another process does so first."""
    missing = [target for target in targets if not target.exists()]
    if not missing:
        return
    with locked(*missing):
        missing = [target for target in missing if not target.exists()]
        if missing:
            make(missing)


def _build_kubernetes(commands: Sequence[str], *, version: str, into: Path) -> None:
    """Build commands of k8s.io/kubernetes.

    That module is no library: the modules of its staging folder are replaced by paths that a download does not have.
    Each of them is published under its own name, as v0.MINOR.PATCH, so a module of our own replaces them by those.
    """
    into.mkdir(parents=True, exist_ok=True)
    described = ask_go(into, "mod", "download", "-json", f"k8s.io/kubernetes@{version}")
    upstream = Path(re.search(r'"GoMod": "([^"]+)"', described)[1]).read_text()  # type: ignore[index]  # go always names it
    staging = f"v0.{version.removeprefix('v1.')}"
    names, minor = "k8s.io/component-base/version", version.split(".")[1]
    build(
        [f"k8s.io/kubernetes/cmd/{command}" for command in commands],
        into,
        require=(f"k8s.io/kubernetes {version}",),
        replace=[f"{name} => {name} {staging}" for name in sorted(set(_STAGING.findall(upstream)))],
        stamps=(f"{names}.gitVersion={version}", f"{names}.gitMajor=1", f"{names}.gitMinor={minor}"),
    )


def main(also: Sequence[str] = ()) -> int:
    """Make everything that a cluster needs and no distribution has, and what is named besides; says what takes long."""
    folder, by_go = cache() / "kubernetes" / KUBERNETES, "from the Go module proxy, once"
    missing = [command for command in COMMANDS if not (folder / command).exists()]
    parts: dict[str, tuple[bool, str, Callable[[], object]]] = {
        "Kubernetes": (
            not missing,
            f"{by_go} ({', '.join(missing)}: ten minutes on two cores)",
            lambda: kubernetes(*COMMANDS),
        ),
        "kubectl": (bool(shutil.which("kubectl")) or (folder / "kubectl").exists(), f"{by_go} (a minute)", kubectl),
        "Helm": ((cache() / "helm" / HELM / "helm").exists(), f"{by_go} (a minute)", helm),
        "containerd": ((cache() / "containerd" / CONTAINERD / "ctr").exists(), f"{by_go} (two minutes)", containerd),
        "the CNI plugins": (
            (cache() / "cni-plugins" / CNI_PLUGINS / "ptp").exists(),
            f"{by_go} (seconds)",
            cni_plugins,
        ),
        "towpath-ipam": (
            any((cache() / "towpath-ipam").glob("*/towpath-ipam")),
            "with a C compiler from PyPI (a minute)",
            towpath_ipam,
        ),
        "user-mode Linux": (
            _uml_known(),
            "from the distribution's kernel source, once (four minutes on two cores)",
            user_mode_linux,
        ),
    }
    for name, (known, how, make) in parts.items():
        if name in _ON_REQUEST and _ON_REQUEST[name] not in also:
            continue
        if not known:
            print(f"building {name} {how}", file=sys.stderr, flush=True)
        try:
            make()
        except (ToolError, RuntimeError) as error:
            print(f"{name} cannot be made: {error}", file=sys.stderr)
            if make is not user_mode_linux:  # the one layer of tests that runs in it says so, the others go on
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
