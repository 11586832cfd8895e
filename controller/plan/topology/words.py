"""What both drawings say in the same words."""

from typing import Literal

from towpath.controller.plan.topology.graph import Block, Group, Pool, Router, Sessions, Topology

Health = Literal["up", "partly", "down", "planned", "withheld"]


def health(sessions: Sessions) -> Health:
    """How sessions are in one word: as nodes have reported, or planned where none has."""
    running = sessions.count - sessions.withheld
    if running == 0:
        return "withheld"
    if sessions.up is None:
        return "planned"
    return "up" if sessions.up >= running else "partly" if sessions.up else "down"


def sessions_text(sessions: Sessions) -> str:
    """How many there are, of what kind, and how they are."""
    running = sessions.count - sessions.withheld
    kind = "eBGP" if sessions.external else "iBGP"
    whole = "" if sessions.pairs == sessions.possible else f", {sessions.pairs} of {sessions.possible} pairs"
    counted = f"{running} planned" if sessions.up is None else f"{sessions.up} of {running} up"
    withheld = f", {sessions.withheld} withheld" if sessions.withheld else ""
    return f"{kind} {counted}{whole}{withheld}"


def router_text(router: Router) -> str:
    """A router in one line."""
    return f"AS {router.as_number}  {', '.join(router.addresses)}"


def group_text(group: Group) -> str:
    """A group in one line."""
    many = len(group.nodes)
    what = ("route reflector" if group.reflector else "node") + ("" if many == 1 else "s")
    return f"{many} {what}, AS {group.as_number}" + "".join(f"  {subnet}" for subnet in group.subnets)


def block_text(block: Block) -> str:
    """A block in one line: whose pool, how full, and what is special about it."""
    use = "" if block.in_use is None else f"  {block.in_use} of {block.capacity} in use"
    state = "" if block.state == "Active" else f"  {block.state}"
    return f"{block.cidr}  {block.pool or 'no pool'}{use}{state}"


def pool_text(pool: Pool) -> str:
    """A pool in one line."""
    blocks = f"{pool.blocks} of {pool.possible} blocks of /{pool.block_length}"
    said = [f"{pool.name}  {pool.cidr}  {blocks}", *pool.how]
    said += ["disabled"] if pool.disabled else []
    said += ["deleted"] if pool.deleted else []
    return ", ".join(said)


def tunnels_text(devices: tuple[str, ...]) -> str:
    """The devices of a tunnel."""
    return f"tunnel {', '.join(devices)}"


def inner_text(topology: Topology, place: int) -> str:
    """What is among the nodes of one group; empty where there is nothing."""
    sessions, devices = topology.between.get((place, place)), topology.tunnels.get((place, place))
    said = [sessions_text(sessions)] if sessions is not None else []
    said += [tunnels_text(devices)] if devices is not None else []
    return f"among themselves: {', '.join(said)}" if said else ""
