"""Layers are the same bytes whenever and wherever the same tree is packed."""

import json
import os
import tarfile
from pathlib import Path

from towpath.lab.image import archive, recipe
from towpath.lab.image.sbom import Component, document

EPOCH = 1_700_000_000


def tree(folder: Path, *, backwards: bool = False) -> Path:
    """A small tree, its files made in either order."""
    names = ["usr/bin/run", "usr/share/text", "etc/users"]
    for name in reversed(names) if backwards else names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder / "usr/bin/run").chmod(0o4777)
    (folder / "etc/users").chmod(0o600)
    (folder / "bin").symlink_to("usr/bin")
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    return folder


def test_the_same_tree_is_the_same_layer(tmp_path: Path) -> None:
    """Order of making and times of files do not matter."""
    one, other = tree(tmp_path / "one"), tree(tmp_path / "other", backwards=True)
    os.utime(other / "etc/users", (1, 1))
    made = [archive.pack(root, tmp_path / f"{root.name}.tar.gz", what="x", epoch=EPOCH) for root in (one, other)]
    assert made[0] == made[1]
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "other.tar.gz").read_bytes()
    (other / "etc/users").write_text("changed")
    assert archive.pack(other, tmp_path / "third", what="x", epoch=EPOCH).diff_id != made[0].diff_id


def test_everything_is_roots_and_readable(tmp_path: Path) -> None:
    """Whoever made it, with whatever mask; no setuid; the time is the one that was given."""
    layer = archive.pack(tree(tmp_path / "tree"), tmp_path / "layer", what="x", epoch=EPOCH)
    with tarfile.open(tmp_path / "layer") as contents:
        members = {member.name: member for member in contents}
    assert list(members) == sorted(members)
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members.values()} == {(0, 0, "", "", EPOCH)}
    modes = {name: one.mode for name, one in members.items()}
    assert modes["usr/bin/run"] == modes["usr"] == 0o755
    assert modes["etc/users"] == modes["usr/share/text"] == 0o644
    assert modes["tmp"] == 0o1777
    assert members["bin"].linkname == "usr/bin"
    assert layer.unpacked == sum(one.size for one in members.values())


def test_an_archive_is_whole(tmp_path: Path) -> None:
    """Every digest that a file in it names is the name of a file in it."""
    layer = archive.pack(tree(tmp_path / "tree"), tmp_path / "layer", what="x", epoch=EPOCH)
    digest = archive.write(
        *(tmp_path / "image.tar", [(layer, tmp_path / "layer")]),
        name="towpath.io/x:1",
        platform=recipe.PLATFORMS["arm64"],
        config={"User": "1"},
        epoch=EPOCH,
    )
    with tarfile.open(tmp_path / "image.tar") as file:
        texts = {member.name: file.extractfile(member).read() for member in file}
    (entry,) = json.loads(texts["index.json"])["manifests"]
    assert entry["digest"] == digest
    assert entry["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    manifest = json.loads(texts["blobs/sha256/" + digest.removeprefix("sha256:")])
    config = json.loads(texts["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["rootfs"]["diff_ids"] == [f"sha256:{layer.diff_id}"]
    (described,) = manifest["layers"]
    assert len(texts["blobs/sha256/" + described["digest"].removeprefix("sha256:")]) == described["size"]
    assert json.loads(texts["manifest.json"])[0]["RepoTags"] == ["towpath.io/x:1"]


def test_a_package_url_is_read_by_scanners() -> None:
    """Debian's epochs and plus signs are escaped, its architecture and suite are given."""
    debian = Component(kind="deb", name="libcrypt1", version="1:4.4.33-2+b1", architecture="amd64")
    assert debian.purl == "pkg:deb/debian/libcrypt1@1%3A4.4.33-2%2Bb1?arch=amd64&distro=bookworm"
    go = Component(kind="golang", name="github.com/vishvananda/netlink", version="v1.3.1")
    assert go.purl == "pkg:golang/github.com/vishvananda/netlink@v1.3.1"


def test_the_list_says_what_is_known_and_no_more() -> None:
    """A licence that a package does not give in SPDX's words is not asserted, only noted."""
    known = Component(kind="pypi", name="attrs", version="26.1", sha256="0" * 64, licence="MIT")
    noted = Component(kind="deb", name="tar", version="1", architecture="amd64", licence_note="GPL-3")
    made = json.loads(document((noted, known), platform=recipe.PLATFORMS["amd64"], epoch=EPOCH, key="k"))
    image, deb, pypi = made["packages"]
    assert image["primaryPackagePurpose"] == "CONTAINER"
    assert (deb["licenseDeclared"], deb["licenseComments"]) == ("NOASSERTION", "GPL-3")
    assert pypi["licenseDeclared"] == "MIT"
    assert pypi["checksums"] == [{"algorithm": "SHA256", "checksumValue": "0" * 64}]
    assert made["creationInfo"]["created"] == "2023-11-14T22:13:20Z"
