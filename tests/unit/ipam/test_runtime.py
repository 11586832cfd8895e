"""What the runtime attached, from the notes that it keeps."""

import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.unit.ipam.notes import note
from towpath.ipam.runtime import Attachment, attachments

ONE = ip_address("10.244.0.5")


def test_every_address_is_known_with_its_container(tmp_path: Path) -> None:
    """Of both families, by network, with the time of the note."""
    note(tmp_path, "c1", "10.244.0.5/32", "fd00::5/128")
    assert attachments(tmp_path) == {
        one: Attachment(one, "c1", "eth0", "k8s-pod-network", 1000.0) for one in (ONE, ip_address("fd00::5"))
    }


def test_of_two_notes_of_an_address_the_later_counts(tmp_path: Path) -> None:
    """One stays where a container was detached by another network than it was attached by."""
    note(tmp_path, "z-old", "10.244.0.5/32", at=1000)
    note(tmp_path, "a-new", "10.244.0.5/32", at=2000)
    assert attachments(tmp_path)[ONE].container == "a-new"


def test_a_runtime_that_never_noted_anything(tmp_path: Path) -> None:
    """Its folder is not there."""
    assert attachments(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"containerId": "two\nlines"},
        {"containerId": ""},
        {"containerId": 7},
        {"ifName": "eth 0"},
        {"result": {"ips": [{"address": "nonsense"}]}},
        {"result": {"ips": "nonsense"}},
        {"result": None},
        {"result": {}},
    ],
)
def test_what_does_not_parse_is_left_out(tmp_path: Path, change: dict[str, object]) -> None:
    """The others count."""
    bad = note(tmp_path, "bad", "10.244.0.6/32")
    bad.write_text(json.dumps(json.loads(bad.read_text()) | change))
    (tmp_path / "half").write_text('{"kind": "cniCach')
    (tmp_path / "folder").mkdir()
    note(tmp_path, "good", "10.244.0.5/32")
    assert [one.container for one in attachments(tmp_path).values()] == ["good"]
