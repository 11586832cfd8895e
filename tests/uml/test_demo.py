"""``./dev demo`` on the paths that not every kernel has, in the one that it boots for them."""

import pytest

from tests.netns.lab.demo import holds


@pytest.mark.parametrize("path", ["ipip", "ipvlan"])
def test_every_check_holds_and_nothing_is_left(path: str) -> None:
    """Packets go by IP-in-IP, and to pods that are behind the interface of their node."""
    holds(path, within=400)
