"""BGPFilter compiled: the filters of one session for one direction and family become one ``Chain`` of rules.

Which rules can apply to a path is a number with a bit a rule. The criteria fall into three groups, each asked as rarely
as it may be: those of the session are settled when the chain is made; those of attributes once for each distinct block
(``Chain.mask``); those of the prefix by ``classes``, for whole UPDATEs. The first rule that matches is the lowest bit
that all of them have. A filter that does not exist stands in its place as one that rejects everything.
"""

import fnmatch
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.attributes import ASPath, Attributes
from towpath.bgp.carried import Carried, carries, prepend
from towpath.bgp.classes import Classes, Match
from towpath.model.kinds.filter import BGPFilterSpec, FilterRule, Operation
from towpath.model.net import Family
from towpath.model.reason import Reason
from towpath.model.speaker import NORMAL_LOCAL_PREF_BASE

K = TypeVar("K", bound=Hashable)
Direction = Literal["import", "export"]
DEFAULT_ROUTE: Final = b"\0"
_NAMED_PRIORITIES: Final = 65535
"""A LOCAL_PREF stands for a priority of 1 to this (RULES: what is accepted)."""


class Changes(Struct, frozen=True):
    """What the operations of a rule come to."""

    communities: tuple[tuple[bool, bytes], ...] = ()
    """In order: whether it is added, and its wire form."""
    prepend: tuple[int, ...] = ()
    local_preference: int | None = None
    med: int | None = None

    @property
    def decide(self) -> bool:
        """Whether they change what decides between paths."""
        return bool(self.prepend) or self.local_preference is not None or self.med is not None

    def apply(self, carried: Carried) -> Carried:
        """The attributes after the operations."""
        sets = {4: dict.fromkeys(carried.communities), 12: dict.fromkeys(carried.large)}
        for added, wire in self.communities:
            if added:
                sets[len(wire)][wire] = None
            else:
                sets[len(wire)].pop(wire, None)
        return replace(
            carried,
            communities=tuple(sorted(sets[4])),
            large=tuple(sorted(sets[12])),
            path=prepend(carried.path, self.prepend),
            local_preference=carried.local_preference if self.local_preference is None else self.local_preference,
            med=carried.med if self.med is None else self.med,
        )


def changed(attributes: Attributes, changes: Changes) -> Attributes:
    """What decides, after a rule's operations."""
    if not changes.decide:
        return attributes
    path = attributes.path
    if changes.prepend:
        first, length = changes.prepend[0], path.length + len(changes.prepend)
        path = ASPath(length, first, path.origin or changes.prepend[-1], None, changes.prepend + path.sequence)
    preference = attributes.local_preference if changes.local_preference is None else changes.local_preference
    med = attributes.med if changes.med is None else changes.med
    return replace(attributes, path=path, local_preference=preference, med=med)


class Rule(Struct, frozen=True):
    """One rule, as far as it is not settled by the session."""

    name: str
    """``BGPFilter/x spec.importV4[0]``, or ``BGPFilter/x`` where the filter does not exist."""
    accept: bool
    reason: Reason
    match: Match | None = None
    remote: bool = False
    """It is about learned routes only."""
    interface: str | None = None
    community: bytes | None = None
    path: tuple[int, ...] = ()
    priority: int | None = None
    changes: Changes = Changes()

    @property
    def names_default(self) -> bool:
        """Whether the rule names the default route, which no other rule can accept."""
        return self.match is not None and not self.match.negated and self.match.cidr.prefixlen == self.match.least == 0


