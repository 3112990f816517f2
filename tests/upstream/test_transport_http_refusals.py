"""What an HTTP server may do wrong, and what the gateway says and keeps to itself."""

from __future__ import annotations

import asyncio

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import BackchannelError, CallError, PeerError, ServerUnavailable
from gateway.upstream.dial import dialer_for
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE, PROFILE, Recorder, call
from tests.support.raw.session import OK, Session, Tool, config_of, response, session


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            401,
            r"HTTP 401 Unauthorized; set `headers` \(.*\) of server 'web' in servers.yaml:3",
        ),
        (403, "HTTP 403 Forbidden; set `headers`"),
        (404, r"HTTP 404 Not Found; check the `url` .* and its `type`"),
        (405, "HTTP 405 Method Not Allowed; check the `url`"),
        (503, "HTTP 503 Service Unavailable"),
    ],
)
async def test_a_refused_connection_says_what_to_do(status: int, words: str) -> None:
    async def refuse(request: Request, reply: Reply) -> None:
        await reply.send(status, b"<html>no</html>")

    async with Httpd(refuse) as httpd:
        with pytest.raises(ServerUnavailable, match=words):
            await dialer_for(config_of(httpd)).dial(PROFILE, Recorder().listener)


async def test_nothing_listening_is_said_in_the_systems_words() -> None:
    config = ServerConfig("web", "http", HERE, url="http://127.0.0.1:1/mcp")
    with pytest.raises(ServerUnavailable, match=r"127.0.0.1:1/mcp cannot be reached: Connection refused$"):
        await dialer_for(config).dial(PROFILE, Recorder().listener)


async def test_no_secret_of_the_address_is_in_an_error_or_a_repr() -> None:
    config = ServerConfig("web", "http", HERE, url="http://me:secret@127.0.0.1:1/mcp?token=secret#secret")
    dialer = dialer_for(config)
    with pytest.raises(ServerUnavailable) as raised:
        await dialer.dial(PROFILE, Recorder().listener)
    assert "secret" not in f"{raised.value} {dialer!r}"


@pytest.mark.parametrize("url", ["http://[", "ftp://x/", "/mcp", "http://x:99999/"])
async def test_an_address_that_is_none_makes_the_server_unavailable(url: str) -> None:
    with pytest.raises(ServerUnavailable, match="cannot be reached"):
        await dialer_for(ServerConfig("web", "http", HERE, url=url)).dial(PROFILE, Recorder().listener)


async def test_cookies_stay_with_the_connection_that_was_given_them() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.send_json(response(request, cookie=request.headers.get("cookie")))

    class Sticky(Session):
        replica = 0

        async def post(self, request: Request, reply: Reply) -> None:
            if request.json.get("method") == "initialize":
                self.replica += 1
                result = {"protocolVersion": self.version, "capabilities": {}, "serverInfo": {}}
                await reply.send_json(response(request, **result), Set_Cookie=f"replica={self.replica}")
            else:
                await super().post(request, reply)

    async with Httpd(Sticky(tool)) as httpd:
        dialer = dialer_for(config_of(httpd))
        one = await dialer.dial(PROFILE, Recorder().listener)
        two = await dialer.dial(PROFILE, Recorder().listener)
        cookies = [(await call(connection, "t"))["cookie"] for connection in (one, two)]
        await asyncio.gather(one.aclose(), two.aclose())
    assert cookies == ["replica=1", "replica=2"]


async def test_a_session_id_and_an_event_id_beyond_ascii_break_nothing() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        number = request.json["id"]

        async def get(request: Request, reply: Reply) -> None:
            await reply.stream()
            result = {"last": request.headers["last-event-id"].encode("latin-1").decode()}
            await reply.event({"jsonrpc": "2.0", "id": number, "result": result})
            await reply.end()

        server.get = get
        await reply.stream()
        await reply.chunk("id: é-1\nretry: 1\ndata:\n\n".encode())
        await reply.end()

    server = Session(tool)
    async with session(server) as (_, connection):
        assert await call(connection, "t") == {"last": "é-1"}


