"""The release before this one, made of its recorded sources: ``tests/releases/README.md`` says which, and how to record another."""

import re
import sys
import tarfile
import tempfile
from pathlib import Path

from msgspec import Struct

from tests.cluster.archives import REPOSITORY, changed
from tests.tree import RECORDED
from towpath.lab.image import recipe
from towpath.lab.image.build import Workshop
from towpath.lab.image.bytecode import compile_all
from towpath.lab.process import run

VERSION = "0.0.1"
"""Its version here. No release has a number yet that tells it from this one: what was recorded and what is built are both 0.1.0."""
IMAGE = f"{REPOSITORY}:{VERSION}"
_STRICT = "forbid_unknown_fields=True"
"""What was recorded refuses whole objects for a field, or the default of one, that only newer definitions have, so none of
its processes can start under ours. Since then fields of newer releases are left out; so they are here."""
_VERSIONS = {
    "pyproject.toml": re.compile(r"^(version = ).*$", re.MULTILINE),
    "charts/towpath/Chart.yaml": re.compile(r"^((?:appV|v)ersion: ).*$", re.MULTILINE),
}


class Earlier(Struct, frozen=True):
    """Chart and image of that release."""

    chart: Path
    image: Path


def release(folder: Path, *, base: Path) -> Earlier:
    """Unpack and build it in an empty folder; its image stands on Debian and the libraries of ``base``, which it shares."""
    with tarfile.open(RECORDED) as archive:  # our own
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    sources = folder / "towpath"
    for name, pattern in _VERSIONS.items():
        quote = '"' if name.endswith(".toml") else ""
        path = sources / name
        path.write_text(pattern.sub(rf"\g<1>{quote}{VERSION}{quote}", path.read_text()))
    for path in (sources / "model" / "kinds").glob("*.py"):
        path.write_text(path.read_text().replace(_STRICT, "forbid_unknown_fields=False"))
    return Earlier(sources / "charts" / "towpath", _image(sources, base=base, target=folder / "earlier.oci.tar"))


def _image(sources: Path, *, base: Path, target: Path) -> Path:
    with tempfile.TemporaryDirectory() as scratch, changed(base, tag=VERSION, target=target) as image:
        root = Path(scratch) / "root"
        site = root / recipe.SITE
        wheels = Path(scratch) / "wheels"
        run("env", "-C", str(sources), sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels))
        (wheel,) = map(str, wheels.iterdir())
        flags = ("--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore", "--target", str(site))
        run(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *flags, wheel)
        system = Workshop(recipe.native(), epoch=0, say=lambda _: None).system() / "root"
        compile_all(root, recipe.SITE, system=system, platform=recipe.native())
        ours = f"/{recipe.SITE}/towpath"
        metadata = f"towpath-{VERSION}.dist-info"
        run("umoci", "insert", "--image", image, "--opaque", str(site / "towpath"), ours)
        run("umoci", "insert", "--image", image, "--whiteout", f"{ours}-{recipe.version()}.dist-info")
        run("umoci", "insert", "--image", image, str(site / metadata), f"/{recipe.SITE}/{metadata}")
    return target
