"""Writes docs/interop.md from a run of the suite: ``python -m tests.netns.interop.page``, as root, from the project's root."""

import sys
from pathlib import Path

import pytest

from tests.netns.interop.makes import MAKES
from tests.netns.interop.results import VERSIONS, page

PAGE = Path(__file__).parents[3] / "docs" / "interop.md"


def made() -> str:
    """The page of what was found in this process."""
    from tests.netns.interop.test_facts import FACTS

    facts = tuple((name, words) for name, (words, _) in FACTS.items())
    return page(facts, tuple(make.name for make in MAKES), VERSIONS)


def main() -> int:
    """Run all facts and write the page; the exit code of pytest where one fails."""
    code = pytest.main(["-q", "--import-mode=importlib", str(Path(__file__).parent / "test_facts.py")])
    if code == 0:
        PAGE.write_text(made())
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
