"""Real clusters: one of three nodes for all tests that use what is installed on it, others for tests of their own.

Where a test fails, its report has what an operator would look at first, of every cluster that is up then.
"""

from collections.abc import Iterator

import pytest

from tests.names import own
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.shape import Shape

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
    """Three nodes in both families, with kube-proxy, without a pod network."""
    yield from cluster_of("tpe", Shape(nodes=3))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        for made in _UP:
            report.sections.append((f"cluster {made.prefix}", f"{made.report()}\n{made.logs()}"))
    return report
