"""Attacks on `requestState`: each is refused with one message and counted, and its call lives on."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.downstream.sealing import INVALID_STATE, Sealer, binding_of
from tests.support.gateway import Running, running_gateway
from tests.support.modern_client import Asking, ModernClient, Round, modern_client
from tests.support.parked import KEYS, answered, blue
from tests.support.parties import ELICITATION
from tests.support.raw.peers import raw_server
from tests.support.raw.stage import Show, Stage, staged

Json = dict[str, Any]
NEW, OLD, FOREIGN = "n" * 32, "o" * 32, "f" * 32
PARKED: Json = {"name": "s__ask", "arguments": {"a": [1, {"b": 2}]}}
STATELESS: Json = {"name": "m__ask", "arguments": {"requests": {"q": ELICITATION}}}
CALLS = pytest.mark.parametrize("params", [PARKED, STATELESS], ids=["parked", "stateless"])


async def ask(show: Show) -> Json:
    return answered(await show.ask(ELICITATION["method"], ELICITATION["params"]))


@asynccontextmanager
async def gateway(folder: Path, ring: str = NEW, **urls: str) -> AsyncIterator[Running]:
    servers = [{"name": name, "url": url} for name, url in urls.items()]
    config = {
        "auth": {"keys": [{"principal": name, "key_env": f"KEY_{name.upper()}"} for name in KEYS]},
        "state_keys_env": "STATE_KEYS",
        "external_mcp": {"servers": servers},
    }
    environ = {f"KEY_{name.upper()}": key for name, key in KEYS.items()} | {"STATE_KEYS": ring}
    async with running_gateway(folder, config, environ) as running:
        yield running


@dataclass
class Target:
    """A call of Ann's that waits for its retry, and what an attacker can get at."""

    running: Running
    stage: Stage
    ann: ModernClient
    bob: ModernClient
    call: Asking
    asked: Round

    @property
    def state(self) -> str:
        return self.asked.state

    @property
    def binding(self) -> str:
        return binding_of("ann", "tools/call", self.call.params)

    @property
    def sealed(self) -> Any:
        """What the state holds."""
        return self.running.gateway._sealer.open(self.state, self.binding)

    def forged(self, *keys: str, **settings: Any) -> str:
        """The same content under a seal of one's own."""
        return Sealer(keys, **settings).seal(self.sealed, self.binding)

    @property
    async def refused(self) -> int:
        key = {"authorization": f"Bearer {KEYS['bob']}"}
        return (await self.running.api("/api/calls", **key))["refused_states"]


@asynccontextmanager
async def target(folder: Path, params: Json) -> AsyncIterator[Target]:
    async with AsyncExitStack() as stack:
        stage = Stage(ask=ask, other=ask)
        modern = await stack.enter_async_context(raw_server("http-modern"))
        url = await stack.enter_async_context(staged(stage))
        running = await stack.enter_async_context(gateway(folder, s=url, m=modern.url))
        clients = [
            await stack.enter_async_context(modern_client(running.base, key=key)) for key in KEYS.values()
        ]
        call = Asking(clients[0], "tools/call", params)
        yield Target(running, stage, clients[0], clients[1], call, await call.send())


def flipped(state: str) -> Iterator[str]:
    """Yield the state with one bit of each byte of the sealed content turned over."""
    prefix, _, text = state.partition(".")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for index in range(len(raw)):
        changed = bytearray(raw)
        changed[index] ^= 1 << index % 8
        yield f"{prefix}.{base64.urlsafe_b64encode(changed).decode().rstrip('=')}"


def changed(target: Target, **params: Any) -> Asking:
    return replace(target.call, params={**target.call.params, **params})


ATTACKS: dict[str, Callable[[Target], Iterator[tuple[Asking, Any]]]] = {
    "a bit turned over, at every byte": lambda t: ((t.call, state) for state in flipped(t.state)),
    "cut off, at many places": lambda t: ((t.call, t.state[:end]) for end in range(0, len(t.state), 9)),
    "something added": lambda t: ((t.call, t.state + more) for more in ("A", "=", "\n", "é")),
    "another principal": lambda t: iter([(t.call.by(t.bob), t.state)]),
    "another tool": lambda t: iter([(changed(t, name="s__other"), t.state)]),
    "other arguments": lambda t: (
        (changed(t, arguments=other), t.state)
        for other in ({}, {"a": [1]}, {**t.call.params["arguments"], "z": 0})
    ),
    "another method": lambda t: iter([(replace(t.call, method="prompts/get"), t.state)]),
    "a field more": lambda t: iter([(changed(t, task={"ttl": 1}), t.state)]),
    "expired": lambda t: iter([(t.call, t.forged(NEW, clock=lambda: time.time() - 3601))]),
    "another deployment's key": lambda t: iter([(t.call, t.forged(FOREIGN))]),
    "another deployment's name": lambda t: iter([(t.call, t.forged(NEW, audience="theirs"))]),
    "no token at all": lambda t: (
        (t.call, state) for state in ("", "v1.", "v1.AAAA", "x", "v2." + t.state[3:])
    ),
    "another type": lambda t: ((t.call, state) for state in (None, 7, True, {}, [t.state])),
    "oversized": lambda t: iter([(t.call, t.state + "A" * 1_000_000)]),
    "a lone surrogate": lambda t: iter([(t.call, "v1.\ud800")]),
}


