"""Real clusters: one of three nodes for all tests that use what is installed on it, others for tests of their own.

Where a test fails, its report has what an operator would look at first, of every cluster that is up then.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import state
from tests.names import own
from towpath.lab.cluster import release
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.release import Release
from towpath.lab.cluster.shape import Shape
from towpath.lab.process import wait_for

_UP: list[Cluster] = []


def cluster_of(prefix: str, shape: Shape) -> Iterator[Cluster]:
    """A cluster while it is needed; nothing of it is left afterwards."""
    with Cluster(own(prefix), shape) as made:
        made.up()
        _UP.append(made)
        try:
            yield made
        finally:
            _UP.remove(made)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three nodes in both families, one of them in another subnet, with kube-proxy, without a pod network."""
    yield from cluster_of("tpe", Shape(nodes=3, rack_b=1))


@pytest.fixture(scope="session")
def untouched(cluster: Cluster) -> dict[str, dict[str, str]]:
    """What every node looked like before towpath came, by node."""
    tables = ("nft", "list", "tables")
    for name in cluster.nodes:
        machine = cluster.machine(name)
        wait_for(
            lambda machine=machine: "ip6 kube-proxy" in machine.run(*tables),  # type: ignore[misc]  # bound now
            deadline=90,
            what=f"kube-proxy of {name} has its tables",
        )
    return {name: state(cluster.machine(name)) for name in cluster.nodes}


@pytest.fixture(scope="session")
def towpath_image() -> Path:
    """The image of this checkout, an OCI archive."""
    return release.image()


@pytest.fixture(scope="session")
def installed(cluster: Cluster, untouched: object, towpath_image: Path) -> Release:
    """Towpath on the cluster of three nodes, installed as the README says, with the router as a peer of every node.

    A test that changes the release brings it back: ``installed.upgrade(...)``, ``installed.wait()``.
    """
    assert untouched, "seen before towpath comes"
    cluster.load_image(towpath_image)
    made = Release(cluster)
    made.install()
    made.wait()
    return made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with clusters of their own come first, so that the shared one does not run beside those."""
    here = Path(__file__).parent
    places = [place for place, item in enumerate(items) if item.path.parent == here]
    mine = sorted((items[place] for place in places), key=lambda item: "cluster" in _fixtures(item))
    for place, item in zip(places, mine, strict=True):
        items[place] = item


def _fixtures(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        for made in _UP:
            report.sections.append((f"cluster {made.prefix}", f"{made.report()}\n{made.logs()}"))
    return report
