"""One node and its router for a test, under names of this test run."""

from collections.abc import Iterator

import pytest

from tests.names import in_memory, own
from tests.netns.agent.node import OneNode
from towpath.lab.netns import Network


@pytest.fixture
def one() -> Iterator[OneNode]:
    """The node, not started; its run dir lies on tmpfs."""
    prefix = own("tpa")
    with in_memory(prefix) as root, Network(prefix) as network:
        yield OneNode(network, root)
