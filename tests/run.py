"""Runs the layers of tests one after the other, prints each one's time and ends with one line of totals.

A layer is a folder under ``tests`` (run by pytest) or ``check`` (format, lint, types, floors, generated files). A layer
that cannot run fails; nothing is skipped. Whatever a test may have left in the kernel or in the process table is found
after each layer and counts as a failure.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import effort, names
from towpath.lab import tools
from towpath.lab.golang import ToolError
from towpath.lab.uml.machine import MachineError, boot

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
SOAK_TIMEOUT = 4 * 3600
UML_TIMEOUT = 1800
UML_SOAK_TIMEOUT = 8 * 3600
"""Of the whole layer: its four hundred kills alone take two and a half hours on a quiet machine, and twice that on a busy one."""
FOLDERS = ("unit", "image", "sim", "contract", "netns", "uml", "kube", "chart", "cluster")
SHARED = ("unit", "sim")
"""Layers whose files several processes share: one a processor."""
UML = "uml"
"""The layer that runs in a kernel of its own."""
OLDER = f"contract on {tools.OLDER_KUBERNETES}"
"""A layer of soaks alone: the contract suite on an older Kubernetes."""
CHECKS: dict[str, Sequence[str]] = {
    "format": ("ruff", "format", "--check", "."),
    "lint": ("ruff", "check", "."),
    "types": ("mypy",),
    "floors": ("lint-imports",),
    "generated": ("python", "-m", "towpath.controller.generate", "--check"),
}


@dataclass
class Outcome:
    """Counts of one layer."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def check() -> Outcome:
    """The static checks; each one counts as a test."""
    outcome = Outcome()
    for name, (program, *arguments) in CHECKS.items():
        done = subprocess.run([str(BIN / program), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            outcome.passed += 1
        else:
            outcome.failed += 1
            print(f"check {name} failed:\n{done.stdout}{done.stderr}", flush=True)
    return outcome


def folder(
    name: str, *, soak: bool, seed: int, extra: Sequence[str], brief: bool = False, kubernetes: str = tools.KUBERNETES
) -> Outcome:
    """One folder of tests, by pytest; with a version of Kubernetes that is built if it is not there."""
    environment = {
        **os.environ,
        "TOWPATH_SEED": str(seed),
        "TOWPATH_SOAK": "1" if soak else "",
        "TOWPATH_BRIEF": "1" if brief else "",
        "TOWPATH_KUBERNETES": kubernetes,
        "PYTHONPATH": str(ROOT),
    }
    with tempfile.TemporaryDirectory(prefix=names.scratch(), dir=names.SCRATCH) as scratch:
        results = Path(scratch) / "results.xml"
        command = [str(BIN / "python"), "-m", "pytest", "-q", f"tests/{name}", f"--junitxml={results}"]
        if name in SHARED:
            command += ["--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile"]
        command += extra
        if name == UML:
            code = in_kernel(command, environment, deadline=UML_SOAK_TIMEOUT if soak else UML_TIMEOUT)
        else:
            code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        outcome = counts(results)
    if code not in (0, 1) and not outcome.failed:
        outcome.failed += 1
    if left := leftovers():
        print(f"left behind by {name}: {', '.join(left)}", flush=True)
        outcome.failed += 1
    return outcome


def in_kernel(command: Sequence[str], environment: Mapping[str, str], *, deadline: float) -> int:
    """A command's exit code in user-mode Linux, where it has this run's settings; 2 where that cannot be had."""
    settings = {
        name: value for name, value in environment.items() if name.startswith("TOWPATH_") or name == "PYTHONPATH"
    }
    if not sys.stdout.isatty():  # to what runs inside, it is
        settings["NO_COLOR"] = "1"

    def show(printed: bytes) -> None:
        sys.stdout.buffer.write(printed)
        sys.stdout.flush()

    try:
        kernel = tools.user_mode_linux()
        return boot(kernel, *command, folder=ROOT, environment=settings, deadline=deadline, show=show)
    except (ToolError, MachineError, RuntimeError) as error:
        print(f"no tests in user-mode Linux: {error}", flush=True)
        return 2


def counts(results: Path) -> Outcome:
    """What pytest wrote of its run; nothing written is one failure."""
    if not results.exists():
        return Outcome(failed=1)
    total = Outcome()
    for suite in ET.parse(results).getroot().iter("testsuite"):  # pytest's own file
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        total += Outcome(passed=tests - skipped - failed, failed=failed, skipped=skipped)
    return total


def leftovers() -> list[str]:
    """Network namespaces and processes of this run that exist now."""
    found = [f"namespace {name}" for name in sorted(names.namespaces())]
    return found + [f"process {pid} ({line[:80]})" for pid, line in names.processes().items()]


def main() -> int:
    """Run the layers named, or all; exit 0 only if nothing failed."""
    parser = argparse.ArgumentParser(prog="./dev test", description=__doc__)
    parser.add_argument("layers", nargs="*", metavar="LAYER", help=f"check, {', '.join(FOLDERS)}; all unless named")
    parser.add_argument("--soak", action="store_true", help="many more random cases and rounds of kills: hours")
    parser.add_argument("--seed", type=int, default=effort.SEED, help="begin at the random cases of an earlier run")
    parser.add_argument("-k", dest="keyword", help="only tests that match, as pytest's -k")
    arguments = parser.parse_args()
    # what runs is ended then, and what it has made is found by the next run
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    names.sweep()
    known = ("check", *FOLDERS)
    for layer in arguments.layers:
        if layer not in known:
            parser.error(f"there is no layer {layer}: {', '.join(known)}")
    extra = ["-k", arguments.keyword] if arguments.keyword else []
    if arguments.soak:
        extra.append(f"--timeout={SOAK_TIMEOUT}")
    layers: dict[str, Callable[[], Outcome]] = {"check": check}
    for name in FOLDERS:
        layers[name] = lambda name=name: folder(name, soak=arguments.soak, seed=arguments.seed, extra=extra)  # type: ignore[misc]  # bound now
    layers[OLDER] = lambda: folder(
        "contract", soak=True, seed=arguments.seed, extra=extra, kubernetes=tools.OLDER_KUBERNETES
    )
    wanted = arguments.layers or known
    if arguments.soak and "contract" in wanted:
        wanted = (*wanted, OLDER)
    if arguments.layers == ["check"]:
        wanted = ("check", "unit")
        layers["unit"] = lambda: folder("unit", soak=False, seed=arguments.seed, extra=extra, brief=True)
    total = Outcome()
    times: list[str] = []
    for name in wanted:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        outcome = layers[name]()
        total += outcome
        times.append(
            f"{name:10} {time.monotonic() - started:7.1f} s   {outcome.passed} passed, {outcome.failed} failed"
        )
    print("\n".join(["", *times]))
    width = shutil.get_terminal_size().columns
    print("-" * min(width, 60))
    print(f"seed {arguments.seed}; --seed {arguments.seed} tries the same random cases again")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
