"""What a peer was told of one family, and what it must be told to know the present.

What stands in an UPDATE is called NLRI here: a wire prefix, or one behind its path identifier (RFC 7911 §3).
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from towpath.bgp.identified import IDENTIFIER, identifier

Encoded = tuple[bytes, bytes]
"""Next hop and attribute block; where IPv4 goes without MP_REACH_NLRI its next hop is in the block as well."""


class Difference:
    """What is to be said: NLRI by what they are announced with, and NLRI that are withdrawn."""

    def __init__(self) -> None:
        self.announce: dict[Encoded, list[bytes]] = {}
        self.withdraw: list[bytes] = []


class Sent(Protocol):
    """What a peer was told, by wire prefix. ``announced`` and ``withdrawn`` say what has gone out."""

    def __len__(self) -> int:
        """Prefixes that it was told of."""

    def prefixes(self) -> Iterable[bytes]:
        """Those prefixes."""

    def of(self, wire: bytes) -> tuple[Encoded, ...]:
        """What it was told of a prefix, and is not about to be told again."""

    def compare(self, told: tuple[Encoded, ...], wires: Sequence[bytes], difference: Difference) -> None:
        """Add what is to be said so that the peer knows these prefixes by ``told`` alone."""

    def announced(self, encoded: Encoded, nlri: Sequence[bytes]) -> None:
        """NLRI have been announced."""

    def withdrawn(self, nlri: Sequence[bytes]) -> None:
        """NLRI have been withdrawn."""

    def settled(self, told: tuple[Encoded, ...], wires: Iterable[bytes]) -> None:
        """All that is to be said of these prefixes has gone out."""

    def wires(self, nlri: Sequence[bytes]) -> Iterable[bytes]:
        """The prefixes of NLRI."""

    def all(self) -> list[bytes]:
        """The NLRI of everything that the peer was told."""

    def forget(self) -> None:
        """What was announced is to be announced again, or withdrawn."""

    def clear(self) -> None:
        """Everything has been withdrawn."""


class SentPrefixes:
    """One path a prefix."""

    def __init__(self) -> None:
        self._sent: dict[bytes, Encoded | None] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def prefixes(self) -> Iterable[bytes]:
        return self._sent

    def of(self, wire: bytes) -> tuple[Encoded, ...]:
        encoded = self._sent.get(wire)
        return () if encoded is None else (encoded,)

    def compare(self, told: tuple[Encoded, ...], wires: Sequence[bytes], difference: Difference) -> None:
        sent = self._sent
        if not told:
            difference.withdraw += [wire for wire in wires if wire in sent]
            return
        encoded = told[0]
        different = [wire for wire in wires if sent.get(wire) != encoded] if sent else wires
        if different:
            difference.announce.setdefault(encoded, []).extend(different)

    def announced(self, encoded: Encoded, nlri: Sequence[bytes]) -> None:
        self._sent.update(dict.fromkeys(nlri, encoded))

    def withdrawn(self, nlri: Sequence[bytes]) -> None:
        for wire in nlri:
            del self._sent[wire]

    def settled(self, told: tuple[Encoded, ...], wires: Iterable[bytes]) -> None:
        pass

    def wires(self, nlri: Sequence[bytes]) -> Iterable[bytes]:
        return nlri

    def all(self) -> list[bytes]:
        return list(self._sent)

    def forget(self) -> None:
        self._sent = dict.fromkeys(self._sent)

    def clear(self) -> None:
        self._sent.clear()


class SentPaths:
    """Any number of paths a prefix, each with another identifier; sessions that are told the same share the tuples."""

    def __init__(self) -> None:
        self._sent: dict[bytes, tuple[Encoded, ...]] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def prefixes(self) -> Iterable[bytes]:
        return self._sent

    def of(self, wire: bytes) -> tuple[Encoded, ...]:
        return tuple(encoded for encoded in self._sent.get(wire, ()) if encoded[1])

    def compare(self, told: tuple[Encoded, ...], wires: Sequence[bytes], difference: Difference) -> None:
        names = [(identifier(encoded[0]), encoded) for encoded in told]
        for wire in wires:
            before = self._sent.get(wire, ())
            if before is told:
                continue
            for hop, _ in before:
                if all(name != identifier(hop) for name, _ in names):
                    difference.withdraw.append(identifier(hop) + wire)
            for name, encoded in names:
                if encoded not in before:
                    difference.announce.setdefault(encoded, []).append(name + wire)

    def announced(self, encoded: Encoded, nlri: Sequence[bytes]) -> None:
        name = identifier(encoded[0])
        for one in nlri:
            wire = one[IDENTIFIER:]
            before = self._sent.get(wire)
            self._sent[wire] = (*_without(before, name), encoded) if before else (encoded,)

    def withdrawn(self, nlri: Sequence[bytes]) -> None:
        for one in nlri:
            wire = one[IDENTIFIER:]
            left = _without(self._sent[wire], one[:IDENTIFIER])
            if left:
                self._sent[wire] = left
            else:
                del self._sent[wire]

    def settled(self, told: tuple[Encoded, ...], wires: Iterable[bytes]) -> None:
        if told:
            self._sent.update(dict.fromkeys(wires, told))

    def wires(self, nlri: Sequence[bytes]) -> Iterable[bytes]:
        return [one[IDENTIFIER:] for one in nlri]

    def all(self) -> list[bytes]:
        return [identifier(hop) + wire for wire, told in self._sent.items() for hop, _ in told]

    def forget(self) -> None:
        self._sent = {wire: tuple((hop, b"") for hop, _ in told) for wire, told in self._sent.items()}

    def clear(self) -> None:
        self._sent.clear()


def _without(told: tuple[Encoded, ...], name: bytes) -> tuple[Encoded, ...]:
    return tuple(encoded for encoded in told if identifier(encoded[0]) != name)
