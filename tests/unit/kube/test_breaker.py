"""The mass-withdraw breaker: what vanishes in a mass is not believed before a second look agrees."""

from hypothesis import given
from hypothesis import strategies as st

from towpath.controller.breaker import Breaker

NAMES = [f"n{index}" for index in range(12)]


def _full(names=NAMES):
    breaker = Breaker()
    breaker.listed(names, now=0.0)
    return breaker


def test_the_first_list_is_believed():
    """Before it there was nothing that could have vanished."""
    assert _full().in_force == set(NAMES)


def test_few_may_go_at_once():
    """Three objects of four are no mass: a small cluster can be taken down."""
    breaker = _full(NAMES[:4])
    breaker.listed(NAMES[:1], now=1.0)
    assert breaker.in_force == {"n0"}


def test_a_quarter_may_go_at_once():
    """Three of twelve are exactly a quarter, and four of sixteen too."""
    breaker = _full([f"n{index}" for index in range(16)])
    breaker.listed([f"n{index}" for index in range(12)], now=1.0)
    assert len(breaker.in_force) == 12


def test_a_shrunken_list_is_held():
    """All stay in force, until a list at least 30 s later lacks them too."""
    breaker = _full()
    breaker.listed(NAMES[:2], now=10.0)
    assert breaker.in_force == set(NAMES)
    assert breaker.look_again_at == 40.0
    breaker.listed(NAMES[:2], now=39.9)
    assert breaker.in_force == set(NAMES)
    breaker.listed(NAMES[:2], now=40.0)
    assert breaker.in_force == {"n0", "n1"}
    assert breaker.look_again_at is None


def test_a_second_list_that_disagrees():
    """What the second list has again was never gone."""
    breaker = _full()
    breaker.listed([], now=10.0)
    breaker.listed(NAMES, now=40.0)
    assert breaker.in_force == set(NAMES)
    assert breaker.held == {}


def test_deletions_within_the_window_come_back():
    """The fourth deletion of twelve within 30 s brings back the three that were believed before it."""
    breaker = _full()
    for index in range(3):
        breaker.deleted(NAMES[index], now=float(index))
        assert NAMES[index] not in breaker.in_force
    breaker.deleted(NAMES[3], now=3.0)
    assert breaker.in_force == set(NAMES)
    breaker.listed(NAMES[4:], now=33.0)
    assert breaker.in_force == set(NAMES[4:])


def test_slow_deletions_are_believed():
    """One every fifteen seconds is no mass."""
    breaker = _full()
    for index, name in enumerate(NAMES):
        breaker.deleted(name, now=index * 15.0)
        assert name not in breaker.in_force


def test_a_recreated_object_is_not_held():
    """What is added while it is held exists."""
    breaker = _full()
    breaker.listed([], now=0.0)
    breaker.added("n5")
    breaker.listed(["n5"], now=30.0)
    assert breaker.in_force == {"n5"}


def test_doubt_recalls():
    """When the kind itself is gone, what went just before comes back."""
    breaker = _full(NAMES[:2])
    breaker.deleted("n0", now=1.0)
    breaker.deleted("n1", now=2.0)
    breaker.doubt(now=3.0)
    assert breaker.in_force == {"n0", "n1"}


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "delete", "list"]),
        st.sets(st.sampled_from(NAMES), max_size=12),
        st.floats(0, 40),
    ),
    max_size=30,
)


@given(_STEPS)
def test_properties(steps):
    """Whatever happens: what the API has is in force; a mass never goes within 30 s without a confirming list; and two
    lists 30 s apart settle everything."""
    breaker, exists, now = Breaker(), set(), 0.0
    breaker.listed([], now=now)
    history: list[tuple[float, frozenset[str]]] = []
    for what, names, pause in steps:
        now += pause
        if what == "add":
            for name in names:
                breaker.added(name)
            exists |= names
        elif what == "delete":
            for name in names:
                breaker.deleted(name, now=now)
            exists -= names
        else:
            before, confirmed = breaker.in_force, {n for n, since in breaker.held.items() if now >= since + 30}
            exists = set(names)
            breaker.listed(names, now=now)
            gone = before - breaker.in_force - confirmed
            assert len(gone) <= 3 or 4 * len(gone) <= len(before)
        assert exists <= breaker.in_force
        history.append((now, breaker.in_force))
    breaker.listed(exists, now=now + 30)
    breaker.listed(exists, now=now + 60)
    assert breaker.in_force == exists


def test_what_was_there_before_the_start_counts():
    """Of eight that an earlier life knew five are gone by the first listing: not believed before a second one."""
    breaker = Breaker()
    breaker.expect(NAMES, now=0.0)
    assert breaker.in_force == frozenset()
    breaker.listed(NAMES[:3], now=1.0)
    assert breaker.in_force == set(NAMES)
    breaker.listed(NAMES[:3], now=31.0)
    assert breaker.in_force == set(NAMES[:3])


def test_a_few_that_went_while_nobody_looked_are_gone():
    """Three may always go, between two lives too."""
    breaker = Breaker()
    breaker.expect(NAMES, now=0.0)
    breaker.listed(NAMES[3:], now=1.0)
    assert breaker.in_force == set(NAMES[3:])


def test_what_was_there_can_be_told_after_the_listing():
    """The same, in the other order; what is there is not touched."""
    breaker = _full(NAMES[:3])
    breaker.expect(NAMES, now=5.0)
    assert breaker.in_force == set(NAMES)
    assert breaker.look_again_at == 35.0
    breaker.listed(NAMES[:3], now=35.0)
    assert breaker.in_force == set(NAMES[:3])
