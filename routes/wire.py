"""Concatenated wire prefixes taken apart at the speed of slices: most frames hold prefixes of one size."""


def split(packed: bytes) -> list[bytes]:
    """The wire prefixes of a frame (``net.split_wire`` one by one; here in runs of equal size)."""
    found: list[bytes] = []
    position, end = 0, len(packed)
    while position < end:
        size = 1 + ((packed[position] + 7) >> 3)
        stop = _same_size(packed, position, size=size)
        found += [packed[offset : offset + size] for offset in range(position, stop, size)]
        position = stop
    return found


def _same_size(packed: bytes, start: int, *, size: int) -> int:
    """Where the run of prefixes of this size ends that begins at ``start``; never short of one prefix."""
    lengths = packed[start::size]
    lowest, highest = (size - 2) * 8 + 1 if size > 1 else 0, (size - 1) * 8
    if min(lengths) >= lowest and max(lengths) <= highest:
        return len(packed)
    for count, length in enumerate(lengths):
        if not lowest <= length <= highest:
            return start + count * size
    return len(packed)
