"""What an agent does about a report of its speaker: numbers alone are passed on, the rest makes the node look at itself again."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace

from towpath.controller.node.bridge import Bridge
from towpath.model.kinds.node import RefusedReport, SessionReport
from towpath.model.reason import Reason
from towpath.model.speaker import Report

UP = SessionReport("a", "10.0.0.9", 64512, "Established")
BLOCK = ip_network("10.1.0.0/26")
FIRST = Report((UP, replace(UP, name="b")), own_blocks=(BLOCK,))
NUMBERS = {"received": 7, "accepted": 7, "announced": 7, "lost": 7, "refused": (RefusedReport(Reason.AS_LOOP, 7),)}


def of_session(**fields: object) -> Report:
    """The first report, with a session that is otherwise."""
    return replace(FIRST, sessions=(replace(UP, **fields), FIRST.sessions[1]))


class Heard:
    """A bridge that is given frames of a speaker, and what it asked for then."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[str] = []
        self.bridge = Bridge(
            "a",
            socket=directory / "speaker.sock",
            routers=directory / "routers.json",
            share=False,
            mtu=lambda _: None,
            tunnelled=lambda *_, **__: None,
            changed=self._noting("step"),
            moved=self._noting("machine"),
            reported=self._noting("status"),
            noticed=lambda _: None,
        )

    def _noting(self, what: str) -> Callable[[], None]:
        return lambda: self.asked.append(what)

    def after(self, report: Report) -> list[str]:
        """What one more report asks for."""
        self.asked.clear()
        self.bridge._frame(report)
        assert self.bridge.report is report
        return self.asked[:]


@pytest.mark.parametrize("field", NUMBERS)
def test_numbers_of_a_session_make_a_status_and_no_step(tmp_path: Path, field: str) -> None:
    """A prefix that comes and goes costs a node with many sessions no look at all of them."""
    heard = Heard(tmp_path)
    assert heard.after(FIRST) == ["step"]
    assert heard.after(of_session(**{field: NUMBERS[field]})) == ["status"]


@pytest.mark.parametrize(
    "report",
    [
        of_session(state="Active"),
        of_session(name="c"),
        replace(FIRST, sessions=(UP,)),
        replace(FIRST, foreign_paths=(BLOCK,)),
        replace(FIRST, own_blocks=()),
        replace(FIRST, deaf=("port 179",)),
        replace(FIRST, keyless=("10.0.0.9",)),
    ],
)
def test_what_a_node_acts_on_makes_a_step(tmp_path: Path, report: Report) -> None:
    """Sessions that come, go, or stand otherwise; paths of others in blocks; where nobody can be heard; keys."""
    heard = Heard(tmp_path)
    heard.after(FIRST)
    assert heard.after(report) == ["step"]
