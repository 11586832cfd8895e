"""The demo, run as a person runs it, in a network of its own: it also looks at the machine's devices and routes, which others change."""

import subprocess
import sys
from pathlib import Path

from tests.names import own
from tests.patience import longer
from towpath.lab.process import run
from towpath.lab.shape import ROOT

PREFIX = own("tpld")
DEMO = ["unshare", "--net", sys.executable, "-m", "towpath.lab.demo", "--prefix", PREFIX]


def left() -> list[str]:
    """Namespaces, files and processes of the demo."""
    found = [line for line in run("ip", "netns", "list").splitlines() if line.startswith(f"{PREFIX}-")]
    if (ROOT / PREFIX).exists():
        found.append(str(ROOT / PREFIX))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (entry / "cmdline").exists():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{ROOT / PREFIX}/".encode() in command:
                found.append(command.decode())
    return found


def holds(path: str, *, within: float) -> None:
    """The whole story on this path: exit code 0 before so many patient seconds are over, and nothing is left."""
    done = subprocess.run([*DEMO, "--path", path], capture_output=True, text=True, timeout=longer(within), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT OK" not in done.stdout
    assert "checks held" in done.stdout
    assert "user-mode Linux" not in done.stdout, "it ran here"
    assert left() == []
