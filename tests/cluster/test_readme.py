"""What a newcomer types: a cluster, the line of the README, the router as a peer, and everything away again."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster import web
from tests.cluster.traces import links, sysctls, traces
from tests.names import own
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.process import patience, wait_for

ROOT = Path(__file__).resolve().parents[2]
NODES = 2


def typed(line: str, *, environment: Mapping[str, str] | None = None) -> str:
    """What a line prints in a shell at the top of the checkout; it succeeds."""
    shell = ("bash", "-euc", line)
    limit = 600 * patience()
    done = subprocess.run(
        shell,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_readmes_line_gives_a_working_cluster() -> None:
    """Nodes are Ready and pods reach each other; with the line that ``up`` prints for it the client reaches them too.

    ``down`` leaves nothing, and this machine's own settings are what they were.
    """
    (install,) = re.findall(r"^helm install .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    before, command = sysctls(), f"./dev cluster --prefix {own('tpd')}"
    try:
        said = typed(f"{command} up {NODES}").splitlines()
        assert f"  {install}" in said
        (ways,) = (line for line in said if line.startswith("  export "))
        (upgrade,) = (line for line in said if line.startswith("  helm upgrade "))
        cluster = Cluster.open(own("tpd"))
        way_in = f"towpath-in{cluster.state.link}"
        assert way_in in links()
        assert len(traces(cluster.prefix)) > 10
        assert sysctls() == before
        typed(f"{ways}; {install}")
        cluster.wait_ready()
        cluster.apply(web.daemonset("web"))
        pods = cluster.wait_pods("app=web", count=NODES)
        servers = [(str(address), web.PORT) for pod in pods for address in cluster.addresses(pod).values()]
        names = [pod["metadata"]["name"] for pod in pods]
        for name in names:
            wait_for(
                lambda name=name: web.ask_from_pod(cluster, name, servers) == names,  # type: ignore[misc]  # bound now
                deadline=60,
                what=f"pod {name} reaches all",
                interval=0.5,
            )
        typed(f"{ways}; {upgrade}")
        Release(cluster).wait()
        web.everybody(cluster, cluster.nodes)
        sessions = NODES * len(cluster.shape.families)
        wait_for(
            lambda: typed(f"{command} status").count("Established") == sessions, deadline=60, what="sessions in status"
        )
    finally:
        typed(f"{command} down")
    assert traces(own("tpd")) == []
    assert way_in not in links()
    assert sysctls() == before
