"""What a cluster has on this machine: everything that carries its name, and settings that are the machine's own."""

from pathlib import Path

from towpath.lab.cluster import cgroups
from towpath.lab.cluster.shape import ROOT
from towpath.lab.process import run

SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
)


def traces(prefix: str) -> list[str]:
    """Everything on this machine that carries the name of a cluster."""
    found = [f"namespace {path.name}" for path in Path("/run/netns").glob(f"{prefix}-*")]
    found += [f"control group {name}" for name in cgroups.names(prefix)]
    found += [f"file {path}" for path in (ROOT / prefix, *Path("/run/netns").glob("cni-*")) if path.exists()]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{prefix}" in line]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and f"/{prefix}/".encode() in _read(entry / "cmdline"):
            found.append(f"process {entry.name}")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def links() -> set[str]:
    """The devices of this machine's own namespace."""
    return {line.split(":")[1].strip().split("@")[0] for line in run("ip", "-oneline", "link").splitlines()}


def sysctls() -> dict[str, str]:
    """Settings of this machine that a node's programs would like to change."""
    return {name: (Path("/proc/sys") / name).read_text() for name in SYSCTLS}
