"""What the processes of a node's pod may do, by the kernel."""

from towpath.lab.cluster.machine import Machine

_NAMES = {10: "NET_BIND_SERVICE", 12: "NET_ADMIN", 13: "NET_RAW"}
"""Of linux/capability.h those that one of ours may have."""


def of_processes(machine: Machine) -> dict[str, set[str]]:
    """All capabilities, those that an exec could bring included, of agent and speaker."""
    found: dict[str, set[str]] = {}
    for name in ("agent", "speaker"):
        pid = machine.run("pgrep", "-f", f"bin/towpath {name}$").strip()
        status = dict(
            line.split(":\t", 1) for line in machine.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line
        )
        held = int(status["CapEff"], 16) | int(status["CapPrm"], 16) | int(status["CapBnd"], 16)
        found[name] = {_NAMES.get(bit, str(bit)) for bit in range(64) if held >> bit & 1}
    return found
