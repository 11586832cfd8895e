"""Tests that run in a kernel of the project's own (``./dev test uml`` boots it): with devices that the host's may lack."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import names


def pytest_configure() -> None:
    if "User Mode Linux" not in Path("/proc/cpuinfo").read_text():
        raise pytest.UsageError("the tests of tests/uml run in user-mode Linux: ./dev test uml")


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """What tests leave in this kernel nobody outside would see."""
    yield
    assert names.namespaces() == set()
    assert names.processes() == {}
