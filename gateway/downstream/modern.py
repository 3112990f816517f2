"""Clients of 2026-07-28: stateless requests, questions in results, answers in retries."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, cast

from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    NAME_BEARING_METHODS,
    InboundLadderRejection,
    InboundModernRoute,
    classify_inbound_request,
    find_duplicated_routing_header,
    validate_mcp_param_headers,
)

from gateway.calls.admission import ANONYMOUS
from gateway.calls.alarms import Alarms
from gateway.calls.model import ChannelClosed, Identity, Json, Profile
from gateway.config.resolved import Limits
from gateway.downstream.annotated import Annotated
from gateway.downstream.cycle import LEAVING
from gateway.downstream.envelope import META, meta_of
from gateway.downstream.exchange import Exchange, Receive, Scope, Send, respond, respond_json
from gateway.downstream.listen import Listener, Listeners
from gateway.downstream.load import status_of
from gateway.downstream.methods import Methods
from gateway.downstream.outbox import Outbox
from gateway.downstream.overload import brings_answers
from gateway.downstream.profiles import profile_of
from gateway.downstream.retries import Retries
from gateway.downstream.session import GATEWAY_INFO
from gateway.downstream.translate import error_for_modern, for_modern
from gateway.downstream.work import InFlight, Ticket
from gateway.errors import InvalidCall, PeerError
from gateway.wire import jsonrpc
from gateway.wire.levels import LOG_LEVEL, is_level, passes

VERSIONS: Final = ("2026-07-28",)
_VERSION: Final = META + "protocolVersion"
_CLIENT: Final = META + "clientInfo"
_CAPABILITIES: Final = META + "clientCapabilities"
_FRESH_MS: Final = 60_000
"""How long what is said of all servers together counts as fresh, while none of them is missing."""

_numbers = itertools.count(1)


class ModernCaller:
    """The client of one modern request. It cannot be asked directly: it answers by retrying."""

    defers = True

    def __init__(self, identity: Identity, profile: Profile, outbox: Outbox, params: Json) -> None:
        self.identity = identity
        self.profile = profile
        self._outbox = outbox
        meta = meta_of(params)
        self._level = meta.get(LOG_LEVEL)
        token = meta.get("progressToken")
        self.progress_token = token if isinstance(token, str | int) else None

    async def ask(self, method: str, params: Json) -> Json:  # noqa: ARG002
        """Never possible: see `gateway.answers.client`, which defers instead."""
        raise ChannelClosed(f"a 2026-07-28 client cannot be sent {method} directly")

    async def park(self, method: str, params: Json, limit: float) -> Json:  # noqa: ARG002
        """Never possible for one request: `gateway.calls.parking` does it for a call."""
        raise ChannelClosed(f"a request that cannot be answered by a retry cannot be asked {method}")

    def notify(self, method: str, params: Json) -> None:
        """Queue progress, or a log message if the request asked for its level."""
        if method == "notifications/message" and (self._level is None or not passes(params, self._level)):
            return
        self._outbox.put(jsonrpc.notification(method, params))


class ModernServer:
    """Answers modern requests, whatever transport brought them."""

    def __init__(self, methods: Methods, in_flight: InFlight, retries: Retries, listeners: Listeners) -> None:
        self._methods = methods
        self._in_flight = in_flight
        self._retries = retries
        self._listeners = listeners
        self._annotated = Annotated()

    def answer(
        self, message: Json, caller: ModernCaller, principal: str | None, outbox: Outbox, ticket: Ticket
    ) -> Coroutine[Any, Any, Json | None]:
        """Answer one classified request, in the current task. None means the client cancelled it."""
        params: Json = message["params"]
        ticket.goes_on = brings_answers(params)
        work = self._handle(message["id"], message["method"], params, caller, outbox)
        return self._in_flight.answer(message["id"], work, ticket, principal or ANONYMOUS)

    async def param_rejection(
        self, message: Json, caller: ModernCaller, headers: Mapping[str, str]
    ) -> InboundLadderRejection | None:
        """Check `Mcp-Param-*` headers of a tool call against the exposed tool's schema."""
        params: Json = message["params"]
        arguments: Any = params.get("arguments") or {}
        if message["method"] != "tools/call" or not isinstance(arguments, dict):
            return None
        if not arguments and not any(name.startswith("mcp-param-") for name in headers):
            return None
        name = str(params.get("name"))
        tool = self._methods.known_tool(name, caller) or await self._methods.tool(name, caller)
        if tool is None or not self._annotated.has(tool):
            return None
        return validate_mcp_param_headers(tool.get("inputSchema"), cast("Json", arguments), headers)

    def caller(
        self, route: InboundModernRoute, principal: str | None, outbox: Outbox, params: Json
    ) -> ModernCaller:
        """Return the client of one request, whose messages go to `outbox`."""
        info: Any = route.client_info
        name = cast("Json", info).get("name") if isinstance(info, dict) else ""
        # An anonymous request is an identity of its own: nothing ties two of them together.
        key = f"principal:{principal}" if principal is not None else f"request-{next(_numbers)}"
        identity = Identity(key, principal, None, name if isinstance(name, str) else "")
        return ModernCaller(identity, profile_of(route.client_capabilities), outbox, params)

    async def _handle(
        self, request_id: jsonrpc.RequestId, method: str, params: Json, caller: ModernCaller, outbox: Outbox
    ) -> Json:
        if method == "subscriptions/listen":
            return await self._listeners.listen(Listener(request_id, outbox), caller, params)
        _check_level(params)
        if method == "server/discover":
            result = await self._discover()
        else:
            try:
                result = await self._retries.carry(method, params, caller)
            except PeerError as error:
                raise error_for_modern(error) from error
        return for_modern(method, result, GATEWAY_INFO)

    async def _discover(self) -> Json:
        greeting = await self._methods.greeting()
        answer: Json = {
            "supportedVersions": list(VERSIONS),
            "capabilities": greeting.capabilities,
            "ttlMs": _FRESH_MS if greeting.complete else 0,
            "cacheScope": "private",
        }
        if greeting.instructions is not None:
            answer["instructions"] = greeting.instructions
        return answer


