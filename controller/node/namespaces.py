"""The labels of namespaces, while any pool selects some: a sink for a reflector, or for a folder."""

from collections.abc import Callable, Mapping

import structlog

from towpath.controller.following import AtTimes, Body, Gathered, labels_of
from towpath.controller.ports import Api, ApiError
from towpath.ipam.apart import Labels
from towpath.model.cluster import Cluster

log = structlog.get_logger()
KIND = "Namespace"


class WatchedNamespaces(AtTimes):
    """By name. ``changed`` is called when labels did, or namespaces came or went."""

    def __init__(self, *, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed
        self.labels: Mapping[str, Labels] = {}
        """The same object as before while nothing changed."""
        self._listed = False

    @property
    def known(self) -> Mapping[str, Labels] | None:
        """The labels; None: they matter, and nobody has said yet what there is."""
        return self.labels if self._listed or self.unwanted.is_set() else None

    def want(self, cluster: Cluster) -> None:
        """Follow them where a pool selects some; else forget them."""
        for_pods = (pool.spec for pool in cluster.pools.values() if not pool.spec.for_services)
        selected = any(one.namespace_selector and not one.is_common for one in for_pods)
        self.be_wanted(selected)
        if not selected:
            self.labels, self._listed = {}, False

    async def labels_of(self, name: str, api: Api) -> Labels | None:
        """The labels of one; None: nobody can say. One that is not known yet is asked for."""
        if self.unwanted.is_set() or name in self.labels:
            return self.labels.get(name, {})
        try:
            return labels_of(await api.get(KIND, name))
        except ApiError as error:
            log.warning("namespaces.not_known", namespace=name, error=str(error), remedy="none needed once it answers")
            return None

    # -- what a reflector or a folder calls -----------------------------------------------------------------------------

    def listing(self, kind: str) -> Gathered[Labels]:
        """A list begins."""
        del kind
        return Gathered(lambda body: (str(body["metadata"]["name"]), labels_of(body)), self._become_all)

    def upserted(self, kind: str, body: Body) -> None:
        """A namespace was added or changed."""
        del kind
        self._become({**self.labels, str(body["metadata"]["name"]): labels_of(body)})

    def deleted(self, kind: str, name: str) -> None:
        """A namespace is gone."""
        del kind
        self._become({key: one for key, one in self.labels.items() if key != name})

    def refused(self, kind: str, message: str) -> None:
        """Not allowed: pods of namespaces that are not known wait."""
        log.warning("namespaces.refused", kind=kind, error=message, remedy="allow get, list and watch of namespaces")

    def _become_all(self, labels: Mapping[str, Labels]) -> None:
        first, self._listed = not self._listed, self.wanted.is_set()
        if first and labels == self.labels:
            self._changed()
        self._become(labels)

    def _become(self, labels: Mapping[str, Labels]) -> None:
        if labels != self.labels and self.wanted.is_set():
            self.labels = labels
            self._changed()
