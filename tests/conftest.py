"""For all tests: Hypothesis' profile, and one seed for everything that is random."""

import pytest

import tests.names
import tests.patience  # noqa: F401  # both: before anything is started
from tests.effort import SEED, SOAK, load_profile

load_profile()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis begins at our seed, unless it was given one of its own."""
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(SEED)


def pytest_report_header() -> str:
    return seed_line()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The seed is told where something failed, also by a quiet run."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(seed_line())


def seed_line() -> str:
    """How to run the same again."""
    return f"TOWPATH_SEED={SEED} begins at the same random cases" + (" (with TOWPATH_SOAK=1)" if SOAK else "")
