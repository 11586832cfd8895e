"""Shared by the tests of the store and what feeds it."""

from collections.abc import Awaitable, Callable

import pytest

from tests.patience import eventually


@pytest.fixture
def settled() -> Callable[..., Awaitable[None]]:
    """Wait in the event loop until a probe is true."""
    return eventually
