"""What the suite has found in this process, and the page that is made of it."""

from msgspec import Struct

YES = "yes"


class Cannot(Struct, frozen=True):
    """A router lacks something; ``words`` say what shows that it is the router."""

    words: str


Outcome = str | Cannot
RESULTS: dict[tuple[str, str], Outcome] = {}
"""By fact and make."""
VERSIONS: dict[str, str] = {}
"""By make, as the program itself says."""

HEAD = """# Interoperability

<!-- Made by `python -m tests.netns.interop.page` from a run of tests/netns/interop; ./dev test fails where it is stale. -->

What works between towpath and four routers: {makes}.
Each cell is the outcome of a test with the router itself, our agent, our speaker and the kernel. A dash is something that the
router of this release does not do; below the table stands what shows that. Other releases may do more.

"""


def page(facts: tuple[tuple[str, str], ...], makes: tuple[str, ...], versions: dict[str, str]) -> str:
    """The page; ``facts`` are names and words, in order."""
    lines = [HEAD.format(makes=", ".join(f"{make} {versions[make]}" for make in makes))]
    lines.append("| | " + " | ".join(makes) + " |\n")
    lines.append("|---|" + "---|" * len(makes) + "\n")
    notes: list[str] = []
    for name, words in facts:
        cells = []
        for make in makes:
            outcome = RESULTS[name, make]
            if isinstance(outcome, Cannot):
                note = f"{make}: {outcome.words}"
                if note not in notes:
                    notes.append(note)
                cells.append(f"- [{notes.index(note) + 1}]")
            else:
                cells.append(outcome)
        lines.append(f"| {words} | " + " | ".join(cells) + " |\n")
    lines.append("\n")
    lines.extend(f"{number}. {note}\n" for number, note in enumerate(notes, 1))
    return "".join(lines)
