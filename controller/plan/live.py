"""The objects of a live cluster, listed once: what ``-f`` reads from files."""

import asyncio
from collections.abc import Collection, Iterable

from towpath.controller.kube.connect import connect
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.plan.inputs import Body
from towpath.controller.ports import ApiError, ForbiddenError, NotFoundError, every
from towpath.controller.settings import CannotRunError, Source

_OPTIONAL = (NotFoundError, ForbiddenError)


def listed(source: Source, kinds: Iterable[str], *, secrets: bool = False, spared: Collection[str] = ()) -> list[Body]:
    """All objects of some kinds; ``CannotRunError`` where the API server does not give them.

    ``secrets``: those of towpath's namespace too, where they may be read. ``spared``: kinds without which it goes on where they
    may not be read.
    """
    return asyncio.run(_listed(source, tuple(kinds), secrets=secrets, spared={"Secret", "ServiceCIDR", *spared}))


def pods(source: Source, *, namespace: str, name: str) -> list[Body]:
    """The pod of that name, if there is one; ``CannotRunError`` where the API server does not answer."""

    async def found() -> list[Body]:
        async with await connect(server=source.server, kubeconfig=source.kubeconfig) as api:
            # listed, not read: that much an agent's account may do
            page = await api.list("Pod", namespace=namespace, field_selector=f"metadata.name={name}")
        return [{"apiVersion": "v1", "kind": "Pod", **item} for item in page.items]

    try:
        return asyncio.run(found())
    except ApiError as error:
        raise CannotRunError(str(error)) from error


async def _listed(source: Source, kinds: tuple[str, ...], *, secrets: bool, spared: Collection[str]) -> list[Body]:
    wanted = [(kind, "") for kind in kinds if kind in RESOURCES]
    if secrets:
        wanted.append(("Secret", source.secret_namespace))
    bodies: list[Body] = []
    try:
        async with await connect(server=source.server, kubeconfig=source.kubeconfig) as api:
            for kind, namespace in wanted:
                version = RESOURCES[kind].api_version
                try:
                    found = every(api, kind, namespace=namespace, limit=0)
                    bodies += [{"apiVersion": version, "kind": kind, **item} async for item in found]
                except _OPTIONAL:
                    # passwords that cannot be read are reported where they are named; ranges need not be there
                    if kind not in spared:
                        raise
    except ApiError as error:
        raise CannotRunError(str(error)) from error
    return bodies
