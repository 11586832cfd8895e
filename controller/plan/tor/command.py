"""``towpath plan --tor``: the configuration of the router at the other end, in the words of its make."""

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from towpath.controller.plan.inputs import Inputs
from towpath.controller.plan.tor import bird, eos, frr, gobgp, junos, nxos, openbgpd
from towpath.controller.plan.tor.router import Router, router

MAKES: dict[str, ModuleType] = {
    "bird": bird,
    "frr": frr,
    "gobgp": gobgp,
    "openbgpd": openbgpd,
    "junos": junos,
    "eos": eos,
    "nxos": nxos,
}


def lines(inputs: Inputs, make: str, *, peers: Sequence[str] = (), node: str | None = None) -> Iterator[str]:
    """The file, line by line; ``UsageError`` where it is not clear which router is meant."""
    described = router(inputs, peers=peers, node=node)
    module = MAKES[make]
    render: Callable[[Router], Iterator[str]] = module.render
    yield from (f"{module.COMMENT} {line}" for line in _heading(described, make))
    yield from render(described)


def _heading(described: Router, make: str) -> Iterator[str]:
    addresses = ", ".join(map(str, described.addresses))
    yield f"The router {addresses}, AS {described.local_as}, for its nodes. Made by towpath plan --tor {make}."
    for word in sorted({one.placeholder for one in described.neighbours if one.password is not None}):
        yield f"{word} stands for a password: the value of that key of that Secret."
    yield from (f"NOTE: {remark}" for remark in described.remarks)
