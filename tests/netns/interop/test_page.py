"""The published table is what the suite finds: run after the facts, in the same process."""

from tests.netns.interop.makes import MAKES
from tests.netns.interop.page import PAGE, made
from tests.netns.interop.results import RESULTS, VERSIONS, Cannot
from tests.netns.interop.test_facts import FACTS


def test_the_table_in_the_docs_is_what_was_found() -> None:
    """With the releases that the page names, word for word; with others, whatever it says works does work.

    Of a run of some facts alone only what was found is compared.
    """
    text = PAGE.read_text()
    whole = len(RESULTS) == len(FACTS) * len(MAKES)
    if whole and all(f"{make} {version}" in text for make, version in VERSIONS.items()):
        assert made() == text, "python -m tests.netns.interop.page"
        return
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    for (name, make), outcome in RESULTS.items():
        cell = rows[FACTS[name][0]].split("|")[2 + [one.name for one in MAKES].index(make)].strip()
        if cell == "yes":
            assert not isinstance(outcome, Cannot), f"{FACTS[name][0]}: {make}: {outcome}"
