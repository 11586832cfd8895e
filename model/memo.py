"""Remembering the last answer of a pure function: the same objects give the same answer.

Snapshots are immutable and share every kind that did not change, so identity is enough, and it costs nothing to compare.
"""

import functools
from collections.abc import Callable
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")


def remembered(function: Callable[[A], R]) -> Callable[[A], R]:
    """``function``, which is asked again only for another object than last time."""
    last: list[tuple[A, R]] = []

    @functools.wraps(function)
    def answer(argument: A) -> R:
        if last and last[0][0] is argument:
            return last[0][1]
        result = function(argument)
        last[:] = [(argument, result)]
        return result

    return answer
