"""What a row of the table of options is made of, and the house in which it is played."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from gateway.errors import ConfigurationError
from tests.llm.dialects import openai_said
from tests.support.gateway import Running, running_gateway
from tests.support.parties import ELICITATION, SAMPLING, Person, llm_config, who
from tests.support.processes import first_line
from tests.support.scripted_http import Exchange, ScriptedHttp, Step, answer, scripted_http

Json = dict[str, Any]
ABSENT = object()
"""In place of a value: the option is not written."""
REFUSED = "refused at start"
ENVIRON = {"TEST_LLM_KEY": "sk-one", "OTHER_KEY": "sk-other", "CLIENT_KEY": "key-of-ann"}
SPEAKING = answer(openai_said("the LLM speaking"))
FILLING = answer(openai_said(json.dumps({"colour": "llm blue", "note": "by the llm"})))
FAILING = answer({"error": {"message": "busy"}}, status=429, headers={"retry-after": "0"})
NOTED = copy.deepcopy(ELICITATION)
NOTED["params"]["requestedSchema"]["properties"]["note"] = {"type": "string"}


def llm(service: str = "one", **settings: Any) -> Json:
    """The block of a scripted service, to be completed with its address."""
    return {"@service": service, **settings}


@dataclass
class Stand:
    """A running gateway with its two services, its client, and the tool that asks."""

    gateway: Running
    services: dict[str, ScriptedHttp]
    person: Person
    client: Any
    tool: str
    folder: Path

    @property
    def requests(self) -> list[Json]:
        """What the first service was asked."""
        return [request.json for request in self.services["one"].requests]

    def release(self) -> None:
        """Let the first service speak, if it is `held`."""
        gates[self.services["one"].port].set()

    async def answers(self, *requests: Json, tool: str | None = None) -> list[Json]:
        """Have the server ask in one call; returns the responses it got, as they were on the wire."""
        asked = {str(number): request for number, request in enumerate(requests)}
        result = await self.client.call_tool(tool or self.tool, {"requests": asked})
        return list(result.structured_content["answers"].values())

    async def answer(self, request: Json, tool: str | None = None) -> Json:
        return (await self.answers(request, tool=tool))[0]

    async def who(self, request: Json | None = None, **params: Any) -> str:
        """Who answers the question; `params` are laid over a sampling request's."""
        return who(await self.answer(request or sampling(**params)))

    async def form(self) -> str:
        return who(await self.answer(ELICITATION))

    async def twice(self, request: Json = SAMPLING) -> list[str]:
        """Who answers, asked twice."""
        return [who(await self.answer(request)) for _ in range(2)]

    async def error(self, request: Json = SAMPLING) -> str:
        return (await self.answer(request))["error"]["message"]

    async def counted(self, *texts: str, **params: Any) -> int:
        """Ask for each text in turn; returns how many requests reached the first service."""
        for text in texts or ("Who are you?",):
            await self.answer(sampling(text, **params))
        return len(self.requests)

    async def sent(self, *names: str, **params: Any) -> Any:
        """What the first service was sent under a name, the first of those that it was sent."""
        await self.answer(sampling(**params))
        return next(self.requests[0][name] for name in names if name in self.requests[0])

    async def content(self) -> Json:
        """What the server gets for a form with an optional field that the client leaves empty."""
        return (await self.answer(NOTED))["result"]["content"]

    async def asked(self, request: Json) -> bool:
        """Whether the client is asked, though the LLM would answer in a moment."""
        await self._left_waiting(request)
        return bool(self.person.asked)

    async def outside(self, request: Json) -> str:
        """Who answers a question that belongs to no call."""
        record = self.folder / "record"
        await self.client.call_tool("raw__ask_outside", {"request": request, "record": str(record)})
        return who(json.loads(await first_line(record)))

    async def patient(self) -> str:
        """Who answers, if the LLM takes a moment to."""
        return who(await self._left_waiting(SAMPLING))

    async def _left_waiting(self, request: Json) -> Json:
        """Ask; let the LLM speak only a moment after it was asked, if there is no answer then."""
        asking = asyncio.ensure_future(self.answer(request))
        arrived = asyncio.ensure_future(self.services["one"].arrived.wait())
        # It is not asked at all where the client's answer is there before its request has left.
        await asyncio.wait((asking, arrived), return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()
        await asyncio.wait((asking,), timeout=_MOMENT)
        self.release()
        return await asking

    async def at_once(
        self, count: int, reached: Callable[[int], bool], then: Callable[[int], bool] | None = None
    ) -> list[str]:
        """Ask as often at once, and return who answered.

        Once `reached` holds, of how many have been answered, the services speak; if there is `then`, one
        more is asked before, and they speak once that holds.
        """
        asking = [
            asyncio.ensure_future(self.answer(sampling(f"Question {number}"))) for number in range(count)
        ]
        async with asyncio.timeout(10):
            while not reached(sum(task.done() for task in asking)):
                await asyncio.wait(asking, timeout=0.01)
            if then is not None:
                asking.append(asyncio.ensure_future(self.answer(sampling("One more"))))
                while not then(sum(task.done() for task in asking)):
                    await asyncio.wait(asking, timeout=0.01)
        self.release()
        return [who(told) for told in await asyncio.gather(*asking)]


Play = Callable[[Stand], Awaitable[Any]]


@dataclass(frozen=True)
class Row:
    """One option: the value is changed, and something else is seen.

    `option` is the model's and the field's name; `at` the place in the file (``tool.…`` in a capability
    file), with indexes as numbers. `base` is what stands in the file beside it, by place. `values` are
    tried in turn, and `seen` is what `play` gives then. `one` and `two` are how the LLM services answer.
    `silent` is a client that never does, `key` one that brings Ann's key, `twin` a second server.
    """

    option: str
    at: str
    values: tuple[Any, Any]
    seen: tuple[Any, Any]
    play: Play
    base: Json = field(default_factory=dict)
    one: Step = SPEAKING
    two: Step = SPEAKING
    person: Person = field(default_factory=Person)
    mode: str = "legacy"
    silent: bool = False
    key: bool = False
    twin: bool = False


_MOMENT = 0.3
gates: dict[int, asyncio.Event] = {}
"""What `held` waits for, by the service's port."""


async def held(exchange: Exchange) -> None:
    """Answer once the play says so."""
    await gates[exchange.server.port].wait()
    await SPEAKING(exchange)


def sampling(text: str = "Who are you?", **params: Any) -> Json:
    request = copy.deepcopy(SAMPLING)
    request["params"]["messages"][0]["content"]["text"] = text
    request["params"].update(params)
    return request


def put(whole: Json, place: str, value: Any) -> None:
    """Set what stands at a place, and make the mappings around it."""
    if value is ABSENT:
        return
    *outer, last = place.split(".")
    current: Any = whole
    for part in outer:
        current = current[int(part)] if isinstance(current, list) else current.setdefault(part, {})
    current[last] = copy.deepcopy(value)


def written(row: Row, value: Any, url: str) -> Json:
    """The configuration of a row with one of its values."""
    whole: Json = {
        "sampling": {"default_sampling_strategy": "gateway_handled", "llm_config": llm()},
        "elicitation": {"default_elicitation_strategy": "gateway_handled"},
        "external_mcp": {"servers": [{"name": "raw", "url": url, "isolation": "call", "era": "handshake"}]},
    }
    if row.twin:
        whole["external_mcp"]["servers"].append({"name": "twin", "url": url, "era": "handshake"})
    if row.key:
        whole["auth"] = {"keys": [{"principal": "ann", "key_env": "CLIENT_KEY"}]}
    for place, given in (*row.base.items(), (row.at, value)):
        put(whole, place, given)
    return {name: block for name, block in whole.items() if block is not None}


def completed(node: Any, services: dict[str, ScriptedHttp]) -> Any:
    """Put the services' addresses in; None takes a key away."""
    if isinstance(node, list):
        return [completed(item, services) for item in node]
    if not isinstance(node, dict):
        return node
    if "@service" in node:
        settings = {name: value for name, value in node.items() if name != "@service"}
        block = {**llm_config(services[node["@service"]]), **settings}
        address = block["base_url"]
        block["base_url"] = services[address[1:]].url + "/v1" if address[0] == "@" else address
        return {name: value for name, value in block.items() if value is not None}
    return {name: completed(value, services) for name, value in node.items() if value is not None}


@asynccontextmanager
async def stand(row: Row, whole: Json, folder: Path) -> AsyncGenerator[Stand]:
    """Serve a configuration, whose `tool` is written to a capability file."""
    async with AsyncExitStack() as stack:
        services = {
            name: await stack.enter_async_context(scripted_http(otherwise=step))
            for name, step in (("one", row.one), ("two", row.two))
        }
        gates[services["one"].port] = asyncio.Event()
        config = completed(whole, services)
        tools = config.pop("tools", None) or []
        (folder / "capabilities").mkdir()
        (folder / "capabilities" / "tools.json").write_text(json.dumps({"tools": tools}))
        config["capabilities"] = {"paths": ["capabilities/tools.json"]}
        gateway = await stack.enter_async_context(running_gateway(folder, config, ENVIRON))
        headers = {"authorization": "Bearer key-of-ann"} if row.key else {}
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=30))
        person = copy.deepcopy(row.person)
        asked: Json = {"sampling_callback": person.sample, "elicitation_callback": person.elicit}
        if row.silent:
            asked = {"sampling_callback": _silent, "elicitation_callback": _silent}
        transport = streamable_http_client(gateway.url, http_client=http)
        info = types.Implementation(name="Desk", version="1")
        client = Client(transport, mode=row.mode, client_info=info, **asked)
        await stack.enter_async_context(client)
        yield Stand(gateway, services, person, client, "raw__ask", folder)


async def _silent(context: Any, params: Any) -> Any:
    """A client that never answers."""
    await asyncio.Event().wait()


async def played(row: Row, value: Any, url: str, folder: Path) -> Any:
    """Play a row with one of its values; a configuration that is refused is seen as such."""
    folder.mkdir()
    try:
        async with stand(row, written(row, value, url), folder) as house:
            return await row.play(house)
    except ConfigurationError:
        return REFUSED
