"""``python -m towpath.lab.apiserver --listen ADDRESS:PORT --data FILE``: the server as a process of its own."""

import argparse
import asyncio
import signal
from pathlib import Path

from towpath.lab.apiserver.server import ApiServer


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="towpath.lab.apiserver", description="A small Kubernetes-style API server.")
    parser.add_argument("--listen", default="127.0.0.1:8001", help="ADDRESS:PORT, [V6]:PORT or the path of a socket")
    parser.add_argument("--data", default=":memory:", help="file that keeps the objects")
    parser.add_argument("--bookmarks", type=float, default=10.0, help="seconds between bookmarks of a silent watch")
    parser.add_argument("--unchecked", action="store_true", help="keep objects of our kinds as they are sent")
    arguments = parser.parse_args()
    server = ApiServer(arguments.data, bookmarks=arguments.bookmarks, checked=not arguments.unchecked)
    asyncio.run(_serve(server, arguments.listen))


async def _serve(server: ApiServer, listen: str) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    if listen.startswith("/"):
        await server.listen("", 0, unix=Path(listen))
    else:
        address, _, port = listen.rpartition(":")
        await server.listen(address.strip("[]"), int(port))
    print(f"serving at {server.url}", flush=True)
    await ended.wait()
    await server.close()


main()
