"""Which ways to next hops off the link hold while a speaker starts."""

from ipaddress import ip_address, ip_network

from towpath.controller.node.leading import Leading

ONE, OTHER = ip_address("10.0.0.1"), ip_address("10.0.0.2")
EVERYTHING, RACK = ip_network("0.0.0.0/0"), ip_network("10.9.0.0/16")


def restarted() -> Leading:
    """A speaker after one that was told the default route by two routers, and another route by one of them."""
    leading = Leading()
    leading.tell({EVERYTHING: (ONE, OTHER), RACK: (ONE,)})
    leading.begin()
    return leading


def test_what_was_told_before_holds_until_the_speaker_is_in_sync() -> None:
    """Told again by one of two, both are used; what is not told again is over in the end."""
    leading = restarted()
    assert leading.ways == {EVERYTHING: (ONE, OTHER), RACK: (ONE,)}
    leading.tell({EVERYTHING: (OTHER,)})
    assert {prefix: set(by) for prefix, by in leading.ways.items()} == {EVERYTHING: {ONE, OTHER}, RACK: {ONE}}
    leading.trust()
    assert leading.ways == {EVERYTHING: (OTHER,)}


def test_a_way_that_was_told_again_and_taken_back_is_over() -> None:
    """The neighbour itself said so; what it has not spoken of since stays."""
    leading = restarted()
    leading.tell({EVERYTHING: (ONE,)})
    leading.tell({})
    assert leading.ways == {EVERYTHING: (OTHER,), RACK: (ONE,)}


def test_a_neighbour_that_has_told_all_it_has_holds_nothing_former() -> None:
    """Of the others what was told before still holds, over a second restart too."""
    leading = restarted()
    leading.tell({EVERYTHING: (ONE,)})
    leading.hear([ONE])
    assert leading.ways == {EVERYTHING: (ONE, OTHER)}
    leading.begin()
    assert leading.ways == {EVERYTHING: (ONE, OTHER)}
    leading.hear([ONE, OTHER])
    assert leading.ways == {}
