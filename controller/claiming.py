"""Objects whose creation is a claim, as one who leads writes them: a change or a deletion carries the version that it was decided on."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import structlog

from towpath.controller.ports import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from towpath.controller.writes import Writer, may_have_happened
from towpath.controller.written import OwnWrites
from towpath.model.decode import encode
from towpath.model.resource import Resource

log = structlog.get_logger(__name__)
R = TypeVar("R", bound=Resource[Any, Any])


class Claiming(Generic[R]):
    """Writes the objects of one kind; knows what was written and is not in the cache yet."""

    def __init__(self, kind: str, writer: Writer, *, clock: Callable[[], float]) -> None:
        self._kind = kind
        self._writer = writer
        self._own: OwnWrites[R] = OwnWrites(kind, clock=clock)
        self.barred: dict[str, R] = {}
        """By name what was claimed and is taken by an object that does not decode."""

    @property
    def uncertain(self) -> Mapping[str, R]:
        """Claims whose answer was lost, by name."""
        return self._own.uncertain

    def over(self, cached: Mapping[str, R]) -> Mapping[str, R]:
        """What the cache shows, with our writes laid over."""
        if self.barred:
            self.barred = {name: claimed for name, claimed in self.barred.items() if name not in cached}
        return self._own.over(cached)

    def doubt(self) -> None:
        """The store was restored from a backup: what was written before may be undone."""
        self._own.doubt()

    def lookups(self) -> Iterable[Awaitable[bool]]:
        """Questions to the API server about every write that the cache should show by now, and claims without an answer."""
        return map(self._look_up, self._own.doubtful())

    async def _look_up(self, name: str, *, uid: str = "") -> bool:
        return await self._writer.look_up(self._own, self._kind, name, uid=uid)

    async def _create(self, wanted: R) -> bool:
        """Claim it; whether it is ours now. What came to nothing is known to be taken, or is asked about before the next plan."""
        name = wanted.name
        try:
            body = await self._writer.write("claim", name, lambda: self._writer.api.create(self._kind, encode(wanted)))
        except AlreadyExistsError:
            log.info("claim.taken", kind=self._kind, name=name)
            if not await self._look_up(name):
                self._own.lost(wanted)
            elif self._own.is_unreadable(name):
                self.barred[name] = wanted
            return False
        except ApiError as error:
            if may_have_happened(error):
                self._own.lost(wanted)
            return self._writer.failed("claim", name, error)
        except BaseException:
            self._own.lost(wanted)  # cancelled with the request under way
            raise
        self._own.wrote(body)
        return True

    async def _replace(self, wanted: R) -> bool:
        """Write it anew, from the version that is in it; whether it was."""
        meta = wanted.meta
        try:
            written = await self._writer.write(
                "change", meta.name, lambda: self._writer.api.replace(self._kind, encode(wanted))
            )
        except (ConflictError, NotFoundError) as error:
            await self._look_up(meta.name, uid=meta.uid)
            return self._writer.failed("change", meta.name, error)
        except ApiError as error:
            return self._writer.failed("change", meta.name, error)
        self._own.wrote(written)
        return True

    async def _delete(self, gone: R) -> bool:
        """Delete it, of this version; whether it is gone."""
        meta = gone.meta
        try:
            await self._writer.write(
                "release",
                meta.name,
                lambda: self._writer.api.delete(
                    self._kind, meta.name, uid=meta.uid, resource_version=meta.resource_version
                ),
            )
        except ConflictError as error:
            await self._look_up(meta.name, uid=meta.uid)
            return self._writer.failed("release", meta.name, error)
        except NotFoundError:
            pass
        except ApiError as error:
            return self._writer.failed("release", meta.name, error)
        self._own.gone(meta.name, uid=meta.uid)
        return True
