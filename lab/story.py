"""What the demo prints, chapter by chapter, and which of its checks held."""

import contextlib
import time
from collections.abc import Callable

from towpath.lab.process import wait_for
from towpath.lab.table import paint


class Story:
    """What the demo prints, and which of its checks did not hold."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.failed: list[str] = []
        self.held = 0
        self._chapter = 0

    def chapter(self, text: str) -> None:
        """A heading."""
        self._chapter += 1
        clock = paint(f"[{time.monotonic() - self.started:5.1f} s]", "dim")
        print(f"\n{clock} {paint(f'{self._chapter}. {text}', 'bold')}", flush=True)

    def say(self, text: str) -> None:
        """A line of text, or a table."""
        print(text if text.startswith(" ") else f"    {text}", flush=True)

    def check(self, held: bool, text: str) -> None:
        """One thing that must be so."""
        if held:
            self.held += 1
            print(f"    {paint('ok', 'green')}  {text}", flush=True)
        else:
            self.failed.append(text)
            print(f"    {paint('NOT OK', 'red', 'bold')}  {text}", flush=True)

    def wait(self, condition: Callable[[], bool], text: str, *, deadline: float = 30) -> bool:
        """Check something that may take a while, and say how long it took."""
        begun = time.monotonic()
        with contextlib.suppress(AssertionError):
            wait_for(condition, deadline=deadline, what=text, interval=0.03)
            self.check(True, f"{text} ({time.monotonic() - begun:.2f} s)")
            return True
        self.check(False, f"{text}, not within {deadline:.0f} s")
        return False
