"""Another image of the same program: what an upgrade brings to the nodes, without building one."""

from pathlib import Path

from tests.cluster.archives import changed


def image(archive: Path, *, tag: str, target: Path) -> Path:
    """An OCI archive of the same files under another configuration: its digest and tag differ, as a release's do."""
    with changed(archive, tag=tag, target=target):
        pass
    return target
