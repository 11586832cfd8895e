"""One image for all tests here: taken from the cache if nothing has changed, unpacked once."""

from pathlib import Path

import pytest

from tests.image.container import Bundle
from towpath.lab.image import recipe
from towpath.lab.image.build import Image, Workshop

BUILDING = 1800
"""Seconds that the first build may take, with nothing cached."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test is first waits for the image."""
    for item in items:
        if "tests/image/" in str(item.path):
            item.add_marker(pytest.mark.timeout(BUILDING))


@pytest.fixture(scope="session")
def made() -> Image:
    """The image of this checkout for this machine."""
    return Workshop(recipe.native(), epoch=0, say=print).image()


@pytest.fixture(scope="session")
def bundle(made: Image, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The image, unpacked."""
    return Bundle(made.archive, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def root(bundle: Bundle) -> Path:
    """The image's root file system."""
    return bundle.root
