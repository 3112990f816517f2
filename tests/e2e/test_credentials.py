"""Credentials stay where they belong: a client's never reach a server, a server's are never shown."""

from __future__ import annotations

import json
import logging

import pytest

from tests.support.merged import Told, merged, peer, tools

SECRET, OTHER, KEY = "s3cr3t-of-the-server", "another-servers-s3cr3t", "the-clients-own-k3y"
ENVIRON = {"TOKEN": SECRET, "OTHER": OTHER, "KEY": KEY}
CLIENTS = {
    "authorization": f"Bearer {KEY}",
    "cookie": "session=the-clients-c00kie",
    "x-forwarded-for": "203.0.113.9",
    "x-api-key-of-somebody": "the-clients-other-k3y",
}
AUTH = {"auth": {"keys": [{"principal": "ann", "key_env": "KEY"}]}}


def guarded(kind: str, variable: str) -> Told:
    settings = {"headers": {"Authorization": f"Bearer ${{{variable}}}", "X-Tenant": "acme"}}
    return Told(kind, tools("t"), settings)


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_a_server_gets_its_own_credentials_and_nothing_of_a_clients(tmp_path, mode) -> None:
    servers = {
        "a": guarded("http-handshake", "TOKEN"),
        "b": guarded("http-modern", "OTHER"),
        "c": guarded("sse-handshake", "TOKEN"),
        "d": Told("http-modern", tools("t")),
    }
    own = {"a": SECRET, "b": OTHER, "c": SECRET}
    async with (
        merged(tmp_path, servers, ENVIRON, **AUTH) as gateway,
        peer(gateway, mode, **CLIENTS) as client,
    ):
        for server in servers:
            await client.call(f"{server}__t")
            seen = (await client.call(f"{server}__seen"))["seen"]
            with_headers = [message for message in seen if "headers" in message]
            assert with_headers or server == "c"
            for headers in (message["headers"] for message in with_headers):
                assert headers.get("authorization") == (f"Bearer {own[server]}" if server in own else None)
                assert headers.get("x-tenant") == ("acme" if server in own else None)
            assert not [value for value in (KEY, *CLIENTS.values()) if value in json.dumps(seen)]
            foreign = {SECRET, OTHER} - {own.get(server)}
            assert not [value for value in foreign if value in json.dumps(seen)]


async def test_no_secret_is_in_the_log_on_the_pages_or_in_an_error(tmp_path, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    servers = {
        "a": guarded("http-handshake", "TOKEN"),
        "gone": Told(
            settings={"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}}
        ),
    }
    async with merged(tmp_path, servers, ENVIRON, **AUTH) as gateway, peer(gateway, **CLIENTS) as client:
        await client.call("a__t")
        failed = await client.ask("tools/call", name="gone__t", arguments={})
        assert "error" in failed
        shown = [
            json.dumps(failed),
            json.dumps(await gateway.api("/api/servers", authorization=f"Bearer {KEY}")),
            json.dumps(await gateway.api("/api/decisions", authorization=f"Bearer {KEY}")),
            caplog.text,
            repr(gateway.gateway.config),
            repr(gateway.gateway.fleet),
        ]
    for text in shown:
        assert not [secret for secret in (SECRET, KEY) if secret in text]
