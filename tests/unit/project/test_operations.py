"""The page on operations names every reason that the code can give, and none that it cannot; the map of rules names what there is."""

import re

import pytest

from tests.tree import ROOMS, ROOT, files
from towpath.model.reason import Reason

PAGE = (ROOT / "docs" / "operations.md").read_text()
CODE = "\n".join(
    path.read_text()
    for path in files()
    if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in ROOMS and path.name != "reason.py"
)


def given(reason: Reason) -> bool:
    """Whether the code ever gives this reason."""
    return re.search(rf"\bReason\.{reason.name}\b", CODE) is not None


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_that_is_given_is_explained(reason: Reason) -> None:
    """Who meets one in a status finds it on the page; one that nothing gives is not there."""
    assert (f"`{reason}`" in PAGE) is given(reason)


def test_every_rule_has_its_module_and_its_tests() -> None:
    """The map of rules names files that exist: one module, and at least one file of tests, for each."""
    rows = [line.split("|")[1:-1] for line in (ROOT / "docs" / "rules.md").read_text().splitlines() if line[:2] == "| "]
    rules = [row for row in rows if row[0].strip() != "rule"]
    assert len(rules) > 40
    for rule, decided, shown in rules:
        modules, tests = re.findall(r"`([^`]+)`", decided), re.findall(r"`([^`]+)`", shown)
        assert len(modules) == 1, rule
        assert tests, rule
        missing = [one for one in (*modules, *tests) if not (ROOT / one).is_file()]
        assert missing == [], rule
