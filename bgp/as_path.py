"""AS_PATH, taken apart: segments of (type, AS numbers), and what an old peer's two-byte path says with AS4_PATH beside it."""

from typing import Final

SET: Final = 1
SEQUENCE: Final = 2
CONFED_SEQUENCE: Final = 3
CONFED_SET: Final = 4


def read_segments(value: bytes, width: int) -> list[tuple[int, tuple[int, ...]]] | None:
    """Segments of an AS_PATH as (type, numbers) with ``width`` bytes a number; None: malformed (RFC 7606 §7.2)."""
    segments = []
    position, end = 0, len(value)
    while position < end:
        if position + 2 > end:
            return None
        kind, count = value[position], value[position + 1]
        following = position + 2 + count * width
        if not SET <= kind <= CONFED_SET or count == 0 or following > end:
            return None
        numbers = tuple(int.from_bytes(value[at : at + width], "big") for at in range(position + 2, following, width))
        segments.append((kind, numbers))
        position = following
    return segments


def _hops(segments: list[tuple[int, tuple[int, ...]]]) -> int:
    return sum(len(numbers) if kind == SEQUENCE else 1 if kind == SET else 0 for kind, numbers in segments)


def merge_as4(
    two: list[tuple[int, tuple[int, ...]]],
    four: list[tuple[int, tuple[int, ...]]],
) -> list[tuple[int, tuple[int, ...]]]:
    """As many leading hops of the two-byte path as AS4_PATH lacks, then AS4_PATH (RFC 6793 §4.2.3)."""
    missing = _hops(two) - _hops(four)
    if missing < 0:
        return two
    leading: list[tuple[int, tuple[int, ...]]] = []
    for kind, numbers in two:
        if kind in {CONFED_SEQUENCE, CONFED_SET}:
            leading.append((kind, numbers))
        elif missing <= 0:
            break
        elif kind == SET:
            leading.append((kind, numbers))
            missing -= 1
        else:
            leading.append((kind, numbers[:missing]))
            missing -= len(leading[-1][1])
    return leading + four
