"""``towpath ipam show``: whose the blocks are, in tables, as text and as a picture."""

import json
from ipaddress import ip_network
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.schema import faults, schema
from towpath.controller.cli import main
from towpath.controller.plan.inputs import gathered
from towpath.controller.plan.ipam.shares import Pool, Shares, shares
from towpath.controller.plan.ipam.svg import svg
from towpath.controller.plan.ipam.text import FREE, MARKS, WIDTH, bar, lines
from towpath.controller.settings import SECRET_NAMESPACE
from towpath.lab.api import custom
from towpath.model.net import block_name, overlaps, parse_prefix

POOLS = Path(__file__).parent / "pools.yaml"
GOLDEN = Path(__file__).parents[2] / "golden" / "ipam"
PICTURE = Path(__file__).parents[3] / "docs" / "pictures" / "pools.svg"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("style", "file"), [("table", GOLDEN / "pools.table"), ("text", GOLDEN / "pools.txt"), ("svg", PICTURE)]
)
def test_four_pools_are_shown_as_they_were(style: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The golden files; the SVG is the one that the documentation shows."""
    assert main(["ipam", "show", "-f", str(POOLS), "-o", style]) == 0
    assert capsys.readouterr().out == file.read_text()


def test_programs_get_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON as its schema says; the time of quarantine is that of the write of the state, not of a label."""
    assert main(["ipam", "show", "-f", str(POOLS), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(faults(found, schema("ipam"))) == []
    blocks = {one["cidr"]: one for one in found["blocks"]}
    assert {cidr: one["since"] for cidr, one in blocks.items() if one["since"]} == {
        "10.244.1.0/27": "2026-01-03T10:00:00Z"
    }
    assert [cidr for cidr, one in blocks.items() if not one["inForce"]] == ["10.244.0.40/29"]
    assert [cidr for cidr, one in blocks.items() if one["pool"] is None] == ["192.168.7.0/24"]
    # the block under another one takes no place of its own
    assert {one["name"]: (one["taken"], one["possible"], one["inUse"], one["capacity"]) for one in found["pools"]} == {
        "old4": (1, 16, 1, 64),
        "pods4": (4, 16, 44, 94),
        "pods6": (1, 64, 42, 64),
        "reserve": (0, 1024, None, None),
    }
    assert [(one["name"], one["deleted"]) for one in found["pools"] if one["deleted"]] == [
        ("old4", "2026-01-05T10:00:00Z")
    ]
    assert main(["ipam", "show", "-f", str(POOLS), "-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == found


def test_an_object_that_does_not_count_is_named_and_the_rest_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 whatever the form: in a list among the rest, beside a picture on standard error."""
    file = tmp_path / "objects.yaml"
    wrong = custom("IPAMBlock", "10-0-0-0-26", {"cidr": "10.0.0.0/27", "node": "n1"})
    file.write_text(yaml.safe_dump_all([custom("IPPool", "a", {"cidr": "10.0.0.0/24"}), wrong]))
    for style in ("table", "json", "text", "svg"):
        assert main(["ipam", "show", "-f", str(file), "-o", style]) == 3
        said = capsys.readouterr()
        assert "10.0.0.0/24" in said.out
        assert "10-0-0-0-26" in (said.out if style in ("table", "json") else said.err)


def test_a_pool_that_is_larger_than_any_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More blocks than programs count exactly are null, and people are told how many."""
    file = tmp_path / "pool.yaml"
    file.write_text(yaml.safe_dump(custom("IPPool", "a", {"cidr": "fd00::/32"})))
    assert main(["ipam", "show", "-f", str(file), "-o", "json"]) == 0
    (pool,) = json.loads(capsys.readouterr().out)["pools"]
    assert (pool["taken"], pool["possible"]) == (0, None)
    assert main(["ipam", "show", "-f", str(file), "-o", "text"]) == 0
    assert f"0 of {2**90} blocks of /122 taken" in capsys.readouterr().out


def _shares(blocks: list[tuple[int, int, str]]) -> Shares:
    """A pool 10.0.0.0/24 in blocks of /27, and blocks by length, place among those of that length, and state."""
    objects = [custom("IPPool", "a", {"cidr": "10.0.0.0/24", "blockSize": 27})]
    for length, place, state in blocks:
        cidr = list(ip_network("10.0.0.0/24").subnets(new_prefix=length))[place % 2 ** (length - 24)]
        spec = {"cidr": str(cidr), "node": "n", "state": state}
        objects.append(custom("IPAMBlock", block_name(parse_prefix(str(cidr))), spec))
    return shares(gathered(objects, secret_namespace=SECRET_NAMESPACE).cluster, written={})


BLOCKS = st.lists(
    st.tuples(st.integers(24, 32), st.integers(0, 255), st.sampled_from(["Active", "Draining", "Quarantined"])),
    max_size=8,
)


@given(BLOCKS.map(_shares))
def test_places_are_counted_once_whatever_lies_in_them(made: Shares) -> None:
    """As many as the places of which some address is in a block, found one by one."""
    (pool,) = made.pools
    places = ip_network("10.0.0.0/24").subnets(new_prefix=27)
    assert pool.taken == sum(
        any(overlaps(parse_prefix(str(place)), one.cidr) for one in pool.shares) for place in places
    )
    assert pool.possible == 8


@given(BLOCKS.map(_shares))
def test_every_block_is_seen(made: Shares) -> None:
    """A bar has a mark wherever a block begins; in the picture each block has its title and lies within its bar."""
    (pool,) = made.pools
    drawn = bar(pool)
    assert len(drawn) == WIDTH
    for share in pool.shares:
        begins = int(share.cidr.network_address) % 256 * WIDTH // 256
        marks = list(MARKS.values())
        assert marks.index(drawn[begins]) >= marks.index(MARKS[share.shown])
    assert (drawn == FREE * WIDTH) == (not pool.shares)
    text = "\n".join(lines(made))
    root = ET.fromstring(svg(made))
    titles = [one.text or "" for one in root.iter(f"{SVG}title")]
    for share in pool.shares:
        assert any(title.startswith(f"{share.cidr}  n  ") for title in titles)
        assert f"  {share.cidr}  n  " in text
    _within(root, pool)


def _within(root: ET.Element, pool: Pool) -> None:
    boxes = [
        {name: float(one.attrib[name]) for name in ("x", "y", "width", "height")} for one in root.iter(f"{SVG}rect")
    ]
    kinds = [one.attrib["class"] for one in root.iter(f"{SVG}rect")]
    outer = boxes[kinds.index("bar")]
    inner = [box for box, kind in zip(boxes, kinds, strict=True) if kind.endswith(" whole")]
    assert len(inner) == len(pool.shares)
    for box in inner:
        assert outer["x"] <= box["x"]
        assert box["x"] + box["width"] <= outer["x"] + outer["width"] + 0.11  # numbers are rounded
        assert outer["y"] <= box["y"] <= box["y"] + box["height"] <= outer["y"] + outer["height"]
