"""The composition root: configuration in, a running gateway out. Only here do the parts meet."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from gateway.answers.cache import AnswerCache
from gateway.answers.factory import build_broker
from gateway.answers.model import Deferred, InputRequest
from gateway.calls.elicitations import Elicitations
from gateway.calls.model import Asked, ChannelClosed, Identity, Json, Nobody
from gateway.calls.parking import Parking, ParkingLimits
from gateway.calls.relay import Relay
from gateway.capabilities.registry import unmatched, warning
from gateway.config.resolved import Costs, GatewayConfig
from gateway.downstream.endpoint import Endpoint
from gateway.downstream.exchange import Receive, Scope, Send
from gateway.downstream.handshake import HandshakeEndpoint
from gateway.downstream.listen import Listeners
from gateway.downstream.load import Load
from gateway.downstream.methods import Methods
from gateway.downstream.modern import ModernEndpoint, ModernServer
from gateway.downstream.pages import pages
from gateway.downstream.retries import Retries
from gateway.downstream.sealing import Sealer
from gateway.downstream.session import Session, SessionCaller
from gateway.downstream.sessions import Sessions
from gateway.downstream.sse import MESSAGES_PATH, SseEndpoint
from gateway.downstream.stdio import StdioEndpoint
from gateway.downstream.subscriptions import LIST_CHANGED, Subscriptions
from gateway.downstream.work import InFlight
from gateway.errors import ConfigurationError, ProviderError, QuestionRefused, ServerUnavailable
from gateway.llm.budgets import Metering
from gateway.llm.chain import Chain
from gateway.llm.ledger import MemoryLedger
from gateway.llm.port import Ledger, Llm
from gateway.llm.registry import Services, build_llm, calls_tools
from gateway.llm.shared_ledger import SharedLedger
from gateway.observability.decisions import DecisionLog
from gateway.policy.model import KINDS, Kind
from gateway.security.authentication import ApiKeys
from gateway.security.exposure import exposure_problem
from gateway.security.guard import Guard
from gateway.security.origins import Origins
from gateway.upstream.dial import dialer_for
from gateway.upstream.events import (
    ElicitationCompleted,
    FleetEvent,
    ListChanged,
    ServerStatus,
    SessionLogged,
)
from gateway.upstream.fleet import Fleet
from gateway.wire import jsonrpc
from gateway.workers.ownership import Seat

logger = logging.getLogger(__name__)

STOP_GRACE = 2.0
"""Seconds calls in flight have to end by themselves when the gateway stops."""
_GATHERING = 0.002
"""Seconds without another question after which a parked call's round has what its server asks together."""
_SETTLE = 10.0
"""Seconds after which the gateway is ready even if a server still starts for the first time."""