def _check_level(params: Json) -> None:
    """Refuse a log level that there is not (2026-07-28, server/utilities/logging, "Error Handling")."""
    level = meta_of(params).get(LOG_LEVEL)
    if level is not None and not is_level(level):
        raise InvalidCall(f"_meta asks for a log level that there is not: {level!r}")


class ModernEndpoint:
    """Modern requests over Streamable HTTP: one POST, one response, no session."""

    def __init__(self, server: ModernServer, keepalive: float, limits: Limits | None = None) -> None:
        self._server = server
        self._limits = limits
        self._keepalive = keepalive
        self._alarms = Alarms(keepalive)

    async def post(
        self,
        message: Json,
        headers: Mapping[str, str],
        scope: Scope,
        principal: str | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one message; a client that closes the response cancels it."""
        kind = jsonrpc.kind_of_valid(message)
        if kind == "notification":
            # The revision defines none over HTTP; they are acknowledged as fire-and-forget.
            await respond(send, 202)
            return
        if kind != "request":
            rejection = InboundLadderRejection(
                jsonrpc.INVALID_REQUEST, "the body must be one JSON-RPC request"
            )
            await _reject(send, None, rejection)
            return
        route = _classify(message, headers, scope["headers"])
        if not isinstance(route, InboundModernRoute):
            await _reject(send, message["id"], route)
            return
        exchange = Exchange(
            receive,
            send,
            keepalive=self._keepalive,
            limits=self._limits,
            alarms=self._alarms,
            leaving=scope.get(LEAVING),
        )
        caller = self._server.caller(route, principal, exchange.outbox, message["params"])
        refused = await self._server.param_rejection(message, caller, headers)
        if refused is not None:
            await _reject(send, message["id"], refused)
            return
        ticket = Ticket()
        await exchange.run(self._work(message, caller, principal, exchange.outbox, ticket), ticket.cancel)

    async def _work(
        self, message: Json, caller: ModernCaller, principal: str | None, outbox: Outbox, ticket: Ticket
    ) -> tuple[Json | None, int]:
        response = await self._server.answer(message, caller, principal, outbox, ticket)
        if response is None or "error" not in response or ticket.refused is not None:
            return response, status_of(ticket.refused)
        return response, ERROR_CODE_HTTP_STATUS.get(response["error"]["code"], 200)


def _classify(
    message: Json, headers: Mapping[str, str], raw_headers: Sequence[tuple[bytes, bytes]]
) -> InboundModernRoute | InboundLadderRejection:
    if len(headers) != len(raw_headers) and (duplicated := _duplicated(raw_headers)) is not None:
        return InboundLadderRejection(jsonrpc.HEADER_MISMATCH, f"{duplicated} header appears more than once")
    if (route := plain_route(message, headers)) is not None:
        return route
    return classify_inbound_request(message, headers=headers, supported_modern_versions=VERSIONS)


def plain_route(message: Json, headers: Mapping[str, str]) -> InboundModernRoute | None:
    """Return what `classify_inbound_request` would, where headers and body plainly agree; else None."""
    given: Any = message.get("params")
    params: Json = cast("Json", given) if isinstance(given, dict) else {}
    envelope, method = meta_of(params), message["method"]
    if _CAPABILITIES not in envelope:
        return None
    version = envelope.get(_VERSION)
    if version not in VERSIONS or headers.get("mcp-protocol-version") != version:
        return None
    named = NAME_BEARING_METHODS.get(method)
    name = headers.get("mcp-name", "")
    # A name that HTTP cannot carry comes encoded (basic/transports, "Header Encoding").
    if headers.get("mcp-method") != method or (named and (params.get(named) != name or name[:2] == "=?")):
        return None
    return InboundModernRoute(version, envelope.get(_CLIENT), envelope[_CAPABILITIES])


def _duplicated(raw_headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    lines = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw_headers)
    return find_duplicated_routing_header(lines)


async def _reject(send: Send, request_id: Any, rejection: InboundLadderRejection) -> None:
    body = jsonrpc.error(request_id, rejection.code, rejection.message, rejection.data)
    await respond_json(send, ERROR_CODE_HTTP_STATUS.get(rejection.code, 400), body)
