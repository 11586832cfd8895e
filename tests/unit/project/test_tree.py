"""The files of the project themselves: what a reader, an archive or a stranger's machine would stumble on."""

import ast
import re
import tomllib

import pytest

from tests.tree import ROOMS, ROOT, files

LONG = {
    "bgp/receive.py": "the hot path, from an attribute block to the table: what is called once a message lies side by side",
}
"""Modules over 400 lines, and why each is one module."""

TEXT = (".py", ".md", ".toml", ".lock", ".yaml", ".txt", "")
MACHINE = re.compile(
    r"/(home|Users)/\w|/root/|/work/|/opt/wheels"  # a person's or a build machine's folders
    r"|--(extra-)?index-url|--find-links|--trusted-host"  # where one machine gets its packages
)
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + r"ME|XXX|HACK|WIP)\b")
SKIPPED = re.compile(r"pytest\.(mark\.)?(skip|xfail)|import" + r"orskip|skip" + "If|Skip" + "Test")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
REQUIREMENT = re.compile(r"^[A-Za-z0-9._-]+")
HERE = "tests/unit/project/test_tree.py"


def texts() -> dict[str, str]:
    """Every file that a person wrote, by its path in the tree; this one apart, whose patterns would find themselves."""
    found = {str(path.relative_to(ROOT)): path for path in files() if path.suffix in TEXT}
    return {name: path.read_text() for name, path in found.items() if name != HERE}


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern occurs."""
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_knows_the_machine_that_it_was_written_on() -> None:
    """No one's folders, no place where one machine gets its packages."""
    assert lines_with(MACHINE) == []


def test_nothing_unfinished_is_committed() -> None:
    """What is not there yet stands in the README, not as a mark in the code."""
    assert lines_with(UNFINISHED) == []


def test_no_test_is_skipped() -> None:
    """A test that cannot run fails."""
    assert lines_with(SKIPPED) == []


def test_long_modules_are_known() -> None:
    """A module over 400 lines has its reason above; one that has become much shorter is taken off the list."""
    own = {name: len(text.splitlines()) for name, text in texts().items() if name.split("/")[0] in ROOMS}
    assert {name for name, length in own.items() if length > 400} - LONG.keys() == set()
    assert {name for name in LONG if own.get(name, 0) < 350} == set()


def test_every_module_says_what_it_is_for() -> None:
    """A docstring at the top; only a package's own file may be empty."""
    silent = [
        name
        for name, text in texts().items()
        if name.endswith(".py") and text.strip() and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


@pytest.mark.parametrize("name", [name for name in texts() if name.endswith(".md")])
def test_every_link_leads_somewhere(name: str) -> None:
    """Links between pages, to files and to headings."""
    for link in LINK.findall(texts()[name]):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        page, _, heading = link.partition("#")
        target = (ROOT / name).parent / page if page else ROOT / name
        assert target.exists(), link
        assert not heading or heading in headings(target.read_text()), link


def headings(text: str) -> set[str]:
    """The anchors that a page's headings make."""
    lines = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("lock", ["runtime", "dev"])
def test_the_lock_has_every_dependency_with_hashes(lock: str) -> None:
    """What pyproject.toml names is in the lock file, and every line there is pinned and hashed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["project"]["dependencies"], *(project["dependency-groups"]["dev"] if lock == "dev" else [])]
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{lock}.lock").read_text().strip())
    pinned = {entry.split("==")[0]: entry for entry in entries}
    assert all(re.match(r"[a-z0-9-]+==\S+ ", entry) and "--hash=sha256:" in entry for entry in entries)
    wanted = {normal(REQUIREMENT.match(line)[0]) for line in named}  # type: ignore[index]  # a requirement has a name
    assert wanted - pinned.keys() == set()


def test_what_is_built_on_inner_classes_is_pinned_exactly() -> None:
    """ExaBGP's inner classes may change with any release: pyproject.toml and both locks name the same one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (exact,) = (line for line in project["project"]["dependencies"] if line.startswith("exabgp"))
    assert re.fullmatch(r"exabgp==[\d.]+", exact)
    for lock in ("runtime", "dev"):
        assert f"{exact} " in (ROOT / "requirements" / f"{lock}.lock").read_text()


def normal(name: str) -> str:
    """A package's name as the lock writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()
