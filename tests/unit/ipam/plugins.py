"""Plugins made of shell, which say what versions they understand and nothing else."""

import json
from pathlib import Path

from towpath.ipam.plugins import FORM


def plugin(path: Path, *versions: str, note: str = "", form: int = FORM) -> Path:
    """A plugin that answers VERSION; ``note`` makes its content another one, ``form`` is what our own says that it understands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps({"cniVersion": versions[-1], "supportedVersions": versions, "towpathForm": form})
    path.write_text(f"#!/bin/sh\n# {note}\n[ \"$CNI_COMMAND\" = VERSION ] && echo '{answer}'\n")
    path.chmod(0o755)
    return path
