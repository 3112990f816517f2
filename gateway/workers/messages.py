"""What the supervisor and its workers tell each other, over a pair of sockets that nobody else holds.

Down goes one `Hello`, pickled behind its length: the configuration as it was checked, secrets
and keys included, so that every worker runs the same whatever has become of the files since.
Up come lines of JSON. When either end closes, the other process is gone.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import orjson

from gateway.config.resolved import GatewayConfig

_LENGTH: Final = struct.Struct("!Q")

State = Literal["serving", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker is. `family` is the address family of the connections that it will be given."""

    config: GatewayConfig
    index: int
    count: int
    folder: Path
    family: int


@dataclass(frozen=True, slots=True)
class Word:
    """What became of a worker. `servers` describe the servers of one that is ready, one a line.

    ``serving``: it takes connections. ``ready``: it has tried every server. ``failed``: it
    cannot start, and `problem` says why.
    """

    state: State
    servers: tuple[str, ...] = ()
    problem: str = ""


def greeting(hello: Hello) -> bytes:
    """Return the bytes of a `Hello`."""
    told = pickle.dumps(hello)
    return _LENGTH.pack(len(told)) + told


def greeted(control: socket.socket) -> Hello:
    """Wait for the supervisor's `Hello`.

    Raises:
        EOFError: the supervisor is gone.
    """
    (length,) = _LENGTH.unpack(_exactly(control, _LENGTH.size))
    hello = pickle.loads(_exactly(control, length))
    assert isinstance(hello, Hello)
    return hello


def _exactly(control: socket.socket, size: int) -> bytes:
    read = bytearray()
    while len(read) < size:
        part = control.recv(size - len(read))
        if not part:
            raise EOFError
        read += part
    return bytes(read)


def line(word: Word) -> bytes:
    """Return the line of a worker's word."""
    return orjson.dumps(asdict(word)) + b"\n"


async def read_word(reader: asyncio.StreamReader) -> Word | None:
    """Return a worker's next word; None when it says no more."""
    try:
        said = await reader.readline()
    except ConnectionResetError:
        return None
    if not said.endswith(b"\n"):
        return None
    fields = orjson.loads(said)
    return Word(fields["state"], tuple(fields["servers"]), fields["problem"])
