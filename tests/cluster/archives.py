"""Images that are made of others: an OCI archive, changed, under another tag."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from towpath.lab.process import run

REPOSITORY = "towpath.io/towpath"


@contextmanager
def changed(archive: Path, *, tag: str, target: Path) -> Iterator[str]:
    """What ``umoci --image`` is to change within the block; then ``target`` is an archive of it. Its digest differs."""
    with tempfile.TemporaryDirectory() as scratch:
        layout = f"{scratch}/layout:{tag}"
        run("skopeo", "copy", "--insecure-policy", f"oci-archive:{archive}", f"oci:{layout}", timeout=300)
        yield layout
        label = f"--config.label=org.opencontainers.image.version={tag}"
        run("umoci", "config", "--image", layout, label, timeout=300)
        name = f"oci-archive:{target}:{REPOSITORY}:{tag}"
        run("skopeo", "copy", "--insecure-policy", f"oci:{layout}", name, timeout=300)
