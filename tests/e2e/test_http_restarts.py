"""An HTTP server that is killed and started again, of the same era or the other: calls go on."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from tests.support.gateway import running_gateway
from tests.support.listening import free_port_socket
from tests.support.parties import Person
from tests.support.processes import Era, asking_command, ready_line, stop

DEADLINE = 20


class Place:
    """An address at which one server after another listens; the next is ready to, but waits to be let."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder, self._stack = folder, stack
        with free_port_socket() as listener:
            self._port = listener.getsockname()[1]
        self._count = 0
        self.process: asyncio.subprocess.Process | None = None

    @property
    def entry(self) -> dict[str, Any]:
        return {"name": "s", "endpoint": f"http://127.0.0.1:{self._port}/mcp"}

    async def prepare(self, era: Era) -> tuple[asyncio.subprocess.Process, Path]:
        """Start a process that will serve once its file is there."""
        self._count += 1
        let = self._folder / f"serve{self._count}"
        options = ("--port", str(self._port), "--start-when", str(let))
        process = await asyncio.create_subprocess_exec(
            *asking_command(*options, transport="http", era=era), stdout=asyncio.subprocess.PIPE
        )
        self._stack.push_async_callback(stop, process)
        return process, let

    async def let(self, prepared: tuple[asyncio.subprocess.Process, Path]) -> None:
        """Have a prepared server serve in the place of the one before, which is killed."""
        await self.kill()
        self.process, let = prepared
        let.touch()
        await ready_line(self.process)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def errors_until_it_works(client: Any) -> list[str]:
    """Call until the call is answered; return what was said meanwhile."""
    said: list[str] = []
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                result = await client.call_tool("s__echo", {"text": "hello"})
            except MCPError as error:
                said.append(str(error))
                await asyncio.sleep(0.05)
                continue
            assert "hello" in result.content[0].text
            return said


@pytest.mark.parametrize(
    ("mode", "before", "after"), [("legacy", "handshake", "modern"), ("2026-07-28", "modern", "handshake")]
)
async def test_calls_go_on_after_one_honest_error_at_most(
    tmp_path: Path, mode: str, before: Era, after: Era
) -> None:
    async with AsyncExitStack() as stack:
        place = Place(tmp_path, stack)
        first, same, other = [await place.prepare(era) for era in (before, before, after)]
        await place.let(first)
        config = {"external_mcp": {"servers": [place.entry]}}
        gateway = await stack.enter_async_context(running_gateway(tmp_path, config))
        client = await stack.enter_async_context(Person().client(gateway.url, mode))
        assert await errors_until_it_works(client) == []

        # Killed and started again while nothing is called: of the same era, and of the other.
        for following in (same, other):
            await place.let(following)
            said = await errors_until_it_works(client)
            assert len(said) <= 1, said
            assert all("server 's'" in each for each in said), said
            assert await errors_until_it_works(client) == []

        # Gone: whatever is called is told so, and nothing waits for ever.
        await place.kill()
        with pytest.raises(MCPError, match=r"'s'|s__echo"):
            async with asyncio.timeout(DEADLINE):
                await client.call_tool("s__echo", {"text": "hello"})
