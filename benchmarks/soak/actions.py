"""What clients do in a soak. Each action returns what went wrong, in words, or nothing.

Every call carries a mark of its own, and must get it back: an answer that reached another's call is an error.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from benchmarks.soak.world import ALL, TRANSPORTS, World
from benchmarks.speed.driver import (
    Answerer,
    Broken,
    Connection,
    Ended,
    Handshake,
    Json,
    Modern,
    Pool,
    Refused,
    request,
)

LIMIT: Final = 20.0
"""Seconds after which an action that has not ended is an error."""
LLM: Final = frozenset({"llm"})


@dataclass
class Person:
    """One client: a session of the handshake era and requests of the modern one. `number` makes marks."""

    world: World
    name: str
    rng: random.Random
    number: int = 0
    session: Handshake | None = None
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = self.world.pool()

    def mark(self) -> str:
        """Return a text that nobody else uses."""
        self.number += 1
        return f"{self.name}-{self.number}"

    @property
    def modern(self) -> Modern:
        """The client of the modern era."""
        return Modern(self.pool)

    async def handshake(self) -> Handshake:
        """The client's session, opened when there is none."""
        if self.session is None:
            self.session = await Handshake(self.pool).open()
        return self.session

    async def either(self, era: str) -> Modern | Handshake:
        """Return the client of an era."""
        return self.modern if era == "modern" else await self.handshake()

    async def leave(self) -> None:
        """End the session, if there is one."""
        session, self.session = self.session, None
        if session is not None:
            await session.close()


@dataclass(frozen=True)
class Step:
    """One action that a plan has chosen: what, against which server, by a client of which era."""

    action: str
    server: str
    era: str
    choice: float


def answering(mark: str) -> Answerer:
    """Answer every question with a mark."""

    def answer(method: str, params: Json) -> Json:  # noqa: ARG001
        if method == "elicitation/create":
            return {"action": "accept", "content": {"city": mark}}
        content = {"type": "text", "text": mark}
        return {"role": "assistant", "content": content, "model": "soak", "stopReason": "endTurn"}

    return answer


def wrong(ended: Ended, text: str) -> str:
    """Return what is wrong with how a call ended, if its result is not this text."""
    if "error" in ended.message:
        error = ended.message["error"]
        return f"error {error['code']}: {error['message']}"
    said = ended.result.get("content") or [{"text": json.dumps(ended.result)}]
    return "" if text in str(said[0].get("text")) else f"got {str(said)[:120]} in the place of {text}"


async def plain(person: Person, step: Step) -> str:
    """Call a tool that asks nothing."""
    mark = person.mark()
    client = await person.either(step.era)
    return wrong(await client.call(f"{step.server}__echo", {"text": mark}), mark)


async def asked(person: Person, step: Step) -> str:
    """Call a tool that asks the client, and answer it at once, or after a moment where it can be parked."""
    mark = person.mark()
    client = await person.either(step.era)
    if step.choice < 0.5:
        return wrong(await client.call(f"{step.server}__ask", {"text": mark}, answering(mark)), mark)
    ended = await client.call(f"{step.server}__ask_elicit", {"text": mark}, answering(mark))
    return wrong(ended, "accept")


async def by_llm(person: Person, step: Step) -> str:
    """Call a tool that asks what the gateway's own LLM answers."""
    client = await person.either(step.era)
    if step.choice < 0.7:
        return wrong(await client.call(f"{step.server}-llm__ask", {}), "the LLM")
    return wrong(await client.call(f"{step.server}-llm__ask_elicit", {}), "accept")


async def abandoned(person: Person, step: Step) -> str:
    """Be asked as a modern client, and never come back."""
    ended = await person.modern.call(f"{step.server}__ask", {"text": person.mark()})
    if "error" in ended.message:
        return wrong(ended, "")
    asks = ended.result.get("resultType") == "input_required"
    return "" if asks else f"a call that asks ended with {str(ended.result)[:120]}"


async def cancelled(person: Person, step: Step) -> str:
    """Cancel a call while it asks, by notification: its stream must end without a response."""
    session = await person.handshake()
    message = request("tools/call", {"name": f"{step.server}__ask", "arguments": {"text": person.mark()}})
    connection = await person.pool.send("POST", session.headers, json.dumps(message).encode())
    try:
        said = await _first(connection)
        if "id" not in said or "method" not in said:
            return "" if "result" in said else f"error before it was cancelled: {str(said)[:160]}"
        about = {"requestId": message["id"], "reason": "injected"}
        await session.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": about})
        async for _, data in connection.events():
            if "method" not in (late := json.loads(data)):
                return f"a cancelled call was answered: {str(late)[:160]}"
        return ""
    finally:
        person.pool.release(connection)