class Chain:
    """The rules of a session's filters for one family and direction, in the order in which they are asked."""

    def __init__(self, family: Family, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._classes = Classes(family, self.matches())
        self._all = (1 << len(rules)) - 1
        self._anywhere = self._bits(lambda rule: rule.match is None)
        self._for_default = self._bits(lambda rule: not rule.accept or rule.names_default)
        self._remote = self._bits(lambda rule: rule.remote)
        self.accepts_remote = any(rule.remote and rule.accept for rule in rules)
        """Whether a rule may accept what is not a candidate otherwise."""
        self._paths: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        for numbers, bits in self._by(lambda rule: rule.path or None):
            self._paths.setdefault(numbers[0], []).append((numbers, bits))
        self._communities = self._by(lambda rule: rule.community)
        self._with_community = self._bits(lambda rule: rule.community is not None)
        self._priorities = dict(self._by(lambda rule: rule.priority))
        self._whatever_path = self._bits(lambda rule: not rule.path)
        self._whatever_priority = self._bits(lambda rule: rule.priority is None)
        globs = self._by(lambda rule: rule.interface)
        self._interfaces = [(re.compile(fnmatch.translate(glob)), bits) for glob, bits in globs]
        self.by_interface = bool(globs)
        """Whether it matters by which interface a route leaves."""

    def __bool__(self) -> bool:
        return bool(self.rules)

    def _bits(self, test: Callable[[Rule], bool]) -> int:
        return sum(1 << at for at, rule in enumerate(self.rules) if test(rule))

    def _by(self, value: Callable[[Rule], K | None]) -> list[tuple[K, int]]:
        found: dict[K, int] = {}
        for at, rule in enumerate(self.rules):
            key = value(rule)
            if key is not None:
                found[key] = found.get(key, 0) | 1 << at
        return list(found.items())

    def mask(self, *, path: tuple[int, ...], priority: int, interface: str, learned: bool = True) -> int:
        """The rules whose criteria of attributes hold, communities apart. ``path``: the numbers that it begins with."""
        mask = self._all if learned else self._all & ~self._remote
        fits = self._whatever_path
        if path and path[0] in self._paths:
            for numbers, bits in self._paths[path[0]]:
                if path[: len(numbers)] == numbers:
                    fits |= bits
        mask &= fits & (self._whatever_priority | self._priorities.get(priority, 0))
        for glob, bits in self._interfaces:
            if not interface or not glob.match(interface):
                mask &= ~bits
        return mask

    def with_communities(self, mask: int, block: bytes) -> int:
        """Of these rules those whose communities a block has."""
        if not mask & self._with_community:
            return mask
        fits = ~self._with_community
        for wire, bits in self._communities:
            if wire in block and carries(block, wire):
                fits |= bits
        return mask & fits

    def looks_for(self, mask: int, blocks: bytes) -> bool:
        """Whether any of these rules asks for a community whose bytes occur in these blocks, one after the other."""
        if not mask & self._with_community:
            return False
        return any(mask & bits and wire in blocks for wire, bits in self._communities)

    def mask_of(self, carried: Carried, *, priority: int, interface: str, learned: bool) -> int:
        """The rules whose criteria of attributes hold, all of them."""
        mask = self.mask(path=carried.sequence, priority=priority, interface=interface, learned=learned)
        for wire, bits in self._communities:
            if not carried.carries(wire):
                mask &= ~bits
        return mask

    def settled(self, mask: int) -> bool:
        """Whether the first of these rules is the same for every prefix."""
        anywhere = mask & self._anywhere
        before = (anywhere & -anywhere) - 1 if anywhere else self._all
        return not mask & ~self._anywhere & before

    def matches(self) -> list[tuple[int, Match]]:
        """The prefix criteria of the rules, each with the bit of its rule."""
        return [(1 << at, rule.match) for at, rule in enumerate(self.rules) if rule.match is not None]

    def fitting(self, mask: int, held: int) -> Rule | None:
        """The first of these rules, where ``held`` are the rules whose prefix criteria hold."""
        return self.rule(mask & (held | self._anywhere))

    def first(self, mask: int, wire: bytes) -> Rule | None:
        """The first of these rules that matches a prefix."""
        return self.fitting(mask, self._classes.of(wire))

    def first_imported(self, mask: int, wire: bytes) -> Rule | None:
        """The same for what comes from a peer: the default route is accepted only by a rule that names it."""
        return self.first(mask & self._for_default if wire == DEFAULT_ROUTE else mask, wire)

    def rule(self, mask: int) -> Rule | None:
        """The first of these rules."""
        return self.rules[(mask & -mask).bit_length() - 1] if mask else None

    def split(self, mask: int, wires: Sequence[bytes]) -> list[tuple[Rule | None, Sequence[bytes]]]:
        """Prefixes by the first of these rules that matches them; not for the default route of a peer."""
        anywhere = mask & self._anywhere
        if self.settled(mask):
            return [(self.rule(anywhere), wires)]
        groups: dict[int, list[bytes] | Sequence[bytes]] = {}
        for held, some in self._classes.split(wires).items():
            bits = mask & (held | anywhere)
            lowest = bits & -bits
            groups[lowest] = [*groups[lowest], *some] if lowest in groups else some
        return [(self.rule(lowest), some) for lowest, some in groups.items()]


def priority_of(local_preference: int | None, normal: int) -> int:
    """The priority that a LOCAL_PREF stands for; the normal one where it stands for none."""
    priority = 0 if local_preference is None else NORMAL_LOCAL_PREF_BASE - local_preference
    return priority if 1 <= priority <= _NAMED_PRIORITIES else normal


def compiled(
    names: Iterable[str], filters: Mapping[str, BGPFilterSpec], *, family: Family, direction: Direction, ebgp: bool
) -> Chain:
    """The chain of a session that names these filters; ``filters`` holds those that exist."""
    field = f"{direction}_v{family.value}"
    rules: list[Rule] = []
    for name in names:
        spec = filters.get(name)
        if spec is None:
            rules.append(Rule(f"BGPFilter/{name}", accept=False, reason=Reason.FILTER_MISSING))
            continue
        for place, rule in enumerate(getattr(spec, field)):
            if rule.peer_type is None or (rule.peer_type == "eBGP") == ebgp:
                rules.append(_rule(f"BGPFilter/{name} spec.{direction}V{family.value}[{place}]", rule, family))
    return Chain(family, rules)


def _rule(name: str, rule: FilterRule, family: Family) -> Rule:
    accept = rule.action == "Accept"
    return Rule(
        name,
        accept=accept,
        reason=Reason.FILTER_ACCEPTED if accept else Reason.FILTER_REJECTED,
        match=_match(rule, family),
        remote=rule.source == "RemotePeers",
        interface=rule.interface,
        community=rule.communities.values[0].wire if rule.communities else None,
        path=tuple(map(int, rule.as_path_prefix)),
        priority=rule.priority,
        changes=_changes(rule.operations),
    )


def _match(rule: FilterRule, family: Family) -> Match | None:
    if rule.cidr is None or rule.match_operator is None:
        return None
    length = rule.cidr.prefixlen
    least, most = length, family.bits if rule.match_operator in {"In", "NotIn"} else length
    if rule.prefix_length is not None:
        least = max(least, rule.prefix_length.min or 0)
        most = min(most, family.bits if rule.prefix_length.max is None else rule.prefix_length.max)
    return Match(rule.cidr, least, most, negated=rule.match_operator in {"NotEqual", "NotIn"})


def _changes(operations: Iterable[Operation]) -> Changes:
    communities: list[tuple[bool, bytes]] = []
    before: tuple[int, ...] = ()
    preference: int | None = None
    med: int | None = None
    for one in operations:
        if one.add_community is not None:
            communities.append((True, one.add_community.value.wire))
        elif one.remove_community is not None:
            communities.append((False, one.remove_community.value.wire))
        elif one.prepend_as_path is not None:
            before = tuple(map(int, one.prepend_as_path.prefix)) + before
        elif one.set_priority is not None:
            preference = NORMAL_LOCAL_PREF_BASE - one.set_priority.value
        elif one.set_local_pref is not None:
            preference = one.set_local_pref.value
        elif one.set_med is not None:
            med = one.set_med.value
    return Changes(tuple(communities), before, preference, med)
