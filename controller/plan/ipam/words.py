"""What table, text and picture say in the same words."""

from towpath.controller.plan.ipam.shares import Pool, Share, State, addresses

STATES: dict[State, str] = {
    "Active": "active",
    "Draining": "draining",
    "Quarantined": "quarantined",
    "OutOfForce": "overlapped by an older block: out of force",
}
"""From what is usual to what is to be looked at."""


def pool_text(pool: Pool) -> str:
    """A pool in one line: how many of its blocks are taken, and how full those are."""
    said = [f"{pool.name}  {pool.cidr}  {pool.taken} of {pool.possible} blocks of /{pool.block_length} taken"]
    said += [f"{pool.reserved} reserved"] if pool.reserved else []
    use = addresses(pool.shares)
    said += [f"{use[0]} of {use[1]} addresses in use"] if use is not None else []
    said += ["disabled"] if pool.disabled else []
    said += [f"deleted at {pool.deleted}: it goes with its last block"] if pool.deleted is not None else []
    said += [f"the network {pool.network} beside pods' own"] if pool.network is not None else []
    return ", ".join(said)


def share_text(share: Share) -> str:
    """A block in one line: whose it is, how full, and what is special about it."""
    use = "not reported" if share.in_use is None else f"{share.in_use} of {share.capacity} in use"
    state = "" if share.state == "Active" else f"  {share.state}"
    state += f" since {share.since}" if share.since is not None else ""
    return f"{share.cidr}  {share.node}  {use}{state}{'' if share.in_force else '  out of force'}"
