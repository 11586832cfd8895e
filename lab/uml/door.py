"""A door into a machine that was booted: a program runs inside, and whoever asked has its output, signals and exit code.

    inside    door.py serve DEVICE ADDRESS PORT     gives the device the address, says ``open``, serves until it is ended
    outside   door.py run ADDRESS PORT PROGRAM…     as if it were the program itself, with its environment and input

What ends outside, in whatever way, ends inside. On the way are frames: one byte that says of what, a length, so many bytes.
With the standard library alone: one starts for every short program.
"""

import contextlib
import json
import os
import select
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from typing import IO

_FRAME = struct.Struct("!cI")
_SOME = 1 << 16
_COMMAND, _INPUT, _SIGNAL = b"c", b"i", b"s"
"""What is told inside; no more input is empty input."""
_OUTPUT, _ERRORS, _EXIT = b"o", b"e", b"x"
"""What is told outside."""
_NONESUCH = 127
"""What a shell says where there is no such program."""
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_OWN = ("TMPDIR",)
"""Of the environment, what is each side's own."""


def send(to: socket.socket, kind: bytes, said: bytes) -> None:
    """One frame."""
    to.sendall(_FRAME.pack(kind, len(said)) + said)


def receive(by: socket.socket) -> tuple[bytes, bytes]:
    """The next frame; ``EOFError`` where the other side is gone."""
    kind, length = _FRAME.unpack(_exactly(by, _FRAME.size))
    return kind, _exactly(by, length)


def _exactly(by: socket.socket, length: int) -> bytes:
    whole = bytearray()
    while len(whole) < length:
        try:
            some = by.recv(length - len(whole))
        except ConnectionError:
            some = b""
        if not some:
            raise EOFError("the other side of the door is gone")
        whole += some
    return bytes(whole)


class _Caller(socketserver.BaseRequestHandler):
    """One program that somebody outside asked for."""

    def handle(self) -> None:
        outside: socket.socket = self.request
        _, asked = receive(outside)
        told = json.loads(asked)
        environment = {**told["environment"], **{name: os.environ[name] for name in _OWN if name in os.environ}}
        try:
            child = subprocess.Popen(
                told["command"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            send(outside, _ERRORS, f"{error}\n".encode())
            send(outside, _EXIT, str(_NONESUCH).encode())
            return
        watching = threading.Thread(target=_tell, args=(child, outside))
        watching.start()
        with contextlib.suppress(EOFError):
            while True:
                _pass_in(child, *receive(outside))
        child.kill()
        watching.join()


def _pass_in(child: subprocess.Popen[bytes], kind: bytes, said: bytes) -> None:
    if kind == _SIGNAL:
        child.send_signal(int(said))
        return
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(said)
        child.stdin.flush()
        if not said:
            child.stdin.close()


def _tell(child: subprocess.Popen[bytes], outside: socket.socket) -> None:
    """All that it prints, then how it ended."""
    one_at_a_time = threading.Lock()

    def relay(printed: IO[bytes], kind: bytes) -> None:
        while some := os.read(printed.fileno(), _SOME):
            with one_at_a_time, contextlib.suppress(OSError):  # nobody hears it any more
                send(outside, kind, some)

    assert child.stdout is not None
    assert child.stderr is not None
    errors = threading.Thread(target=relay, args=(child.stderr, _ERRORS))
    errors.start()
    relay(child.stdout, _OUTPUT)
    errors.join()
    code = child.wait()
    with contextlib.suppress(OSError):
        send(outside, _EXIT, str(code if code >= 0 else 128 - code).encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(device: str, address: str, port: int) -> None:
    """Run what is asked for, until this is ended."""
    for words in (("addr", "add", f"{address}/30", "dev", device), ("link", "set", "dev", device, "up")):
        subprocess.run(["ip", *words], check=True)
    with _Server((address, port), _Caller) as server:
        print("open", flush=True)
        server.serve_forever()


def run(address: str, port: int, command: list[str]) -> int:
    """A program's exit code, as a shell has it."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    for number in _PASSED_ON:
        signal.signal(number, lambda *_: None)
    with socket.create_connection((address, port)) as inside:
        inside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(inside, _COMMAND, json.dumps({"command": command, "environment": dict(os.environ)}).encode())
        ready: list[int] = [inside.fileno(), heard, 0]
        while True:
            for one in select.select(ready, [], [])[0]:
                if one == heard:
                    for which in os.read(heard, 1):
                        send(inside, _SIGNAL, str(which).encode())
                elif one == 0:
                    some = os.read(0, _SOME)
                    send(inside, _INPUT, some)
                    if not some:
                        ready.remove(0)
                else:
                    kind, said = receive(inside)
                    if kind == _EXIT:
                        return int(said)
                    _write(1 if kind == _OUTPUT else 2, said)


def _write(descriptor: int, said: bytes) -> None:
    while said:
        said = said[os.write(descriptor, said) :]


def main() -> int:
    """As the module says."""
    what, *words = sys.argv[1:]
    if what == "serve":
        serve(words[0], words[1], int(words[2]))
        return 0
    try:
        return run(words[0], int(words[1]), words[2:])
    except (OSError, EOFError) as error:
        print(f"the machine does not answer: {error}", file=sys.stderr)
        return 255


if __name__ == "__main__":
    sys.exit(main())
