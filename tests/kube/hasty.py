"""Our programs with less patience: every time that is waited for something is a small part of what it is.

So a block goes from node to node within half a minute, many times while processes are killed. What one time has to be
longer than stays shorter than it: peers forget within quarantine, and a node reports many times in it.

    python -m tests.kube.hasty controller ...
"""

import sys

from towpath.controller import breaker, loop, status
from towpath.controller.kube import lease
from towpath.controller.node import records
from towpath.ipam import memory, plan

HOLD_TIME, RESTART_TIME, MARGIN = 6, 4, 8
QUARANTINE = HOLD_TIME + RESTART_TIME + MARGIN
"""Seconds of quarantine where sessions have these times."""
UNWATCHED = 8.0
"""Seconds without a leader in which the store may have been put back: longer than one takes over from another."""
CONFIGURATION = {
    "timers": {"holdTime": f"{HOLD_TIME}s", "keepaliveTime": "2s", "connectRetryTime": "1s"},
    "gracefulRestart": {"restartTime": f"{RESTART_TIME}s"},
}
"""Of BGP, which gives sessions these times."""


class Terms(lease.Terms, frozen=True):
    """Of who leads."""

    duration: int = 5
    deadline: float = 3.5
    retry: float = 0.5


class Limits(status.Limits, frozen=True):
    """Between reports."""

    calm: float = 2.0
    urgent: float = 0.3
    refill: float = 0.5
    watched: float = 1.0


class Pace(loop.Pace, frozen=True):
    """Between looks."""

    period: float = 1.5


def hurry() -> None:
    """Shorten what is waited for, in this process: before anything else of it is imported."""
    plan.HOLD_TIME, plan.MARGIN, plan.GIVE_BACK_AFTER = HOLD_TIME, MARGIN, 8.0
    memory.SUSPICION, memory.UNWATCHED = 5.0, UNWATCHED
    breaker.WINDOW = breaker.CONFIRM_AFTER = 4.0
    records.OBSERVE_EVERY = 1.0
    lease.Terms, status.Limits, loop.Pace = Terms, Limits, Pace  # type: ignore[misc]  # for all who take them from there


if __name__ == "__main__":
    hurry()
    from towpath.controller.cli import main

    sys.exit(main())
