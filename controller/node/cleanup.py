"""``towpath cleanup``: a node as it was before towpath came: no route, tunnel, table, CNI configuration, plugin or file.

What is ours is recognised as ever: routes by their protocol number, devices and the nftables table by their names, the
configuration by its link into our run dir, plugins by their content, sysctls and chains of the plugin for host ports by the
record of what there was. What the machine refuses keeps nothing else from going, and the records stay for the next time.
Running it twice does nothing the second time.
"""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator

import structlog

from towpath.bgp.link import listens
from towpath.controller.health import Health
from towpath.controller.lock import only_one
from towpath.controller.node import forwarding, hostports
from towpath.controller.settings import AgentSettings, CannotRunError
from towpath.ipam.cni import BRIDGE, Places, remove
from towpath.ipam.files import temporary
from towpath.ipam.hostlocal import HostLocal
from towpath.ipam.plugins import Folders, uninstall
from towpath.routes import local, nft
from towpath.routes.devices.devices import Devices
from towpath.routes.podbridge import PodBridge
from towpath.routes.programmer import Programmer
from towpath.routes.shim import PodShim

log = structlog.get_logger()


def main(settings: AgentSettings) -> int:
    """Take everything off; ``CannotRunError`` while agent or speaker run, and where something is left.

    With a health port: then stay until somebody ends it.
    """
    with only_one(settings.run_dir):
        if listens(settings.socket):
            raise CannotRunError(f"a speaker runs at {settings.socket}: end it, peers would go on sending here")
        left = [f"{what} ({error})" for what, undo in _steps(settings) if (error := _refused(undo)) is not None]
        if left:
            raise CannotRunError(f"left on this node: {', '.join(left)}; all else is gone: mend that and run it again")
        shutil.rmtree(settings.run_dir, ignore_errors=True)
        with contextlib.suppress(OSError):  # there is something of others in it, or it is mounted
            settings.state_dir.rmdir()
    log.info("cleanup.done", run_dir=str(settings.run_dir))
    if settings.health_port is not None:
        asyncio.run(_stay(settings.health_port))
    return 0


def _steps(settings: AgentSettings) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is taken off, in this order; each raises ``OSError`` where the machine refuses."""
    net = settings.proc_sys / "net"
    yield "the CNI configuration", lambda: _remove_configurations(settings)
    yield "routes", lambda: asyncio.run(_remove_routes())
    yield "tunnels", lambda: asyncio.run(_remove_devices())
    yield "the nftables table", lambda: asyncio.run(nft.remove())
    yield "what the plugin portmap made", lambda: _remove_chains(settings)
    yield f"the device {BRIDGE}", PodBridge(BRIDGE, proc=net).remove
    yield "the device of pods on the nodes' network", PodShim(proc=net).remove
    yield "CNI plugins", lambda: uninstall(Folders(target=settings.cni_bin_dir, record=settings.plugins))
    yield "sysctls", lambda: forwarding.undo(settings.sysctls, proc_sys=settings.proc_sys)
    yield "the snapshot", lambda: _remove_snapshot(settings)


def _refused(undo: Callable[[], object]) -> str | None:
    """Why it was not done; None: it was."""
    try:
        undo()
    except OSError as error:
        return str(error) or type(error).__name__
    return None


async def _stay(port: int) -> None:
    """Be there for a DaemonSet, which counts nodes whose pod is ready: nobody answers before it is done."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with await Health(dead=lambda: None, unready=lambda: None).serve(port):
        await ended.wait()


async def _remove_routes() -> None:
    programmer = Programmer()
    await programmer.start()
    await programmer.drop_all()
    programmer.close()
    local.desire(())


async def _remove_devices() -> None:
    devices = Devices()
    await devices.start()
    await devices.remove_all()
    devices.close()


def _remove_configurations(settings: AgentSettings) -> None:
    if settings.cni_conf_dir is not None:
        places = Places(run_dir=settings.run_dir, conf_dir=settings.cni_conf_dir)
        for one in (places, *places.networks(settings.cni_networks_dir)):
            remove(one)


def _remove_chains(settings: AgentSettings) -> None:
    """While there is still whatever leads to pods: it is asked who of them is there."""
    conf_dir = settings.cni_conf_dir
    known = HostLocal(Places(run_dir=settings.run_dir, conf_dir=conf_dir).data_dir).records() if conf_dir else []
    hostports.undo(settings.hostports, records=known)


def _remove_snapshot(settings: AgentSettings) -> None:
    for path in (settings.snapshot, temporary(settings.snapshot)):
        path.unlink(missing_ok=True)
