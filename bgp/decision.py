"""The decision process of RFC 4271 §9.1.2: which of several paths to a prefix are used.

Each step strikes paths out of the set of those left; no two paths are ever compared alone, so the order in which they
arrived cannot matter. (MED compares only within one neighbour AS and is therefore no order among paths: a ladder of
pairwise comparisons gave three winners for three paths.)

====================================================  ==========================================================
RFC 4271                                              here
====================================================  ==========================================================
§9.1.2 "if the NEXT_HOP is unresolvable: exclude"     ``via.reachable``
§9.1.1 degree of preference: LOCAL_PREF, or policy    ``_preference``: highest; a session has a default
§9.1.2.2 a) smallest number of AS numbers             ``path.length``: a set counts one (confederations: none)
§9.1.2.2 b) lowest ORIGIN                             ``origin``
§9.1.2.2 c) lowest MED within one neighbour AS        ``_without_worse_med``: absent is zero
§9.1.2.2 d) any eBGP: strike out all iBGP             ``source.ebgp``
§9.1.2.2 e) least interior cost                       ``hop.metric`` as the kernel has it
     multipath: all that are left, one a next hop
§9.1.2.2 f) lowest BGP Identifier (RFC 4456 §9:       ``_identifier``
     ORIGINATOR_ID in its place)
RFC 4456 §9 shortest CLUSTER_LIST                     ``cluster_length``
§9.1.2.2 g) lowest peer address                       ``source.address``, then the session's name, next hop
====================================================  ==========================================================

Local origin has no step: our own announcements are no paths and never in the Loc-RIB.
"""

from collections.abc import Callable, Sequence

from towpath.bgp.path import Path


def best(paths: Sequence[Path], *, maximum_paths: int) -> list[Path]:
    """The used paths, the best one first; empty if none is reachable. Each has another next hop."""
    left = [path for path in paths if path.via.reachable]
    if len(left) > 1:
        left = _least(left, lambda path: -_preference(path))
    if len(left) > 1:
        left = _least(left, lambda path: path.attributes.path.length)
    if len(left) > 1:
        left = _least(left, lambda path: path.attributes.origin)
    if len(left) > 1:
        left = _without_worse_med(left)
    if len(left) > 1:
        left = _least(left, lambda path: not path.via.source.ebgp)
    if len(left) > 1:
        left = _least(left, lambda path: path.via.hop.metric or 0)
    if len(left) > 1:
        left.sort(key=_tie)
        one_a_hop = {id(path.via.hop): path for path in reversed(left)}
        left = [path for path in left if one_a_hop[id(path.via.hop)] is path][:maximum_paths]
    return left


def ranked(paths: Sequence[Path], *, limit: int) -> list[Path]:
    """Up to ``limit`` paths, each with another next hop, in the order in which they would be used as better ones go."""
    found = best(paths, maximum_paths=limit)
    left = paths
    while found and len(found) < limit:
        taken = {id(path.via.hop) for path in found}
        left = [path for path in left if id(path.via.hop) not in taken]
        following = best(left, maximum_paths=limit - len(found)) if left else []
        if not following:
            break
        found += following
    return found


def _least(paths: list[Path], key: Callable[[Path], int]) -> list[Path]:
    least = min(map(key, paths))
    return [path for path in paths if key(path) == least]


def _preference(path: Path) -> int:
    preference = path.attributes.local_preference
    return path.via.source.preference if preference is None else preference


def _without_worse_med(paths: list[Path]) -> list[Path]:
    """A path stays if no other from the same neighbour AS has a lower MED; an empty AS path is our own AS."""
    lowest: dict[int | None, int] = {}
    for path in paths:
        neighbour = path.attributes.path.neighbour
        lowest[neighbour] = min(path.attributes.med, lowest.get(neighbour, path.attributes.med))
    return [path for path in paths if path.attributes.med == lowest[path.attributes.path.neighbour]]


def _identifier(path: Path) -> int:
    originator = path.attributes.originator
    return path.via.source.router_id if originator is None else int.from_bytes(originator, "big")


def _tie(path: Path) -> tuple[int, int, int, str, bytes, bytes]:
    source = path.via.source
    # one session may have several paths (RFC 7911): the identifiers are the peer's own and no order
    last = path.attributes.next_hop, path.block
    return _identifier(path), path.attributes.cluster_length, source.address, source.session, *last
