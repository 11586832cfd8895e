"""``towpath ipam repair``: what of the findings of ``check`` can be mended safely, as a plan, and done where that is asked for."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from towpath.controller.plan.command import GOOD, warn
from towpath.controller.plan.inputs import gathered
from towpath.controller.plan.ipam import check
from towpath.controller.plan.ipam.command import bodies
from towpath.controller.plan.output import Format
from towpath.controller.plan.request import show
from towpath.controller.ports import Api, ApiError, ConflictError, NotFoundError
from towpath.controller.settings import CannotRunError, Source, UsageError
from towpath.ipam.check import Finding
from towpath.ipam.repair import Action, actions
from towpath.model.codec import to_builtins

SCHEMA = "towpath.ipam.repair/1"
LEFT: Final = 6
CHANGED = "it was changed meanwhile: look again"


class Request(Struct, frozen=True):
    """What was asked for on the command line; ``yes``: the plan is carried out."""

    files: tuple[str, ...]
    source: Source
    yes: bool
    style: Format = "table"


def run(request: Request) -> int:
    """Print the plan, carried out or not; the exit code says whether anything is left."""
    if request.files and request.yes:
        raise UsageError("--yes needs a live cluster: of files the plan is printed and no more")
    inputs = gathered(
        bodies(request.files, request.source, check.KINDS), secret_namespace=request.source.secret_namespace
    )
    warn(inputs)
    found = check.everything(inputs)
    planned = actions(inputs.cluster, found, services=inputs.balanced)
    errors: Sequence[str | None] = asyncio.run(_carried_out(planned, request.source)) if request.yes else ()
    said = document(planned, found, errors=errors, done=request.yes)
    show(said, request.style, _lines(said))
    return LEFT if said["left"] or any(one["state"] != "Done" for one in said["actions"]) else GOOD


def document(
    planned: Sequence[Action], found: Sequence[Finding], *, errors: Sequence[str | None], done: bool
) -> dict[str, Any]:
    """The plan for programs, what became of it, and what is left for people."""
    answered = {one.why for one in planned}
    failed = [*errors, *[None] * (len(planned) - len(errors))]
    return {
        "schema": SCHEMA,
        "actions": [
            {
                "object": {"kind": one.why.object.kind, "name": one.why.object.name},
                "action": one.message,
                "why": {
                    "field": one.why.object.field or None,
                    "reason": str(one.why.reason),
                    "message": one.why.message,
                },
                "state": "Planned" if not done else "Failed" if error else "Done",
                "error": error,
            }
            for one, error in zip(planned, failed, strict=True)
        ],
        "left": check.document(one for one in found if one not in answered)["findings"],
    }


async def _carried_out(planned: Sequence[Action], source: Source) -> list[str | None]:
    from towpath.controller.kube.connect import connect

    try:
        async with await connect(server=source.server, kubeconfig=source.kubeconfig) as api:
            return await carry_out(api, planned)
    except ApiError as error:
        raise CannotRunError(str(error)) from error


async def carry_out(api: Api, planned: Sequence[Action]) -> list[str | None]:
    """Do it, one after the other; of each what went wrong, None where nothing did. Each object is of the version that was looked at."""
    return [await _done(api, one) for one in planned]


async def _done(api: Api, action: Action) -> str | None:
    kind, meta = action.why.object.kind, action.meta
    try:
        if action.spec is None:
            await api.delete(kind, meta.name, uid=meta.uid, resource_version=meta.resource_version)
            return None
        body = await api.get(kind, meta.name)
        there = body["metadata"]
        if (there.get("uid", ""), there.get("resourceVersion", "")) != (meta.uid, meta.resource_version):
            return CHANGED
        await api.replace(kind, {**body, "spec": {**body["spec"], **to_builtins(action.spec)}})
    except ConflictError:
        return CHANGED
    except NotFoundError:
        return None if action.spec is None else CHANGED
    except ApiError as error:
        return str(error)
    return None


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    for one in said["actions"]:
        yield f"{one['object']['kind']}/{one['object']['name']}: {one['action']}"
        yield f"    {one['why']['reason']}: {one['why']['message']}"
        if one["state"] != "Planned":
            yield f"    {'not done: ' + one['error'] if one['error'] else 'done'}"
    if any(one["state"] == "Planned" for one in said["actions"]):
        yield "nothing was done yet: --yes does it"
    if said["left"]:
        yield "left for people:"
        yield from (f"  {line}" for line in check.lines(said["left"]))
    elif not said["actions"]:
        yield "all fits together"
