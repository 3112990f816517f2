"""The client side alone, on a real port, in front of a carrier that acts as its test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.answers.model import DEFERRED, Deferred, InputRequest
from gateway.calls.model import Asked, Call, CallOutcome, LaterAnswer, Resume, Suspended
from gateway.calls.parking import Parking, ParkingLimits
from gateway.calls.relay import Relay
from gateway.config.resolved import ApiKey, Http, Limits, ServerConfig
from gateway.downstream.endpoint import Endpoint
from gateway.downstream.handshake import HandshakeEndpoint
from gateway.downstream.listen import Listeners
from gateway.downstream.load import Load
from gateway.downstream.methods import Methods
from gateway.downstream.modern import ModernEndpoint, ModernServer
from gateway.downstream.retries import Retries
from gateway.downstream.sealing import Sealer
from gateway.downstream.sessions import Sessions
from gateway.downstream.sse import SseEndpoint
from gateway.downstream.subscriptions import Subscriptions
from gateway.downstream.work import InFlight
from gateway.errors import UnknownTarget
from gateway.policy.model import Source
from gateway.security.authentication import ApiKeys
from gateway.security.guard import Guard
from gateway.security.origins import Origins

Behaviour = Callable[[Call, Any], Awaitable[CallOutcome]]


@dataclass
class View:
    tools: list[dict[str, Any]]
    prompts: list[dict[str, Any]] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    templates: list[dict[str, Any]] = field(default_factory=list)
    capabilities: dict[str, Any] = field(
        default_factory=lambda: {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True},
            "logging": {},
        }
    )
    instructions: str | None = "## fake\nBe kind."
    complete: bool = True


@dataclass(frozen=True)
class Target:
    server: str
    params: dict[str, Any]
    exposed: str
    annotations: tuple[tuple[str, bool], ...] = ()


class FakeServers:
    """Locates, views and carries; `behaviours` are the tools by name."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.calls: list[Call] = []
        self.subscribed: list[tuple[str, str]] = []
        self.levels: list[str] = []
        self.schemas: dict[str, dict[str, Any]] = {}

    async def view(self, caller: Any) -> View:
        tools = [
            {"name": name, "inputSchema": self.schemas.get(name, {"type": "object"}), "x-own": {"kept": 1}}
            for name in self.behaviours
        ]
        return View(tools)

    def caching(self, part: str, caller: Any) -> dict[str, Any]:
        return {"ttlMs": 0, "cacheScope": "private"}

    async def tool(self, name: str, caller: Any) -> dict[str, Any] | None:
        return next((tool for tool in (await self.view(caller)).tools if tool["name"] == name), None)

    def server_of(self, method: str, params: dict[str, Any], caller: Any) -> None:
        """Nothing is known of who owns what before it is asked."""

    def known_tool(self, name: str, caller: Any) -> None:
        """Nothing is listed before it is asked for."""

    async def greeting(self) -> View:
        return View([])

    async def locate(self, method: str, params: dict[str, Any], caller: Any) -> Target:
        if method == "tools/call" and params["name"] not in self.behaviours:
            raise UnknownTarget(f"no server has a tool '{params['name']}'")
        return Target("fake", params, str(params.get("name") or params.get("uri")))

    async def call(self, call: Call, scope: Any) -> CallOutcome:
        self.calls.append(call)
        return await self.behaviours[call.params["name"]](call, scope)

    async def subscribe_resource(self, server: str, uri: str, caller: Any) -> None:
        self.subscribed.append((server, uri))

    async def unsubscribe_resource(self, server: str, uri: str, caller: Any) -> None:
        self.subscribed.remove((server, uri))

    async def set_level(self, caller: Any, level: str) -> None:
        self.levels.append(level)

    def expect_news(self) -> None:
        """Every change here is news."""

    def roots_changed(self, identity: Any, params: dict[str, Any]) -> None:
        """Nobody here asks for roots."""


class AskTheClient:
    """Answers every question by the calling client."""

    async def answer(self, request: InputRequest) -> dict[str, Any] | Deferred:
        assert request.call is not None
        if request.call.caller.defers:
            return DEFERRED
        return await request.call.caller.ask(request.method, request.params)

    async def settle(self, call: Call, note: Any, answer: dict[str, Any]) -> dict[str, Any]:
        return answer


