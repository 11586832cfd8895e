"""pyroute2's route message without the rest of pyroute2.

The package imports all that it has as soon as one module of it is wanted: conntrack, nftables, a database. That is a third
of the agent's start, and 11 MB that it would carry along for ever. So its front door is passed by while its module for
route messages is imported, and is as closed as before afterwards: who imports pyroute2 later gets all of it.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def _without_facade(package: str) -> Iterator[None]:
    """Modules of a package can be imported meanwhile, and its ``__init__`` is not run for them."""
    spec = None if package in sys.modules else importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        yield  # it is imported already, or is nowhere: then the import says so
        return
    facade = ModuleType(package)
    facade.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = facade
    try:
        yield
    finally:
        del sys.modules[package]


with _without_facade("pyroute2"):
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = ["rtmsg"]
