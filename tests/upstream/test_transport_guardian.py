"""No server outlives the gateway, whatever ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.upstream.guardian import Guardian
from tests.upstream.test_transport_stdio import alive, gone

GATEWAY = """
import asyncio, sys
from gateway.upstream.dial import dialer_for
from tests.support.raw.peers import PROFILE, Recorder, call
from tests.support.raw.scripts import stdio
STUBBORN = "for n in (signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)\\n"
SOURCE = STUBBORN + '''
begin()
child = subprocess.Popen(["sleep", "1000"])
message = hear()
answer(message, own=os.getpid(), child=child.pid)
while True: time.sleep(1000)
'''
async def main():
    connection = await dialer_for(stdio(SOURCE)).dial(PROFILE, Recorder().listener)
    pids = await call(connection, "pids")
    print(pids["own"], pids["child"], flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
async def test_when_the_gateway_dies_its_servers_and_their_children_die_with_it(
    ending: signal.Signals,
) -> None:
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GATEWAY, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert gateway.stdout is not None
    own, child = map(int, (await gateway.stdout.readline()).split())
    assert alive(own)
    assert alive(child)
    gateway.send_signal(ending)
    await gateway.wait()
    assert await gone(own)
    assert await gone(child)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], start_new_session=True)


def test_a_group_that_was_released_is_left_alone_and_the_others_are_ended() -> None:
    kept, released = sleeper(), sleeper()
    guardian = Guardian()
    guardian.register(kept.pid)
    guardian.register(released.pid)
    guardian.unregister(released.pid)
    guardian.close()
    assert kept.wait(5) == -signal.SIGTERM
    assert released.poll() is None
    released.kill()
    released.wait()


def test_a_guardian_that_was_killed_is_replaced_and_knows_every_group() -> None:
    first, second = sleeper(), sleeper()
    guardian = Guardian()
    guardian.register(first.pid)
    before = guardian.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    guardian.register(second.pid)
    assert guardian.pid != before
    guardian.close()
    assert first.wait(5) == -signal.SIGTERM
    assert second.wait(5) == -signal.SIGTERM


def test_a_guardian_that_guards_nothing_starts_no_process() -> None:
    guardian = Guardian()
    guardian.unregister(1)
    assert guardian.pid is None
    guardian.close()