async def test_a_server_that_never_answers_is_unavailable_within_its_start_timeout() -> None:
    async def silent(request: Request, reply: Reply) -> None:
        await reply.left.wait()

    async with Httpd(silent) as httpd:
        dialer = dialer_for(config_of(httpd, start_timeout=0.3), probe_timeout=0.1)
        with pytest.raises(ServerUnavailable, match=r"not ready within 0.3 s"):
            await dialer.dial(PROFILE, Recorder().listener)


@pytest.mark.parametrize("path", ["/mcp/", "http://127.0.0.1:{port}/moved"])
async def test_redirects_within_the_origin_are_followed(path: str) -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.send_json(response(request))

    server = Session(tool)

    async def redirecting(request: Request, reply: Reply) -> None:
        if request.path == "/mcp":
            await reply.send(307, location=path.format(port=httpd.port))
        else:
            await server(request, reply)

    async with Httpd(redirecting) as httpd:
        connection = await dialer_for(config_of(httpd)).dial(PROFILE, Recorder().listener)
        assert await call(connection, "t") == OK
        await connection.aclose()


async def test_a_redirect_to_another_origin_is_not_followed_and_no_credentials_leave() -> None:
    async with Httpd(Session()) as other:

        async def redirecting(request: Request, reply: Reply) -> None:
            await reply.send(308, location=f"{other.url}/mcp?token=x")

        async with Httpd(redirecting) as httpd:
            config = config_of(httpd, headers={"Authorization": "Bearer k"})
            with pytest.raises(ServerUnavailable, match=f"to {other.url}/mcp, which is not followed"):
                await dialer_for(config).dial(PROFILE, Recorder().listener)
    assert other.requests == []


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda request, reply: reply.send(202), "answered tools/call with HTTP 202"),
        (
            lambda request, reply: reply.send(200, b"hi", content_type="text/plain"),
            "content type 'text/plain'",
        ),
        (
            lambda request, reply: reply.send(200, b"{", content_type="application/json"),
            "what is not valid JSON",
        ),
        (lambda request, reply: reply.send_json({"jsonrpc": "2.0"}), "without a response to it"),
        (
            lambda request, reply: reply.send_json({"error": {"message": "not JSON-RPC"}}, 502),
            "HTTP 502 Bad Gateway",
        ),
        (lambda request, reply: reply.send(500, b"oops"), "HTTP 500 Internal Server Error"),
    ],
)
async def test_an_answer_that_is_none_ends_the_call_and_says_what_came(write: Tool, words: str) -> None:
    async with session(Session(write)) as (_, connection):
        with pytest.raises(CallError, match=words):
            await call(connection, "t")
        assert not connection.closed.is_set()


async def test_an_error_without_an_id_answers_the_request_whose_response_it_is() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        error = {"code": -32700, "message": "unreadable"}
        await reply.send_json({"jsonrpc": "2.0", "id": None, "error": error}, 400)

    async with session(Session(tool)) as (_, connection):
        with pytest.raises(PeerError, match="unreadable"):
            await call(connection, "t")


async def test_a_batch_of_messages_is_taken_apart() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": 1}}
        await reply.send_json([log, response(request)])

    recorder = Recorder()
    async with session(Session(tool), recorder) as (_, connection):
        assert await call(connection, "t", recorder.scope) == OK
    assert recorder.notifications == [("scope", "notifications/message", {"data": 1})]


async def test_the_era_is_asked_once_and_again_only_after_the_server_was_lost() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.send(404)

    def probes() -> int:
        return sum(r.body != b"" and r.json.get("method") == "server/discover" for r in httpd.requests)

    async with Httpd(Session(tool)) as httpd:
        dialer = dialer_for(config_of(httpd))
        first = await dialer.dial(PROFILE, Recorder().listener)
        await first.aclose()
        second = await dialer.dial(PROFILE, Recorder().listener)
        assert probes() == 1
        with pytest.raises(BackchannelError):
            await call(second, "t")
        await second.aclose()
        third = await dialer.dial(PROFILE, Recorder().listener)
        assert probes() == 2
        await third.aclose()
