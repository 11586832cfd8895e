"""Remembering the last answer of a pure function: the same objects give the same answer.

Snapshots are immutable and share every kind that did not change, so identity is enough, and it costs nothing to compare.
"""

import functools
import operator
from collections.abc import Callable
from typing import ParamSpec, TypeVar

A = ParamSpec("A")
R = TypeVar("R")


def remembered(function: Callable[A, R]) -> Callable[A, R]:
    """``function``, which is asked again only for other objects than last time."""
    last: list[tuple[tuple[object, ...], R]] = []

    @functools.wraps(function)
    def answer(*arguments: A.args, **named: A.kwargs) -> R:
        if last and not named and all(map(operator.is_, last[0][0], arguments)):
            return last[0][1]
        result = function(*arguments, **named)
        last[:] = [] if named else [(arguments, result)]
        return result

    return answer
