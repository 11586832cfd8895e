"""What is under way while the ways between nodes change: packets on every path, and connections between pods of all nodes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.netns.path.cluster import under_probe
from tests.netns.path.mtu import between
from tests.streams import Streams, streaming
from towpath.lab.topology import Lab


def connected(lab: Lab) -> AbstractContextManager[Streams]:
    """Connections between pods of different nodes, each way and in each family."""
    pods = sorted(lab.pods.values(), key=lambda pod: pod.name)
    pairs = ((one, other) for one in pods for other in pods if one.name < other.name and one.node != other.node)
    return streaming(way for pair in pairs for way in between(lab, *pair))


@contextmanager
def busy(lab: Lab) -> Iterator[Callable[[str, Callable[[], None]], None]]:
    """With connections open, what is given does something, by its name: no packet may be lost meanwhile, and all of them go on."""
    with connected(lab) as streams:

        def unharmed(name: str, deed: Callable[[], None]) -> None:
            result, _ = under_probe(lab, deed, watch=())
            print(f"{name}: {result}")
            assert not result.lost, f"{name}: {result}"
            streams.go_on()

        yield unharmed
