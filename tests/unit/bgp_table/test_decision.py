"""Best path: the steps of RFC 4271 §9.1.2, each alone, and that the order of arrival never matters."""

from ipaddress import ip_address
from itertools import combinations, permutations

from hypothesis import given
from hypothesis import strategies as st

from towpath.bgp.attributes import ASPath, Attributes
from towpath.bgp.decision import best
from towpath.bgp.path import NextHop, Path, Source, Via
from towpath.model.reason import Reason


def path(
    *,
    preference: int | None = 100,
    length: int = 2,
    neighbour: int = 65001,
    origin: int = 0,
    med: int = 0,
    ebgp: bool = True,
    metric: int | None = 10,
    router_id: int = 5,
    originator: bytes | None = None,
    clusters: int = 0,
    address: int = 7,
    hop: NextHop | None = None,
) -> Path:
    """A path that is middling in every way, but for what is given."""
    source = Source(f"peer-{address}", ebgp, 100, router_id, address)
    hop = hop or NextHop(ip_address(address), metric)
    return Path(
        Via(source, hop, False, False, None, None, None),
        Attributes(b"", origin, ASPath(length, neighbour, 1), preference, med, originator, clusters, None),
        Reason.IMPORT_ALL,
        accepted=True,
        block=b"",
    )


# each is worse than the one before by one step, and better in every later step
LADDER = [
    path(preference=101, length=9, origin=2, med=9, ebgp=False, metric=90, router_id=90, clusters=9, address=90),
    path(preference=None, length=1, origin=2, med=9, ebgp=False, metric=90, router_id=91, clusters=9, address=91),
    path(origin=0, med=9, ebgp=False, metric=90, router_id=92, clusters=9, address=92),
    path(origin=1, med=1, ebgp=False, metric=90, router_id=93, clusters=9, address=93),
    path(origin=1, med=2, ebgp=True, metric=90, router_id=94, clusters=9, address=94),
    path(origin=1, med=2, ebgp=False, metric=10, router_id=95, clusters=9, address=95),
    path(origin=1, med=2, ebgp=False, metric=20, router_id=1, clusters=9, address=96),
    path(origin=1, med=2, ebgp=False, metric=20, router_id=2, clusters=0, address=97),
    path(origin=1, med=2, ebgp=False, metric=20, router_id=3, originator=b"\0\0\0\2", clusters=1, address=80),
    path(origin=1, med=2, ebgp=False, metric=20, router_id=2, clusters=1, address=98),
]


def test_each_step_decides_alone() -> None:
    """Of any two paths of the ladder the upper one wins, whichever comes first."""
    for better, worse in combinations(LADDER, 2):
        assert best([better, worse], maximum_paths=1) == [better]
        assert best([worse, better], maximum_paths=1) == [better]


def test_the_ladder_in_every_order() -> None:
    """Any four paths of the ladder, in all their orders, have the uppermost as the winner."""
    for some in combinations(LADDER, 4):
        for order in permutations(some):
            assert best(order, maximum_paths=1) == [some[0]]


def test_med_is_no_order_among_paths() -> None:
    """Three paths, two of one neighbour AS: pairwise comparison goes in circles, the set has one answer."""
    one = path(neighbour=1, med=20, router_id=1, address=1)
    two = path(neighbour=2, med=0, router_id=2, address=2)
    three = path(neighbour=1, med=10, router_id=3, address=3)
    for order in permutations([one, two, three]):
        assert best(order, maximum_paths=1) == [two]


def test_an_unreachable_next_hop_is_out_of_the_question() -> None:
    """Even where it would win every step (RFC 4271 §9.1.2)."""
    gone = path(preference=999, metric=None)
    assert best([gone, LADDER[0]], maximum_paths=1) == [LADDER[0]]
    assert best([gone], maximum_paths=1) == []


def test_multipath_is_equal_to_the_metric_and_of_one_kind() -> None:
    """Paths that only later steps tell apart are used together, one a next hop, no more than allowed."""
    twins = [path(router_id=number, address=number) for number in range(1, 6)]
    worse = [path(metric=11, address=20), path(ebgp=False, address=21), path(med=1, address=22)]
    assert best([*worse, *reversed(twins)], maximum_paths=16) == twins
    assert best([*worse, *reversed(twins)], maximum_paths=2) == twins[:2]
    shared = NextHop(ip_address("10.0.0.1"), 10)
    assert len(best([path(address=1, hop=shared), path(address=2, hop=shared)], maximum_paths=4)) == 1


paths = st.builds(
    path,
    preference=st.sampled_from([None, 100, 101]),
    length=st.integers(1, 2),
    neighbour=st.integers(1, 3),
    origin=st.integers(0, 1),
    med=st.integers(0, 2),
    ebgp=st.booleans(),
    metric=st.sampled_from([None, 1, 2]),
    router_id=st.integers(1, 3),
    originator=st.sampled_from([None, b"\0\0\0\2"]),
    clusters=st.integers(0, 1),
    address=st.integers(1, 9),
)


@given(
    st.lists(paths, max_size=7, unique_by=lambda made: made.via.source.address).flatmap(
        lambda some: st.tuples(st.just(some), st.permutations(some))
    ),
    st.integers(1, 4),
)
def test_arrival_order_does_not_matter(orders: tuple[list[Path], list[Path]], maximum: int) -> None:
    """Any paths in any two orders have the same winners."""
    one, other = orders
    assert best(one, maximum_paths=maximum) == best(other, maximum_paths=maximum)


@given(st.lists(paths, min_size=1, max_size=7, unique_by=lambda made: made.via.source.address))
def test_a_loser_that_leaves_changes_nothing_above_med(some: list[Path]) -> None:
    """With one neighbour AS the decision is an order: taking a loser away leaves the winner."""
    alike = [made for made in some if made.attributes.path.neighbour == 1]
    won = best(alike, maximum_paths=1)
    for loser in alike:
        if loser not in won:
            assert best([made for made in alike if made is not loser], maximum_paths=1) == won
