"""One bench a make, for all facts."""

from collections.abc import Iterator
from functools import cached_property

import pytest

from tests.netns.interop.makes import MAKES, Make
from tests.netns.interop.node import Bench, bench
from tests.netns.interop.opened import capabilities
from tests.netns.interop.results import VERSIONS
from towpath.lab.process import wait_for


class Place:
    """A bench with the router as its make."""

    def __init__(self, it: Bench, make: Make) -> None:
        self.bench = it
        self.node = it.node
        self.make = make
        self.router = it.router

    @cached_property
    def offers(self) -> dict[int, bytes]:
        """The capabilities in its OPEN to one who asks for everything."""
        found = capabilities(self.bench)
        return found if self.make.asked_by is None else found | capabilities(self.bench, self.make.asked_by)


@pytest.fixture(scope="module", params=MAKES, ids=lambda make: make.name)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Everything started, the router's own routes announced, all sessions up on both sides."""
    make: type[Make] = request.param
    with bench(make.router, make.configuration) as it:
        made = Place(it, make(it.router))
        VERSIONS[make.name] = made.make.release()
        made.make.originate()
        it.router.wait_established(
            "10.9.1.1",
            "fd09:2::1",
            "10.9.3.1",
            "10.9.4.1",
            "10.9.5.1",
            "10.9.6.1",
            "10.9.7.1",
            "10.9.20.3",
            "10.9.12.3",
        )
        wait_for(lambda: it.node.speaker.log.count("session.established") >= 9, deadline=20, what="ours are up")
        yield made
