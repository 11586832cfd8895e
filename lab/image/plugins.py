"""The CNI project's plugins, their licences, and which modules were linked into them."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from towpath.lab.golang import ask_go
from towpath.lab.image.recipe import PLUGIN_FOLDER, PLUGINS, Platform, native
from towpath.lab.image.sbom import Component
from towpath.lab.tools import cni_plugins

DOCUMENTS = "usr/share/doc/cni-plugins"
_MODULE = re.compile(r"^\t(?:dep|mod)\t(\S+)\t(\S+)", re.MULTILINE)
_GO = re.compile(r": go(\S+)$", re.MULTILINE)


def install(platform: Platform, root: Path) -> list[Component]:
    """Put the plugins and the licences of all their modules into a root file system; the modules."""
    built = cni_plugins(architecture="" if platform == native() else platform.architecture)
    folder = root / PLUGIN_FOLDER
    folder.mkdir(parents=True)
    for name in PLUGINS:
        shutil.copy(built / name, folder / name)
        (folder / name).chmod(0o755)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "go.mod").write_text("module image\n")
        said = ask_go(Path(scratch), "version", "-m", *(str(folder / name) for name in PLUGINS))
        modules = sorted(set(_MODULE.findall(said)))
        documents = root / DOCUMENTS
        notes = {name: _licences(Path(scratch), name, version, documents) for name, version in modules}
    compilers = sorted(set(_GO.findall(said)))
    return [
        *(Component(kind="golang", name="stdlib", version=one, licence="BSD-3-Clause") for one in compilers),
        *(Component(kind="golang", name=name, version=one, licence_note=notes[name]) for name, one in modules),
    ]


def _licences(scratch: Path, module: str, version: str, documents: Path) -> str:
    """Copy the licences of a module from the module cache; where they are in the image."""
    source = Path(json.loads(ask_go(scratch, "mod", "download", "-json", f"{module}@{version}"))["Dir"])
    copied = []
    for path in sorted(source.iterdir()):
        if path.is_file() and re.match(r"(LICEN[CS]E|NOTICE|COPYING)", path.name, re.IGNORECASE):
            target = documents / module / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            copied.append(str(target.relative_to(documents.parent.parent.parent.parent)))
    return " ".join(f"/{one}" for one in copied)
