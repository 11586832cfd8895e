"""Which kernel source user-mode Linux is made from, and when it is made anew."""

from pathlib import Path

import pytest

from towpath.lab.golang import ToolError
from towpath.lab.uml import build
from towpath.lab.uml.build import Source, archive_in, wanted


@pytest.mark.parametrize(
    ("names", "package"),
    [
        (["linux-source-6.1.tar.xz"], "linux-source-6.1"),
        (["linux-source-6.12.tar.xz", "linux-source-6.1.tar.xz"], "linux-source-6.1"),
        (["linux-source-6.9.tar.xz", "linux-source-6.12.tar.xz"], "linux-source-6.12"),
        (["linux-source-6.8.0/linux-source-6.8.0.tar.bz2"], "linux-source-6.8.0"),
    ],
)
def test_the_source_that_is_tried_else_the_newest(tmp_path: Path, names: list[str], package: str) -> None:
    """As Debian lays it down, and as Ubuntu does."""
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found, archive = archive_in(tmp_path)
    assert (found, archive.name.partition(".tar")[0]) == (package, package)


def test_without_source_the_package_is_named(tmp_path: Path) -> None:
    """What to install, not a traceback."""
    with pytest.raises(ToolError, match="install the package linux-source-"):
        archive_in(tmp_path)


def test_another_version_or_configuration_is_another_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the cache is told by what it was made of."""
    one = Source(tmp_path, "6.1.1-1").digest
    assert one != Source(tmp_path, "6.1.2-1").digest
    other = tmp_path / "configuration"
    other.write_text("HOSTFS\n")
    monkeypatch.setattr(build, "_CONFIGURATION", other)
    assert Source(tmp_path, "6.1.1-1").digest != one


def test_the_configuration_names_each_option_once() -> None:
    """As the kernel's makefiles read it, without their prefix."""
    options = wanted()
    assert len(set(options)) == len(options)
    assert all(option.replace("_", "").isalnum() and not option.startswith("CONFIG_") for option in options)
    assert {"HOSTFS", "NET_IPIP", "IPVLAN", "NF_TABLES_INET"} <= set(options)