async def closed(person: Person, step: Step) -> str:
    """Close the response of a modern call that is still being worked on."""
    arguments = {"seconds": 1.0, "text": person.mark()}
    call = asyncio.ensure_future(person.modern.call("modern__wait", arguments))
    await asyncio.sleep(0.01 + step.choice / 10)
    call.cancel()
    try:
        ended = await call
    except asyncio.CancelledError:
        return ""
    return wrong(ended, "waited")


async def returning(person: Person, step: Step) -> str:
    """Lose the stream of a call that asks, come back with `Last-Event-ID`, answer, and get the result."""
    mark, session = person.mark(), await person.handshake()
    message = request("tools/call", {"name": f"{step.server}__ask", "arguments": {"text": mark}})
    connection = await person.pool.send("POST", session.headers, json.dumps(message).encode())
    event_id, question = "", {}
    async for found, data in connection.events():
        event_id, question = found, json.loads(data)
        break
    connection.abort()
    if "method" not in question:
        return f"error before the stream was lost: {str(question)[:160]}"
    await asyncio.sleep(step.choice / 20)
    again = await session.listen(event_id)
    try:
        reply = {"jsonrpc": "2.0", "id": question["id"], "result": answering(mark)(question["method"], {})}
        if (status := await session.tell(reply)) != 202:
            return f"the answer was refused with HTTP {status}"
        return wrong(await session.follow(again, message["id"], None), mark)
    finally:
        again.abort()


async def listed(person: Person, step: Step) -> str:
    """List tools; those of servers that are up must be there."""
    client = await person.either(step.era)
    ended = await client.post("tools/list", {})
    if "error" in ended.message:
        return wrong(ended, "")
    names = {tool["name"] for tool in ended.result["tools"]}
    missing = [server for server in TRANSPORTS if f"{server}__echo" not in names]
    return f"the list lacks the tools of {', '.join(missing)}" if missing else ""


async def subscribed(person: Person, step: Step) -> str:
    """Subscribe to changes as a modern client, hear the acknowledgement, and leave."""
    wanted = {"notifications": {"toolsListChanged": True}}
    headers, body, _ = person.modern.encode("subscriptions/listen", wanted, {})
    connection = await person.pool.send("POST", headers, body)
    try:
        said = await _first(connection)
        await asyncio.sleep(step.choice / 5)
        known = said.get("method") == "notifications/subscriptions/acknowledged"
        return "" if known else f"a subscription was answered with {str(said)[:160]}"
    finally:
        connection.abort()


async def renewed(person: Person, step: Step) -> str:
    """Hold a general stream for a moment, end the session, and open another."""
    session = await person.handshake()
    stream = await session.listen()
    await asyncio.sleep(step.choice / 20)
    stream.abort()
    await person.leave()
    await person.handshake()
    return ""


async def told(person: Person, step: Step) -> str:
    """Call a tool that tells of its progress."""
    session = await person.handshake()
    ended = await session.call(f"{step.server}__progress", {"steps": 20}, progressToken=person.mark())
    return wrong(ended, "20 steps") or ("" if ended.told == 20 else f"{ended.told} of 20 notifications came")


async def _first(connection: Connection) -> Json:
    async for _, data in connection.events():
        return json.loads(data)
    raise Broken("the stream ended before anything came")


Action = Callable[[Person, Step], Awaitable[str]]
ACTIONS: dict[str, tuple[Action, int]] = {
    "plain call": (plain, 40),
    "question answered by the client": (asked, 14),
    "question answered by the LLM": (by_llm, 10),
    "parked call abandoned": (abandoned, 3),
    "cancelled while it asks": (cancelled, 4),
    "response stream closed": (closed, 4),
    "stream lost and taken up again": (returning, 4),
    "tools listed": (listed, 5),
    "subscription": (subscribed, 3),
    "session renewed": (renewed, 3),
    "progress": (told, 10),
}
"""Each action with its weight."""
HANDSHAKE_ONLY = frozenset({"cancelled while it asks", "stream lost and taken up again"})


def plan(rng: random.Random) -> Step:
    """Choose the next action."""
    action = rng.choices(list(ACTIONS), [weight for _, weight in ACTIONS.values()])[0]
    return Step(action, rng.choice(TRANSPORTS), rng.choice(("handshake", "modern")), rng.random())


def needs(step: Step) -> frozenset[str]:
    """Return what must be well for an action to succeed."""
    if step.action == "tools listed":
        return ALL
    if step.action == "response stream closed":
        return frozenset({"modern"})
    if step.action in ("subscription", "session renewed"):
        return frozenset()
    return frozenset({step.server}) | (LLM if step.action == "question answered by the LLM" else frozenset())


async def take(person: Person, step: Step) -> str:
    """Take an action within its limit; whatever happens to it comes back in words."""
    try:
        async with asyncio.timeout(LIMIT):
            return await ACTIONS[step.action][0](person, step)
    except TimeoutError:
        return f"nothing came within {LIMIT:g} s"
    except (Broken, OSError) as error:
        return f"{type(error).__name__}: {error}"
    except Refused as error:
        if error.status == 404:
            person.session = None
        return str(error)
