"""What goes to the kernel in one system call, and which answer is to which part of it."""

from bisect import bisect_right
from collections.abc import Sequence

from msgspec import Struct

from towpath.routes.kernel import Batch


class Part(Struct, frozen=True):
    """Consecutive messages of one chunk."""

    sequence: int
    batch: Batch
    wires: Sequence[bytes]


class Chunk:
    """What goes to the kernel in one system call."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.buffers: list[bytes | bytearray] = []
        self.parts: list[Part] = []

    def add(self, buffer: bytearray, *, part: Part) -> None:
        self.buffers.append(buffer)
        self.parts.append(part)
        self.room -= len(buffer)

    def part_of(self, sequence: int) -> Part | None:
        """The part that a message belongs to."""
        position = bisect_right(self.parts, sequence, key=lambda part: part.sequence) - 1
        if position < 0 or sequence - self.parts[position].sequence >= len(self.parts[position].wires):
            return None
        return self.parts[position]
