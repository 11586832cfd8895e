"""CNI plugins put in place, asked and taken away."""

import os
from pathlib import Path

import pytest

from tests.unit.ipam.plugins import plugin
from towpath.ipam.plugins import NEEDED, Folders, Plugin, agreed, ask, install, uninstall


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """An image with three plugins and a host with none."""
    for name in NEEDED:
        plugin(tmp_path / "image" / name, "1.0.0", "1.1.0")
    return Folders(target=tmp_path / "host", record=tmp_path / "state" / "plugins", source=tmp_path / "image")


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_what_is_missing_is_put_there(folders: Folders) -> None:
    """With the right to run, nothing beside; the second time nothing is done; cleanup leaves an empty folder."""
    assert install(folders) == tuple(sorted(NEEDED))
    assert folders.source is not None
    assert content(folders.target) == content(folders.source)
    assert {path.stat().st_mode & 0o777 for path in folders.target.iterdir()} == {0o755}
    before = {path.name: path.stat().st_ino for path in folders.target.iterdir()}
    assert install(folders) == ()
    assert {path.name: path.stat().st_ino for path in folders.target.iterdir()} == before
    uninstall(folders)
    assert content(folders.target) == {}
    assert not folders.record.exists()
    uninstall(folders)


@pytest.mark.parametrize("note", ["the host's own", ""], ids=["another", "the very same"])
def test_what_the_host_has_stays(folders: Folders, note: str) -> None:
    """Whatever its content: never replaced, also not by a newer one, and never taken away."""
    own = plugin(folders.target / "ptp", "1.0.0", "1.1.0", note=note)
    text = own.read_text()
    assert install(folders) == tuple(sorted({*NEEDED} - {"ptp"}))
    assert folders.source is not None
    plugin(folders.source / "ptp", "1.1.0", note="newer")
    assert install(folders) == ()
    uninstall(folders)
    assert content(folders.target) == {"ptp": text}


def test_ours_follow_the_image(folders: Folders) -> None:
    """A newer image brings newer plugins; one that somebody replaced meanwhile is theirs from then on."""
    install(folders)
    theirs = plugin(folders.target / "portmap", "1.0.0", note="theirs").read_text()
    assert folders.source is not None
    for name in NEEDED:
        plugin(folders.source / name, "1.1.0", note="newer")
    assert install(folders) == tuple(sorted({*NEEDED} - {"portmap"}))
    assert content(folders.target) == {**content(folders.source), "portmap": theirs}
    uninstall(folders)
    assert content(folders.target) == {"portmap": theirs}


def test_a_death_at_any_moment_loses_nothing(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any of the file operations, the next run ends where one without a death does, and cleanup knows all."""
    assert folders.source is not None
    install(folders)
    for name in NEEDED:
        plugin(folders.source / name, "1.1.0", note="newer")

    class Killed(BaseException):
        pass

    steps = 0
    while True:
        left = steps

        def fsync(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            os.fstat(descriptor)

        monkeypatch.setattr("towpath.ipam.files.os.fsync", fsync)
        try:
            install(folders)
        except Killed:
            steps += 1
            continue
        break
    assert steps >= len(NEEDED)
    assert content(folders.target) == content(folders.source)
    uninstall(folders)
    assert content(folders.target) == {}


def test_without_a_source_the_host_is_left_as_it_is(folders: Folders) -> None:
    """None is given, or it is not in this image."""
    for source in (None, folders.target / "nowhere"):
        assert install(Folders(target=folders.target, record=folders.record, source=source)) == ()
    assert not folders.target.exists()


def test_plugins_say_what_they_understand(folders: Folders) -> None:
    """One that is missing or no program at all is a trouble with its path; one that says nonsense just has not said."""
    plugin(folders.target / "ptp", "0.4.0", "1.0.0")
    (folders.target / "host-local").write_bytes(b"\x7fELF nonsense")
    (folders.target / "host-local").chmod(0o755)
    silent = folders.target / "silent"
    silent.write_text("#!/bin/sh\necho nonsense\n")
    silent.chmod(0o755)
    lost = folders.target / "lost-library"
    lost.write_text("#!/lib/ld-nowhere.so\n")
    lost.chmod(0o755)
    ptp, local, portmap, *quiet = ask(folders.target, ("ptp", "host-local", "portmap", "silent", "lost-library"))
    assert ptp == Plugin("ptp", frozenset({"0.4.0", "1.0.0"}))
    assert local.trouble == f"{folders.target}/host-local cannot be run: Exec format error"
    assert portmap.trouble == f"{folders.target}/portmap does not exist"
    assert quiet == [Plugin("silent"), Plugin("lost-library")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([("0.3.1", "0.4.0", "1.0.0"), ("0.4.0", "1.0.0")], ("0.4.0", "1.0.0")),
        ([("0.4.0", "1.0.0", "1.1.0"), ("0.4.0", "1.0.0")], ("0.4.0", "1.0.0")),
        ([("0.4.0", "1.0.0", "1.1.0")] * 2, ("0.4.0", "1.0.0", "1.1.0")),
        ([("0.4.0", "1.0.0", "1.1.0"), ()], ("0.4.0", "1.0.0", "1.1.0")),
        ([("0.2.0", "0.3.1"), ("0.3.1", "1.0.0")], ("0.3.1",)),
        ([(), ()], ("0.4.0", "1.0.0")),
    ],
)
def test_the_versions_that_all_understand(said: list[tuple[str, ...]], expected: tuple[str, ...]) -> None:
    """In ascending order; what one does not say, the others say for it."""
    assert agreed([Plugin("p", frozenset(versions)) for versions in said]) == expected
