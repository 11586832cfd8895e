"""``./dev bench [NAME…] [--json FILE]``: run the benchmarks named, or all, and print a table of ratios."""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from towpath.lab.bench.announce import announce
from towpath.lab.bench.change import change
from towpath.lab.bench.failover import failover
from towpath.lab.bench.install import install
from towpath.lab.bench.ipam import ipam
from towpath.lab.bench.ipam_plan import ipam_plan
from towpath.lab.bench.kernel import kernel
from towpath.lab.bench.loadbalancer import loadbalancer
from towpath.lab.bench.many import many
from towpath.lab.bench.memory import memory
from towpath.lab.bench.nodes import nodes
from towpath.lab.bench.paths import paths
from towpath.lab.bench.plan import plan
from towpath.lab.bench.receive import receive
from towpath.lab.bench.receive_policy import receive_policy
from towpath.lab.bench.refilter import refilter
from towpath.lab.bench.reflector import reflector
from towpath.lab.bench.restart import restart
from towpath.lab.bench.result import Result, as_json, table
from towpath.lab.bench.sessions import sessions
from towpath.lab.bench.tunnels import tunnels

BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {
    "receive": receive,
    "receive-policy": receive_policy,
    "change": change,
    "kernel": kernel,
    "announce": announce,
    "memory": memory,
    "many": many,
    "nodes": nodes,
    "ipam": ipam,
    "ipam-plan": ipam_plan,
    "loadbalancer": loadbalancer,
    "reflector": reflector,
    "restart": restart,
    "plan": plan,
    "sessions": sessions,
    "failover": failover,
    "tunnels": tunnels,
    "refilter": refilter,
    "install": install,
    "paths": paths,
}


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="Speed, side by side with others, as ratios.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON too")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name}: {', '.join(BENCHMARKS)}")
    results: list[Result] = []
    for name in arguments.names or BENCHMARKS:
        print(f"… {name}", flush=True)
        results += BENCHMARKS[name]()
    print(table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(results), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