@CALLS
async def test_every_attack_is_refused_with_one_message_and_counted(tmp_path, params, caplog) -> None:
    async with target(tmp_path, params) as t:
        expected = 0
        for name, attack in ATTACKS.items():
            for call, state in attack(t):
                request = {**call.params, "requestState": state, "inputResponses": {t.asked.key: blue()}}
                refused = await call.client.post(call.method, request)
                expected += 1
                assert refused.error == {"code": -32602, "message": INVALID_STATE}, (name, state)
                assert refused.status == 400
        assert expected > 100
        assert await t.refused == expected
        assert caplog.text.count("refused a requestState") == expected
        last = await t.call.answer(t.asked, blue(by="ann"))
        assert "'by': 'ann'" in str(last.result)
        assert len(t.stage.answers) == (params is PARKED)


async def test_the_states_of_two_calls_cannot_be_swapped(tmp_path) -> None:
    async with target(tmp_path, PARKED) as t:
        other = changed(t, arguments={"a": 2})
        theirs = await other.send()
        for call, state in ((t.call, theirs.state), (other, t.state)):
            assert (await call.send(state, {t.asked.key: blue()})).error["message"] == INVALID_STATE
        assert await t.refused == 2
        assert t.stage.answers == []


async def test_the_same_call_made_twice_is_two_calls_each_with_its_own_state(tmp_path) -> None:
    async with target(tmp_path, PARKED) as t:
        second = await t.call.send()
        one = await t.call.answer(t.asked, blue(n=1))
        two = await t.call.answer(second, blue(n=2))
        assert [each.result["structuredContent"]["answer"]["content"]["n"] for each in (one, two)] == [1, 2]


async def test_a_replay_after_completion_changes_nothing(tmp_path) -> None:
    """It is no forgery: whoever made the call gets the same result again, and the server no answer."""
    async with target(tmp_path, PARKED) as t:
        done = await t.call.answer(t.asked, blue(n=1))
        again = await t.call.answer(t.asked, blue(n=2))
        assert again.result == done.result
        assert len(t.stage.answers) == 1
        assert await t.refused == 0
        assert (await t.call.by(t.bob).answer(t.asked, blue(n=3))).error["message"] == INVALID_STATE


@CALLS
async def test_keys_are_rotated_without_a_lost_round(tmp_path, params) -> None:
    """Each replica gets the new key to open with, then to seal with; then the old one goes."""
    async with AsyncExitStack() as stack:
        modern = await stack.enter_async_context(raw_server("http-modern"))
        url = await stack.enter_async_context(staged(Stage(ask=ask)))

        async def replica(name: str, ring: str) -> Asking:
            folder = tmp_path / name
            folder.mkdir()
            running = await stack.enter_async_context(gateway(folder, ring, s=url, m=modern.url))
            client = await stack.enter_async_context(modern_client(running.base, key=KEYS["ann"]))
            return Asking(client, "tools/call", params)

        before, after, at_last = (
            await replica("before", OLD),
            await replica("after", f"{NEW},{OLD}"),
            await replica("at last", NEW),
        )
        old, new = await before.send(), await after.send()
        if params is STATELESS:
            assert "client blue" in str((await after.answer(old, blue())).result)
            assert "client blue" in str((await at_last.answer(new, blue())).result)
        else:
            # A parked call is where it is: another replica says so, and says what to do.
            elsewhere = await after.answer(old, blue())
            assert "waits at another gateway process" in elsewhere.error["message"]
            assert "client blue" in str((await before.answer(old, blue())).result)
        assert (await at_last.answer(old, blue())).error["message"] == INVALID_STATE
        assert (await before.answer(new, blue())).error["message"] == INVALID_STATE


async def test_a_state_lives_as_long_as_its_call_may_and_its_outcome_is_kept(tmp_path) -> None:
    async with target(tmp_path, STATELESS) as t:
        now = time.time()
        t.running.gateway._sealer._clock = lambda: now + 3650
        assert t.sealed
        t.running.gateway._sealer._clock = lambda: now + 3670
        assert (await t.call.answer(t.asked, blue())).error["message"] == INVALID_STATE
