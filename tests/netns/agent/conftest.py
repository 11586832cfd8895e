"""One node and its router for a test, under names of this test run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.names import own
from tests.netns.agent.node import OneNode
from towpath.lab.netns import Network


@pytest.fixture
def one() -> Iterator[OneNode]:
    """The node, not started; its run dir lies on tmpfs."""
    prefix = own("tpa")
    root = Path("/dev/shm") / prefix
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    with Network(prefix) as network:
        yield OneNode(network, root)
    shutil.rmtree(root)
