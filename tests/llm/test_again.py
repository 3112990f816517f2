"""A request that an SDK has made once, sent again."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx2
import pytest

from gateway.llm.again import Again, Reply
from gateway.llm.transport import Transport
from tests.support.scripted_http import answer, scripted_http


class Sdk:
    """Stands for an SDK: makes a request of its own, and counts how often it was asked to."""

    def __init__(self, url: str) -> None:
        transport = Transport()
        self.again = Again(transport)
        self.asked = 0
        self.http = httpx2.AsyncClient(transport=transport, follow_redirects=True)
        self._url = url

    async def post(self, body: dict[str, Any]) -> Reply:
        async def first() -> httpx2.Response:
            self.asked += 1
            return await self.http.post(self._url, json=body, headers={"authorization": "Bearer k"})

        return await self.again.post(body, first)


async def test_a_service_that_redirects_is_asked_by_the_sdk_each_time() -> None:
    moved = answer({}, status=307, headers={"location": "/there"})
    async with scripted_http(moved, answer({"n": 1}), moved, answer({"n": 2})) as server:
        sdk = Sdk(server.url)
        async with sdk.http:
            said = [json.loads((await sdk.post({"n": number})).content) for number in (1, 2)]
    assert said == [{"n": 1}, {"n": 2}]
    assert sdk.asked == 2
    assert [request.path for request in server.requests] == ["/", "/there", "/", "/there"]


async def test_a_service_that_has_moved_since_is_asked_by_the_sdk() -> None:
    moved = answer({}, status=308, headers={"location": "/there"})
    # The SDK finds the redirection itself, once more.
    async with scripted_http(answer({"n": 1}), moved, moved, answer({"n": 2})) as server:
        sdk = Sdk(server.url)
        async with sdk.http:
            said = [json.loads((await sdk.post({"n": number})).content) for number in (1, 2)]
    assert said == [{"n": 1}, {"n": 2}]
    assert sdk.asked == 2


async def test_a_later_answer_is_unpacked() -> None:
    packed = answer(gzip.compress(b'{"n": 2}'), headers={"content-encoding": "gzip"})
    async with scripted_http(
        answer({"n": 1}), packed, answer(b"not packed at all", headers={"content-encoding": "gzip"})
    ) as it:
        sdk = Sdk(it.url)
        async with sdk.http:
            await sdk.post({})
            assert (await sdk.post({})).content == b'{"n": 2}'
            with pytest.raises(httpx2.DecodingError):
                await sdk.post({})
    assert sdk.asked == 1


async def test_a_cookie_is_not_sent_to_the_service_again() -> None:
    sweet = answer({"n": 1}, headers={"set-cookie": "a=b"})
    async with scripted_http(sweet, answer({"n": 2})) as server:
        sdk = Sdk(server.url)
        async with sdk.http:
            await sdk.post({})
            await sdk.post({})
    assert "cookie" not in server.last.headers
