"""One rack for all tests of this folder: each leaves it as it found it."""

from collections.abc import Iterator

import pytest

from tests.names import in_memory, own
from tests.netns.unnumbered.rack import Rack
from towpath.lab.netns import Network


@pytest.fixture(scope="module")
def rack() -> Iterator[Rack]:
    """Up and converged, a pod on each node."""
    prefix = own("tpun")
    with in_memory(prefix) as root, Network(prefix) as network:
        rack = Rack(network, root)
        rack.start()
        yield rack
