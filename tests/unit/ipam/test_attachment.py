"""How a node attaches pods, where it has one pool or several."""

import pytest

from tests.unit.ipam.world import block, cluster, node, pool, report, status
from towpath.ipam.attachment import attached, attached_to
from towpath.ipam.memory import Memory
from towpath.ipam.plan import plan
from towpath.model.kinds.ipam import IP_POOL
from towpath.model.kinds.kind import broken
from towpath.model.reason import InvalidSpecError, Reason

OLD = "2026-01-01T00:00:00Z"
NEW = "2026-02-01T00:00:00Z"


def made(name: str, cidr: str, *, created: str = OLD, selector: str = "all()", disabled: bool = False, **attachment):
    """A pool with an attachment."""
    return pool(name, cidr, created=created, nodeSelector=selector, disabled=disabled, attachment=attachment)


def refused(*pools) -> dict[str, str]:
    """The fields that are refused, by pool."""
    return {name: one.object.field for name, one in attached(pools).refusals.items()}


def test_without_a_word_pods_have_a_cable_each():
    """ptp is the default, also of a node without any pool."""
    assert attached([]).attachment.type == "ptp"
    assert attached([pool("a", "10.1.0.0/16")]).attachment.type == "ptp"


def test_the_oldest_pool_decides():
    """One that is added later says that it is not served on these nodes, and why; names decide among equally old ones."""
    old, new = made("z", "10.1.0.0/16", type="bridge"), made("a", "10.2.0.0/16", created=NEW)
    found = attached([new, old])
    assert (found.attachment.type, found.pool, list(found.refusals)) == ("bridge", "z", ["a"])
    assert str(found.refusals["a"].object) == "IPPool/a spec.attachment.type"
    assert found.refusals["a"].message.startswith(
        "is ptp, and IPPool/z, which comes first on the same nodes, has bridge"
    )
    assert (found.takes(old), found.takes(new), found.takes(None)) == (True, False, True)
    assert refused(made("b", "10.1.0.0/16", type="bridge"), made("a", "fd00::/64")) == {"b": "spec.attachment.type"}


def test_a_pod_has_one_mtu():
    """Pools of one node that name another one exclude each other as well."""
    assert refused(made("a", "10.1.0.0/16", mtu=1400), made("b", "fd00::/64", mtu=1400)) == {}
    assert refused(made("a", "10.1.0.0/16", mtu=1400), made("b", "fd00::/64")) == {"b": "spec.attachment.mtu"}


def test_a_pool_that_is_phased_out_does_not_decide():
    """A disabled pool comes after all others: nodes move to the new one's attachment, and old pods keep their addresses."""
    assert refused(
        made("old", "10.1.0.0/16", disabled=True), made("new", "10.2.0.0/16", created=NEW, type="bridge")
    ) == {"old": "spec.attachment.type"}
    assert attached([made("old", "10.1.0.0/16", disabled=True, type="bridge")]).attachment.type == "bridge"


def test_pools_of_other_nodes_have_no_say():
    """Each node is asked by its own labels."""
    cables = made("a", "10.1.0.0/16", selector="rack == 'one'")
    bridge = made("b", "10.2.0.0/16", selector="rack == 'two'", type="bridge")
    world = cluster(cables, bridge, node("n1", labels={"rack": "one"}), node("n2", labels={"rack": "two"}))
    assert [attached_to(world, name).attachment.type for name in ("n1", "n2")] == ["ptp", "bridge"]
    assert [attached_to(world, name).refusals for name in ("n1", "n2")] == [{}, {}]


def test_no_block_is_claimed_of_a_pool_whose_pods_would_not_be_attached():
    """It would be full from the start, and another one would be claimed after it, for ever."""
    old, new = made("z", "10.1.0.0/16", type="bridge"), made("a", "10.2.0.0/16", created=NEW)
    (claim,) = plan(cluster(old, new, node("n")), memory=Memory(), now=0).claims
    assert claim.spec.pool == "z"
    world = cluster(
        old,
        new,
        node("n"),
        block("10.2.0.0/26", "n"),
        block("10.1.0.0/26", "n", pool="z"),
        status("n", report("10.2.0.0/26", in_use=5, capacity=5), report("10.1.0.0/26", in_use=60, capacity=61)),
    )
    (claim,) = plan(world, memory=Memory(), now=0).claims
    assert claim.spec.pool == "z"


@pytest.mark.parametrize(
    ("cidr", "size", "good"),
    [
        ("10.1.0.0/16", None, True),
        ("10.1.0.0/16", 30, True),
        ("10.1.0.0/16", 31, False),
        ("10.1.0.0/16", 32, False),
        ("fd00::/64", 126, True),
        ("fd00::/64", 127, False),
    ],
)
def test_a_block_on_a_bridge_has_room_for_pods(cidr: str, size: int | None, good: bool):
    """Of the smallest blocks nothing would be left beside the node's own address."""
    spec = {"blockSize": size} if size else {}
    assert pool("p", cidr, **spec)
    if good:
        assert not list(
            broken(IP_POOL, pool("p", cidr).meta, pool("p", cidr, attachment={"type": "bridge"}, **spec).spec)
        )
        return
    with pytest.raises(InvalidSpecError) as caught:
        pool("p", cidr, attachment={"type": "bridge"}, **spec)
    assert caught.value.where.field == "spec.attachment.type"


@pytest.mark.parametrize(
    ("attachment", "field"),
    [
        ({"type": "host-device"}, "spec.attachment.type"),
        ({"mtu": 1279}, "spec.attachment.mtu"),
        ({"mtu": 65536}, "spec.attachment.mtu"),
        ({"colour": "red"}, "spec.attachment.colour"),
    ],
)
def test_what_is_not_built_is_refused(attachment: dict, field: str):
    """By name, and never passed over."""
    with pytest.raises(InvalidSpecError) as caught:
        pool("p", "10.1.0.0/16", attachment=attachment)
    assert caught.value.where.field == field
    assert Reason.INVALID_SPEC
