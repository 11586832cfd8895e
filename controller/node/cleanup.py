"""``towpath cleanup``: a node as it was before towpath came: no route, tunnel, table, CNI configuration, plugin or file.

What is ours is recognised as ever: routes by their protocol number, devices and the nftables table by their names, the
configuration by its link into our run dir, plugins by their content, sysctls and chains of the plugin for host ports by the
record of what there was. Running it twice does nothing the second time.
"""

import asyncio
import shutil
import signal

import structlog

from towpath.controller.health import Health
from towpath.controller.lock import only_one
from towpath.controller.node import forwarding, hostports
from towpath.controller.settings import AgentSettings
from towpath.ipam.cni import BRIDGE, Places, remove
from towpath.ipam.files import temporary
from towpath.ipam.plugins import Folders, uninstall
from towpath.routes import local, nft
from towpath.routes.devices.devices import Devices
from towpath.routes.podbridge import PodBridge
from towpath.routes.programmer import Programmer
from towpath.routes.shim import PodShim

log = structlog.get_logger()


def main(settings: AgentSettings) -> int:
    """Take everything off; ``CannotRunError`` while an agent runs. With a health port: then stay until somebody ends it."""
    with only_one(settings.run_dir):
        if settings.cni_conf_dir is not None:
            places = Places(run_dir=settings.run_dir, conf_dir=settings.cni_conf_dir)
            for one in (places, *places.networks(settings.cni_networks_dir)):
                remove(one)
        asyncio.run(_remove_routes())
        asyncio.run(_remove_devices())
        asyncio.run(nft.remove())
        hostports.undo(settings.hostports)
        PodBridge(BRIDGE, proc=settings.proc_sys / "net").remove()
        PodShim(proc=settings.proc_sys / "net").remove()
        uninstall(Folders(target=settings.cni_bin_dir, record=settings.plugins))
        forwarding.undo(settings.sysctls, proc_sys=settings.proc_sys)
        for path in (settings.snapshot, temporary(settings.snapshot)):
            path.unlink(missing_ok=True)
        shutil.rmtree(settings.run_dir, ignore_errors=True)
    log.info("cleanup.done", run_dir=str(settings.run_dir))
    if settings.health_port is not None:
        asyncio.run(_stay(settings.health_port))
    return 0


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
