"""What is told of a node's warnings, and when."""

from towpath.controller.node.news import JOINING, News
from towpath.model.reason import Reason, Refusal, Why

MISSING = Refusal(Reason.SECRET_MISSING, "no Secret", Why("BGPPeer", "one"))
ADDRESS = Refusal(Reason.NO_ADDRESS, "no RoutingNode yet", Why("RoutingNode", "n1"))


def test_a_warning_is_told_once_while_it_lasts():
    """With other words as well; and again when it comes back."""
    news = News()
    assert news.of([MISSING], now=0) == [MISSING]
    other = Refusal(Reason.SECRET_MISSING, "still no Secret", Why("BGPPeer", "one"))
    assert news.of([other], now=1) == []
    assert not news.waiting
    second = Refusal(Reason.SECRET_MISSING, "no Secret", Why("BGPPeer", "two"))
    assert news.of([MISSING, second], now=2) == [second]
    assert news.of([], now=3) == []
    assert news.of([MISSING], now=4) == [MISSING]


def test_a_node_that_joins_is_no_news():
    """Its addresses come in a moment; only if they do not, it is told."""
    news = News()
    assert news.of([ADDRESS], now=0) == []
    assert news.waiting
    assert news.of([], now=1) == []
    assert not news.waiting
    assert news.of([ADDRESS, MISSING], now=2) == [MISSING]
    assert news.of([ADDRESS, MISSING], now=1 + JOINING) == []
    assert news.of([ADDRESS, MISSING], now=2 + JOINING) == [ADDRESS]


def test_what_the_speaker_tells_itself_is_left_to_it():
    """A refused port comes as a notice of the speaker."""
    news = News()
    assert news.of([Refusal(Reason.LISTEN_REFUSED, "port 179", Why("Node", "n1"))], now=0) == []
    assert not news.waiting