class Gateway:
    """A gateway and everything it owns. Use `running()` around serving `app`.

    `seat` is its place where it is one of several workers that serve one address.

    Raises:
        ConfigurationError: it would be open to strangers.
    """

    def __init__(self, config: GatewayConfig, seat: Seat | None = None) -> None:
        if (problem := exposure_problem(config)) is not None:
            raise ConfigurationError([problem])
        self.config = config
        self.log = DecisionLog(config.decisions_kept)
        services: Services = {}
        self._chains = (
            build_llm(config.sampling_llm, services),
            build_llm(config.elicitation_llm, services),
        )
        self.llms: Mapping[Kind, Llm] = {"sampling": self._chains[0], "elicitation": self._chains[1]}
        costs = config.costs
        self._seat = seat
        self._metering = Metering(costs.budgets, _ledger(costs, seat))
        self._cache = AnswerCache(config.sampling_cache)
        self.broker = build_broker(
            config,
            self.llms,
            self.log,
            meter=self._metering,
            cache=self._cache,
            queued=lambda kind: self._chains[KINDS.index(kind)].queued,
        )
        self.fleet = self._build_fleet()
        self._elicitations = Elicitations(self._tell_session)
        self._load = Load(config.limits)
        self._in_flight = InFlight(config.limits.max_calls_per_client, self._load)
        self._subscriptions = Subscriptions(self.fleet.catalog, self.fleet, config.limits.max_subscriptions)
        self._listeners = Listeners(self._subscriptions)
        self._methods = self._build_methods()
        self._sessions = Sessions(
            self._methods,
            self._in_flight,
            self._subscriptions,
            config.limits,
            self._session_ended,
            prefix=seat.prefix if seat is not None else "",
        )
        self._parking = Parking(
            _parking_limits(config),
            lambda result: len(jsonrpc.encode(result)),
            seat.owner if seat is not None else None,
            gathering=_GATHERING,
        )
        # A state outlives its call by as long as the call's outcome is kept: the client is told of it.
        lifetime = config.limits.max_call_seconds + config.limits.parked_result_seconds
        self._sealer = Sealer(config.state_keys, ttl=lifetime)
        retries = Retries(self._methods, self._sealer, self._parking)
        self._modern = ModernServer(self._methods, self._in_flight, retries, self._listeners)
        self.app = Application(self)
        self._ready = asyncio.Event()
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[Gateway]:
        """Start the servers and the housekeeping; stop everything on the way out."""
        forget = self.fleet.subscribe(self._fleet_changed)
        try:
            async with asyncio.TaskGroup() as tasks:
                await self.fleet.start()
                self._load.start()
                housekeeping = [
                    tasks.create_task(self._sessions.expire_idle()),
                    tasks.create_task(self._become_ready()),
                ]
                try:
                    yield self
                finally:
                    for task in housekeeping:
                        task.cancel()
                    self._load.stop()
                    await self.stop_serving()
        finally:
            forget()
            await self.fleet.aclose()
            await self.broker.aclose()
            self.log.settle()
            for llm in self.llms.values():
                await llm.aclose()

    async def stop_serving(self) -> None:
        """End every stream and call, so that the listener can close. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        self._listeners.stop()
        await self._in_flight.stop(
            ServerUnavailable("backchannel", "the gateway is stopping; call again"), STOP_GRACE
        )
        await self._parking.aclose()
        await self._sessions.end_all("the gateway is stopping")

    @property
    def ready(self) -> bool:
        """Whether every server has been tried once and the gateway is not stopping."""
        return self._ready.is_set() and not self._stopping

    async def wait_ready(self) -> None:
        """Wait until every server has been tried once."""
        await self._ready.wait()

    def owner_of_state(self, state: Any) -> str | None:
        """Return who has parked the call that a `requestState` belongs to; None if it is no parked call's."""
        return self._sealer.owner_of(state)

    def chains(self) -> Sequence[Chain]:
        """Return the chains of LLM providers, for probing."""
        return self._chains

    def servers(self) -> Sequence[ServerStatus]:
        """Return the state of every server."""
        return self.fleet.status()

    def calls(self) -> Json:
        """Return how many calls run, wait for clients, came with a state that was refused, or for load."""
        return {
            "in_flight": len(self._in_flight),
            "parked": len(self._parking),
            "refused_states": self._sealer.refused,
            **({"forwarded": self._seat.forwarded} if self._seat is not None else {}),
            **self._load.status(),
        }

    def llm(self) -> Json:
        """Return the providers of each kind, with their circuits and what they are doing, and the cache."""
        chains = {kind: chain.status() for kind, chain in zip(KINDS, self._chains, strict=True)}
        return {**chains, "cache": self._cache.status()}

    def costs(self, by: Sequence[str], day: str | None) -> Json:
        """Return what was spent on the LLM, summed by some columns, and what is left of budgets.

        Raises:
            ValueError: a column that there is not.
        """
        return {"rows": self._metering.ledger.rows(by, day), "budgets": self._metering.status()}

    def decisions(
        self, count: int, server: str | None = None, kind: str | None = None, source: str | None = None
    ) -> Sequence[Json]:
        """Return the latest decisions, newest first."""
        return self.log.recent(count, server=server, kind=kind, source=source)

    def stdio(self) -> StdioEndpoint:
        """Return the endpoint for one client at standard input and output."""
        return StdioEndpoint(self._sessions, self._modern)

    def routes(self) -> Mapping[str, Any]:
        """Return the ASGI application of each MCP path."""
        http, limits = self.config.http, self.config.limits
        guard = self.guard()
        handshake = HandshakeEndpoint(self._sessions, http.keepalive_seconds)
        modern = ModernEndpoint(self._modern, http.keepalive_seconds, limits)
        sse = SseEndpoint(guard, self._sessions, http.keepalive_seconds)
        return {
            "/mcp": Endpoint(guard, handshake, modern, self._in_flight, limits),
            "/sse": sse.open,
            MESSAGES_PATH: sse.post,
        }

    def guard(self) -> Guard:
        """Return the door keeper of this configuration."""
        return Guard(Origins(self.config.http), ApiKeys(self.config.api_keys))

    def _build_fleet(self) -> Fleet:
        return Fleet(
            self.config.servers,
            {
                server.name: dialer_for(
                    server,
                    max_message_bytes=self.config.limits.max_message_bytes,
                    max_nesting=self.config.limits.max_nesting,
                )
                for server in self.config.servers
            },
            self.config.policy,
            llm_kinds=[kind for kind, llm in self.llms.items() if llm.available],
            llm_tools=calls_tools(self.config.sampling_llm),
            on_unsolicited=self._unsolicited,
            on_session=self._ask_session,
            limits=self.config.limits,
        )

    def _build_methods(self) -> Methods:
        limits = self.config.limits
        by_name = {server.name: server for server in self.config.servers}
        relay = Relay(
            self.fleet.catalog,
            self.fleet,
            self.broker,
            by_name,
            limits.max_call_seconds,
            self.config.label_questions,
            {entry.exposed: entry.timeout for entry in self.config.tools if entry.timeout is not None},
            self._elicitations,
        )
        return Methods(relay, self.fleet.catalog, limits.page_size)

    async def _become_ready(self) -> None:
        warming = [llm.warm() for llm in self.llms.values()]
        for failure in await asyncio.gather(*warming, return_exceptions=True):
            if isinstance(failure, ProviderError):
                logger.warning("%s", failure)
            elif failure is not None:
                raise failure
        await self.fleet.settled(_SETTLE)
        await self._warn_of_unmatched_entries()
        self._ready.set()

    async def _warn_of_unmatched_entries(self) -> None:
        """Entries for tools that nobody lists; some are listed only to clients that can be asked more."""
        down = {server.name for server in self.servers() if server.state != "up"}
        names = [tool["name"] for tool in (await self.fleet.catalog.view(Nobody())).tools]
        for entry in unmatched(self.config.tools, names):
            if entry.server not in down:
                logger.warning(
                    "%s (unless a client with more capabilities is shown it)", warning(entry, names)
                )

    async def _unsolicited(self, server: str, asked: Asked) -> Json:
        answer = await self.broker.answer(InputRequest(server, asked.method, asked.params, None))
        if isinstance(answer, Deferred):
            raise QuestionRefused("a request that belongs to no call cannot wait for a client")
        return answer

    async def _ask_session(self, server: str, identity: Identity, asked: Asked) -> Json:
        session = self._sessions.tagged(identity)
        if session is None:
            raise ChannelClosed(f"the client of this connection to '{server}' is gone")
        return await SessionCaller(session, session.general).ask(asked.method, asked.params)

    def _tell_session(self, identity: Identity, method: str, params: Json) -> None:
        session = self._sessions.tagged(identity)
        if session is None:
            logger.info("%s came after the session that it was for had ended; dropped", method)
            return
        session.tell(method, params)

    def _session_ended(self, session: Session) -> None:
        self.fleet.forget(session.identity)

    def _fleet_changed(self, event: FleetEvent) -> None:
        if isinstance(event, ListChanged) and event.identity is not None:
            self._tell_session(event.identity, LIST_CHANGED[event.kind], {})
        elif isinstance(event, ListChanged):
            self._subscriptions.list_changed(event.kind)
        elif isinstance(event, ElicitationCompleted):
            self._elicitations.completed(event.server, event.params)
        elif isinstance(event, SessionLogged):
            if (session := self._sessions.tagged(event.identity)) is not None:
                session.log(event.params)
        else:
            key = event.identity.key if event.identity else None
            self._subscriptions.resource_updated(event.server, event.params, key)


def _ledger(costs: Costs, seat: Seat | None) -> Ledger:
    if seat is None:
        return MemoryLedger(costs.keep_days, costs.max_rows)
    return SharedLedger(seat.ledger, seat.index, costs.keep_days, costs.max_rows)


def _parking_limits(config: GatewayConfig) -> ParkingLimits:
    limits = config.limits
    reserved = limits.max_parked_calls // 4 if config.api_keys else 0
    return ParkingLimits(
        limits.max_parked_calls,
        limits.max_parked_calls_per_client,
        limits.max_parked_calls - reserved,
        limits.parked_result_seconds,
    )


class Application:
    """The ASGI application: MCP paths by exact match, operators' pages for the rest."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._routes = gateway.routes()
        self._pages = pages(gateway, gateway.guard())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; `lifespan` starts and stops the gateway."""
        if scope["type"] == "http":
            app = self._routes.get(scope["path"], self._pages)
            await app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._gateway.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
