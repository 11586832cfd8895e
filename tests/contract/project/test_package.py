"""What is shipped: the wheel and the sdist hold everything, whatever became of the links in ``src``."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import towpath
from tests.patience import longer
from tests.tree import ROOMS, ROOT, files


def build(tree: Path, target: str, into: Path) -> Path:
    """Build without a network, from what is in the tree; the file made."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = into.iterdir()
    return made


def copy(into: Path, *, links: bool = True) -> Path:
    """The checkout's files; without ``links`` as an archive leaves it that knows none."""
    for path in files():
        target = into / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    for room in ROOMS if links else ():
        (into / "src" / "towpath" / room).symlink_to(f"../../{room}")
    return into


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout."""
    return copy(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the checkout makes."""
    return build(tree, "wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_room_and_nothing_else(wheel: Path) -> None:
    """Each module of each room is in it once, under ``towpath``; no tests, no links followed twice."""
    modules = {f"towpath/{path.relative_to(ROOT)}" for path in files() if path.relative_to(ROOT).parts[0] in ROOMS}
    packed = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert packed == {*modules, "towpath/__init__.py", "towpath/py.typed"}


def test_the_wheel_is_whole_without_the_links(wheel: Path, tmp_path: Path) -> None:
    """Links are for editable installs and static tools alone."""
    bare = copy(tmp_path / "tree", links=False)
    assert contents(build(bare, "wheel", tmp_path / "wheel")) == contents(wheel)


def test_the_sdist_makes_the_same_wheel_and_has_all_that_dev_needs(tree: Path, wheel: Path, tmp_path: Path) -> None:
    """Who unpacks it can build, test and read."""
    sdist = build(tree, "sdist", tmp_path / "sdist")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", sdist, "-C", tmp_path / "unpacked"], check=True)
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    packed = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert {str(path.relative_to(ROOT)) for path in files()} - packed == set()
    assert os.access(unpacked / "dev", os.X_OK)
    assert contents(build(unpacked, "wheel", tmp_path / "wheel")) == contents(wheel)


def test_the_wheel_runs_where_no_checkout_is(wheel: Path, tmp_path: Path) -> None:
    """Installed into an environment of its own: the command answers, and every room is imported from there."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    (site,) = place.glob("lib/python*/site-packages")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(install, check=True, timeout=longer(120))
    # its dependencies are those of the environment that runs the tests, without the editable install there
    (site / "dependencies.pth").write_text(f"import sys; sys.path.append({site_packages()!r})\n")
    ask = f"import {', '.join(f'towpath.{room}' for room in ROOMS)}; print(towpath.__file__)"
    assert run(python, "-c", ask).strip() == str(site / "towpath" / "__init__.py")
    command = place / "bin" / "towpath"
    assert run(command, "version").strip() == run(Path(sys.prefix) / "bin" / "towpath", "version").strip()
    for process in ("controller", "agent", "speaker"):
        assert process in run(command, "--help")
        assert "--help" in run(command, process, "--help")


def run(*command: Path | str) -> str:
    """What a program prints, far from the checkout."""
    done = subprocess.run(
        [*map(str, command)], cwd="/", capture_output=True, text=True, timeout=longer(60), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def site_packages() -> str:
    """Where the dependencies are."""
    (found,) = Path(sys.prefix).glob("lib/python*/site-packages")
    return str(found)


def test_an_editable_install_is_the_checkout() -> None:
    """``import towpath`` in the development environment leads to ``src``, where the links are."""
    assert Path(towpath.__file__) == ROOT / "src" / "towpath" / "__init__.py"
    assert {path.name for path in (ROOT / "src" / "towpath").iterdir() if path.is_symlink()} == set(ROOMS)