@dataclass
class Front:
    """The running client side: `url` for Streamable HTTP, `sse` for the old transport."""

    servers: FakeServers
    sessions: Sessions
    subscriptions: Subscriptions
    in_flight: InFlight
    listeners: Listeners
    handshake: HandshakeEndpoint
    base: str = ""

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    @property
    def sse(self) -> str:
        return f"{self.base}/sse"


def build_front(limits: Limits, http: Http, keys: tuple[ApiKey, ...]) -> tuple[Front, Any]:
    servers = FakeServers()
    in_flight = InFlight(limits.max_calls_per_client, Load(limits))
    subscriptions = Subscriptions(servers, servers, limits.max_subscriptions)
    listeners = Listeners(subscriptions)
    config = ServerConfig("fake", "stdio", Source("servers.yaml", "fake"), timeout=30)
    relay = Relay(servers, servers, AskTheClient(), {"fake": config}, limits.max_call_seconds)
    methods = Methods(relay, servers, limits.page_size)
    sessions = Sessions(methods, in_flight, subscriptions, limits, lambda session: None)
    retries = Retries(methods, Sealer([]), Parking(ParkingLimits(), len))
    modern = ModernServer(methods, in_flight, retries, listeners)
    guard = Guard(Origins(http), ApiKeys(keys))
    sse = SseEndpoint(guard, sessions, http.keepalive_seconds)
    handshake = HandshakeEndpoint(sessions, http.keepalive_seconds)
    routes = {
        "/mcp": Endpoint(
            guard,
            handshake,
            ModernEndpoint(modern, http.keepalive_seconds, limits),
            in_flight,
            limits,
        ),
        "/sse": sse.open,
        "/messages": sse.post,
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await routes[scope["path"]](scope, receive, send)

    return Front(servers, sessions, subscriptions, in_flight, listeners, handshake), app


class Slow:
    """A tool that never ends: `started` is set once it is called, `ended` once its call was cancelled."""

    def __init__(self) -> None:
        self.started, self.ended = asyncio.Event(), asyncio.Event()

    async def __call__(self, _: Call, scope: Any) -> CallOutcome:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return {}


class Held:
    """A tool whose calls end when told: `started` counts them, `go_on` ends them all."""

    def __init__(self) -> None:
        self.started, self.go_on = asyncio.Semaphore(0), asyncio.Event()

    async def __call__(self, _: Call, scope: Any) -> CallOutcome:
        self.started.release()
        await self.go_on.wait()
        return {"content": []}


async def echo(call: Call, scope: Any) -> CallOutcome:
    return {"content": [], "structuredContent": {"params": call.params}, "x-unknown": [1, {"deep": None}]}


async def ask(call: Call, scope: Any) -> CallOutcome:
    """Ask one question as a server of either era would, and return the raw answer."""
    question = {
        "message": "Which?",
        "requestedSchema": {"type": "object", "properties": {"x": {"type": "string"}}},
        "x-own": True,
    }
    if call.resume is not None and "q" in call.resume.answers:
        return {
            "content": [],
            "structuredContent": {"answer": call.resume.answers["q"], "state": call.resume.state},
        }
    answer = await scope.question(Asked("elicitation/create", question), deferrable=True)
    if isinstance(answer, LaterAnswer):
        raw = {"method": "elicitation/create", "params": question}
        return Suspended({"q": raw}, Resume("server state", {}, 1, 1, {"q": 1}))
    return {"content": [], "structuredContent": {"answer": answer}}


async def progress(call: Call, scope: Any) -> CallOutcome:
    token = call.params["_meta"]["progressToken"]
    for number in range(1, 4):
        scope.notification("notifications/progress", {"progressToken": token, "progress": number, "total": 3})
    scope.notification("notifications/message", {"level": "info", "data": "half way"})
    scope.notification("notifications/message", {"level": "error", "data": "done"})
    return {"content": [{"type": "text", "text": "done"}]}
