"""The course of a soak: clients, faults and the sampling of memory side by side, all from one seed."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.soak.actions import Person, needs, plan, take
from benchmarks.soak.ledger import Ledger, Outcome
from benchmarks.soak.world import CLIENT_LIMIT, World, running
from benchmarks.speed.driver import Broken

WARM = 0.4
"""Part of the time after which memory must be flat: buffers, logs and pools have filled by then."""
_QUIET = 20.0
"""Seconds the gateway has, once everybody has gone, to hold nothing of theirs any more."""


@dataclass(frozen=True)
class Plan:
    """How long, how many clients, how many actions a second of all together, and from which seed."""

    seconds: float
    seed: int = 1
    clients: int = 16
    rate: float = 120.0


async def soak(plan_of: Plan) -> tuple[Ledger, str]:
    """Run it; returns what happened, and the last that the gateway wrote to its log."""
    ledger = Ledger()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        async with running(Path(name), plan_of.seed, ledger) as world:
            world.began += world.now
            async with asyncio.TaskGroup() as tasks:
                for number in range(plan_of.clients):
                    tasks.create_task(_client(world, plan_of, number))
                tasks.create_task(_faults(world, plan_of))
                sampling = tasks.create_task(_sample(world))
                await asyncio.sleep(plan_of.seconds)
                sampling.cancel()
            await _all_gone(world)
            ended = world.gateway.popen.poll()
            if ended is not None:
                ledger.left.append(f"the gateway had ended with status {ended}")
        return ledger, world.gateway.last_words(40)


async def _client(world: World, plan_of: Plan, number: int) -> None:
    """Take one action after the other, each when it is due; too slow a machine takes fewer."""
    rng = random.Random(f"{plan_of.seed} client {number}")
    person = Person(world, f"client{number}", rng)
    every = plan_of.clients / plan_of.rate
    due = every * number / plan_of.clients
    while max(due, world.now) < plan_of.seconds:
        await asyncio.sleep(due - world.now)
        step = plan(rng)
        began = world.now
        error = await take(person, step)
        what = f"{step.action}, {step.era} client, {step.server} server: {error}" if error else ""
        world.ledger.outcomes.append(Outcome(step.action, needs(step), began, world.now, what))
        due += every
    try:
        await person.leave()
    except (Broken, OSError) as error:
        world.ledger.left.append(f"a session could not be ended: {error}")
    person.pool.close()


async def _faults(world: World, plan_of: Plan) -> None:
    """Break something, wait until all is well, and break the next, until shortly before the end."""
    rng = random.Random(f"{plan_of.seed} world")
    pause = min(8.0, plan_of.seconds / 8)
    order = ["stdio", "handshake", "modern", "llm"]
    while True:
        rng.shuffle(order)
        for what in order:
            await asyncio.sleep(pause * (0.5 + rng.random()))
            if world.now > plan_of.seconds - max(pause, 3.0):
                return
            if what == "stdio":
                await world.kill_stdio()
            elif what == "llm":
                await world.fail_provider(1 + rng.random())
            else:
                await world.restart(what, rng.random())


async def _sample(world: World) -> None:
    """Measure the gateway's own resident memory, without its servers', every half second."""
    process = psutil.Process(world.gateway.popen.pid)
    while True:
        world.ledger.samples.append((world.now, float(process.memory_info().rss)))
        await asyncio.sleep(0.5)


async def _all_gone(world: World) -> None:
    """Wait until nothing runs, is parked or is being worked on; what stays is left behind."""
    deadline = world.now + CLIENT_LIMIT + _QUIET
    while True:
        calls = await world.api("/api/calls")
        servers = (await world.api("/api/servers"))["servers"]
        held = {name: calls[name] for name in ("in_flight", "parked") if calls[name]}
        held |= {f"calls of {server['name']}": server["calls"] for server in servers if server["calls"]}
        if not held:
            return
        if world.now > deadline:
            world.ledger.left += [f"{count} {name}" for name, count in held.items()]
            return
        await asyncio.sleep(0.2)
