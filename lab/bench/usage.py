"""What processes that are measured take of the machine, and when they have come to rest."""

import os
import time
from pathlib import Path

from towpath.lab.process import Process, wait_for


def settle(*processes: Process, deadline: float = 60) -> None:
    """Wait until the processes have used no processor time worth naming for a second."""

    def quiet() -> bool:
        before = sum(cpu_seconds(process) for process in processes)
        time.sleep(1)
        return sum(cpu_seconds(process) for process in processes) - before < 0.05

    wait_for(quiet, deadline=deadline, what="start-up is over", interval=0)


def resident(process: Process | None = None) -> float:
    """Resident memory in MB; None: of this process."""
    return _memory(process.pid if process is not None else os.getpid(), "VmRSS:")


def peak(process: Process) -> float:
    """The most resident memory that it ever had, in MB."""
    return _memory(process.pid, "VmHWM:")


def _memory(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_seconds(process: Process) -> float:
    """Processor time so far, user and system."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
