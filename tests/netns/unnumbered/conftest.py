"""One rack for all tests of this folder: each leaves it as it found it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.names import own
from tests.netns.unnumbered.rack import Rack
from towpath.lab.netns import Network


@pytest.fixture(scope="module")
def rack() -> Iterator[Rack]:
    """Up and converged, a pod on each node."""
    prefix = own("tpun")
    root = Path("/dev/shm") / prefix
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    try:
        with Network(prefix) as network:
            rack = Rack(network, root)
            rack.start()
            yield rack
    finally:
        shutil.rmtree(root)
