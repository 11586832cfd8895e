"""Other networks' configurations in the folder that the container runtime reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from towpath.ipam.cni import FILE, Places
from towpath.ipam.neighbours import OtherNetwork, others


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A folder with our link in it."""
    made = Places(run_dir=tmp_path / "run", conf_dir=tmp_path / "net.d")
    made.conf_dir.mkdir()
    made.link.symlink_to(made.file)
    return made


def put(places: Places, name: str, body: Any) -> Path:
    path = places.conf_dir / name
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


def test_lists_and_single_plugins_are_networks(places: Places) -> None:
    """In the order in which a runtime takes them; ours is none of them."""
    last = put(places, "87-podman.conflist", {"name": "podman", "plugins": [{"type": "bridge"}, {"type": "portmap"}]})
    first = put(places, "10-flannel.conf", {"name": "cbr0", "type": "flannel"})
    plain = put(places, "11-x.json", {"type": "bridge"})
    assert others(places) == (
        OtherNetwork(first, "cbr0", first=True),
        OtherNetwork(plain, "", first=False),
        OtherNetwork(last, "podman", first=False),
    )
    assert first.name < FILE


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("99-loopback.conf", {"name": "lo", "type": "loopback"}),
        ("00-multus.conf", {"name": "multus", "type": "multus"}),
        ("10-calico.conflist.bak", {"name": "k8s", "plugins": [{"type": "calico"}]}),
        ("10-broken.conflist", "{"),
        ("10-list.conflist", [1]),
        ("10-empty.conflist", {"name": "x", "plugins": []}),
        ("10-untyped.conf", {"name": "x"}),
        ("10-odd.conflist", {"name": "x", "plugins": [{"type": ["a"]}]}),
    ],
)
def test_what_is_no_network(places: Places, name: str, body: Any) -> None:
    """The loopback device, plugins that hand pods on, files with other endings and nonsense are nobody's network."""
    put(places, name, body)
    assert others(places) == ()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Holds no network."""
    assert others(Places(run_dir=tmp_path, conf_dir=tmp_path / "nowhere")) == ()
