"""Another image of the same program: what an upgrade brings to the nodes, without building one."""

import tempfile
from pathlib import Path

from towpath.lab.process import run

REPOSITORY = "towpath.io/towpath"


def image(archive: Path, *, tag: str, target: Path) -> Path:
    """An OCI archive of the same files under another configuration: its digest and tag differ, as a release's do."""
    with tempfile.TemporaryDirectory() as scratch:
        layout = f"{scratch}/layout:{tag}"
        run("skopeo", "copy", "--insecure-policy", f"oci-archive:{archive}", f"oci:{layout}", timeout=300)
        label = f"--config.label=org.opencontainers.image.version={tag}"
        run("umoci", "config", "--image", layout, label, timeout=300)
        run(
            "skopeo",
            "copy",
            "--insecure-policy",
            f"oci:{layout}",
            f"oci-archive:{target}:{REPOSITORY}:{tag}",
            timeout=300,
        )
    return target
