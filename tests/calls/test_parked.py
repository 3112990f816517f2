"""Parked calls by themselves: rounds, places, time, and what happens in any order."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.calls.deadlines import Deadline
from gateway.calls.model import ChannelClosed, Identity, ParkedAt, Suspended, Unanswered
from gateway.calls.parked import ParkedCall
from gateway.calls.parking import Parking, ParkingLimits
from gateway.errors import CallCancelled, InvalidCall
from tests.support.stepped_loop import SteppedLoop, run

Json = dict[str, Any]
FORM = "elicitation/create"
ENOUGH = 1000.0


class Client:
    """One request; `told` is what it heard."""

    profile = frozenset({"elicitation.form"})

    def __init__(self, principal: str | None = None, token: str | None = None) -> None:
        self.identity = Identity(f"client of {principal}", principal)
        self.progress_token = token
        self.told: list[tuple[str, Json]] = []

    def notify(self, method: str, params: Json) -> None:
        self.told.append((method, params))


def parking(**limits: Any) -> Parking:
    return Parking(ParkingLimits(**limits), lambda value: len(json.dumps(value)))


def asks_once(limit: float = ENOUGH) -> Callable[[Any], Awaitable[Json]]:
    async def work(caller: ParkedCall) -> Json:
        return await caller.park(FORM, {}, limit)

    return work


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def at(outcome: Any) -> ParkedAt:
    assert isinstance(outcome, Suspended), outcome
    assert isinstance(outcome.resume, ParkedAt)
    return outcome.resume


async def test_a_client_is_told_to_start_again_once_the_result_is_forgotten() -> None:
    house = parking(result_seconds=0.01)
    place = at(await house.begin(asks_once(), Client()))
    assert await house.resume(place, {"question-1": {"a": 1}}, Client()) == {"a": 1}
    forgotten = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, forgotten.set_result, None)
    await forgotten
    with pytest.raises(InvalidCall, match="start it again"):
        await house.resume(place, {}, Client())
    assert repr(house) == "<Parking 0 parked, 0 running, 0 over>"


@pytest.mark.parametrize(
    "place", [ParkedAt("no such call", 1, "ours"), ParkedAt("c", 1, "another gateway"), None]
)
async def test_a_place_that_is_not_here_is_refused(place) -> None:
    house = Parking(ParkingLimits(), len, "ours")
    ahead = at(await house.begin(asks_once(), Client()))
    with pytest.raises(InvalidCall, match="start it again"):
        await house.resume(place or ParkedAt(ahead.call, ahead.round + 1, "ours"), {}, Client())
    await house.aclose()


async def test_places_are_bounded_for_each_key_for_all_without_one_and_in_all() -> None:
    house = parking(total=4, per_client=2, anonymous=3)

    async def park(principal: str | None) -> str:
        try:
            at(await house.begin(asks_once(), Client(principal)))
        except ChannelClosed as closed:
            return str(closed)
        return "parked"

    said = [await park(principal) for principal in ("ann", "ann", "ann", None, None, None, "bob")]
    assert said == [
        "parked",
        "parked",
        "2 calls wait for their clients' answers already (limits.max_parked_calls_per_client)",
        "parked",
        "parked",
        "4 calls wait for their clients' answers already (limits.max_parked_calls)",
        "4 calls wait for their clients' answers already (limits.max_parked_calls)",
    ]
    assert len(house) == 4
    await house.aclose()
    assert len(house) == 0
    only_anonymous = parking(total=4, per_client=2, anonymous=3)
    house = only_anonymous
    said = [await park(None) for _ in range(4)]
    assert said[3] == (
        "3 calls wait for their clients' answers already (limits.max_parked_calls, clients without a key)"
    )
    assert await park("ann") == "parked"
    await house.aclose()


async def test_a_place_is_free_again_when_its_call_is_over() -> None:
    house = parking(total=1)
    for _ in range(3):
        place = at(await house.begin(asks_once(), Client()))
        await house.resume(place, {"question-1": {}}, Client())
    with pytest.raises(ChannelClosed):
        first = at(await house.begin(asks_once(), Client("ann")))
        assert first
        await house.begin(asks_once(), Client("ann"))
    await house.aclose()


async def test_questions_that_come_a_moment_apart_share_a_round() -> None:
    async def work(caller: ParkedCall) -> Json:
        first = asyncio.ensure_future(caller.park(FORM, {"n": 1}, ENOUGH))
        later = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, later.set_result, None)
        await later
        second = asyncio.ensure_future(caller.park(FORM, {"n": 2}, ENOUGH))
        return {"answers": [await first, await second]}

    house = Parking(ParkingLimits(), len, gathering=0.2)
    asking = await house.begin(work, Client())
    assert isinstance(asking, Suspended)
    assert list(asking.requests) == ["question-1", "question-2"]
    both = {"question-1": {"a": 1}, "question-2": {"a": 2}}
    assert await house.resume(at(asking), both, Client()) == {"answers": [{"a": 1}, {"a": 2}]}


async def test_what_is_said_between_rounds_is_kept_within_bounds() -> None:
    async def work(caller: ParkedCall) -> Json:
        question = asyncio.ensure_future(caller.park(FORM, {}, ENOUGH))
        await turns()
        caller.notify("notifications/progress", {"progress": 1})
        caller.notify("notifications/progress", {"progress": 2, "message": "x" * 300_000})
        for number in range(100):
            caller.notify("notifications/message", {"data": "y" * 20_000, "n": number})
        caller.notify("notifications/message", {"data": "z" * 300_000})
        return await question

    house, late = parking(), Client(token="t")
    place = at(await house.begin(work, Client()))
    await turns(20)
    await house.resume(place, {"question-1": {}}, late)
    progress, *logged = late.told
    assert progress == ("notifications/progress", {"progress": 1, "progressToken": "t"})
    assert [params["n"] for _, params in logged] == list(range(87, 100)), "the last 256 KiB"


async def test_a_defect_in_a_call_whose_client_is_away_is_logged(caplog) -> None:
    async def work(caller: ParkedCall) -> Json:
        await asyncio.wait({asyncio.ensure_future(caller.park(FORM, {}, 0.01))}, timeout=0.0)
        await turns()
        raise ZeroDivisionError

    house = parking()
    with caplog.at_level(logging.ERROR):
        place = at(await house.begin(work, Client()))
        await turns(20)
    assert "defect" in caplog.text
    with pytest.raises(ZeroDivisionError):
        await house.resume(place, {}, Client())


def test_a_client_that_does_not_come_back_in_time_has_its_call_cancelled() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        house = parking()
        place = at(await house.begin(asks_once(30), Client()))
        loop.pass_time(29)
        await turns()
        assert len(house) == 1
        loop.pass_time(2)
        await turns()
        assert len(house) == 0
        for _ in range(2):
            with pytest.raises(CallCancelled, match="within 30 s; start it again"):
                await house.resume(place, {"question-1": {}}, Client())

    run(scenario)


async def test_an_answer_that_comes_while_a_cancelled_call_takes_leave_of_its_server_is_dropped() -> None:
    told, leaving = asyncio.Event(), asyncio.Event()
    asked: list[asyncio.Task[Json]] = []

    async def work(caller: ParkedCall) -> Json:
        asked.append(asyncio.ensure_future(caller.park(FORM, {}, 0.01)))
        try:
            await asyncio.Event().wait()
        finally:
            leaving.set()
            await told.wait()
        raise AssertionError

    house = parking()
    place = at(await house.begin(work, Client()))
    await leaving.wait()
    with pytest.raises(CallCancelled):
        await house.resume(place, {"question-1": {}}, Client())
    assert asked[0].cancelled()
    told.set()
    await house.aclose()


def test_the_result_of_a_call_that_ended_while_its_client_was_away_waits_for_the_client() -> None:
    """For as long as the client had to answer, though that is longer than results are kept."""

    async def scenario(loop: SteppedLoop) -> None:
        done = asyncio.Event()

        async def work(caller: ParkedCall) -> Json:
            asked = asyncio.ensure_future(caller.park(FORM, {}, 300))
            await done.wait()
            asked.cancel()
            return {"done": True}

        house = parking(result_seconds=60)
        place = at(await house.begin(work, Client()))
        done.set()
        await turns()
        loop.pass_time(250)
        await turns()
        assert await house.resume(place, {"question-1": {}}, Client()) == {"done": True}
        loop.pass_time(51)
        await turns()
        with pytest.raises(InvalidCall, match="start it again"):
            await house.resume(place, {}, Client())

    run(scenario)


def test_a_person_may_take_longer_than_the_calls_limit_but_its_server_may_not() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        house = parking()

        async def asks(caller: ParkedCall) -> Json:
            with Deadline(30, 3600) as deadline:
                with deadline.paused():
                    return await caller.park(FORM, {}, 300)

        async def asks_then_hangs(caller: ParkedCall) -> Json:
            with Deadline(30, 3600) as deadline:
                with deadline.paused():
                    await caller.park(FORM, {}, 300)
                await asyncio.Event().wait()
            raise AssertionError

        for work, fails in ((asks, False), (asks_then_hangs, True)):
            place = at(await house.begin(work, Client()))
            loop.pass_time(120)
            await turns()
            retry = asyncio.ensure_future(house.resume(place, {"question-1": {"ok": 1}}, Client()))
            await turns()
            assert retry.done() is not fails
            loop.pass_time(31)
            await turns()
            if fails:
                with pytest.raises(TimeoutError):
                    retry.result()
            else:
                assert retry.result() == {"ok": 1}

    run(scenario)


# In any order

SMALL = st.integers(0, 5)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["begin", "ask", "ask", "withdraw", "end", "retry", "retry", "empty", "old", "close"]
        ),
        SMALL,
    ),
    max_size=40,
)


class Play:
    """One call: its server's side, and every place its client was given."""

    def __init__(self, house: Parking, number: int) -> None:
        self.house, self.number = house, number
        self.ending = asyncio.Event()
        self.questions: dict[int, asyncio.Task[Json]] = {}
        self.caller: ParkedCall | None = None
        self.places: list[tuple[ParkedAt, Json]] = []
        self.requests: list[asyncio.Task[Any]] = [self._request(house.begin(self.work, Client()))]

    async def work(self, caller: ParkedCall) -> Json:
        self.caller = caller
        try:
            await self.ending.wait()
        finally:
            for question in self.questions.values():
                question.cancel()
        return {"result of": self.number}

    def ask(self, number: int) -> None:
        if self.caller is not None and not self.caller.over:
            self.questions[number] = asyncio.ensure_future(
                self.caller.park(FORM, {"call": self.number, "n": number}, ENOUGH)
            )

    def retry(self, place: ParkedAt, shown: Json) -> None:
        answers = {key: {"to": request["params"]} for key, request in shown.items()}
        self.requests.append(self._request(self.house.resume(place, answers, Client())))

    def _request(self, sending: Any) -> asyncio.Task[Any]:
        async def sent() -> Any:
            outcome = await sending
            if isinstance(outcome, Suspended):
                self.places.append((at(outcome), dict(outcome.requests)))
            return outcome

        return asyncio.ensure_future(sent())


def act(plays: list[Play], house: Parking, what: str, number: int, step: int) -> None:
    if what == "begin" or not plays:
        plays.append(Play(house, len(plays)))
        return
    play = plays[number % len(plays)]
    if what == "ask":
        play.ask(step)
    elif what == "end":
        play.ending.set()
    elif what == "withdraw" and play.questions:
        list(play.questions.values())[number % len(play.questions)].cancel()
    elif what == "close":
        play.requests[-1].cancel()
    elif play.places:
        place, shown = play.places[-1]
        if what == "old":
            place = play.places[number % len(play.places)][0]
            shown = {key: {"params": "late"} for key in shown} if place != play.places[-1][0] else {}
        play.retry(place, {} if what == "empty" else shown)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_no_answer_reaches_another_question_and_no_request_is_left_without_an_end(steps) -> None:
    async def scenario() -> None:
        house, plays = parking(), list[Play]()
        for step, (what, number) in enumerate(steps):
            act(plays, house, what, number, step)
            await turns()
        for play in plays:
            play.ending.set()
        await turns(20)
        for play in plays:
            check(play)
        await house.aclose()
        assert repr(house) == "<Parking 0 parked, 0 running, 0 over>"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def check(play: Play) -> None:
    for number, question in play.questions.items():
        assert question.done()
        if question.cancelled():
            continue
        if question.exception() is not None:
            assert isinstance(question.exception(), Unanswered)
        else:
            assert question.result() == {"to": {"call": play.number, "n": number}}
    for request in play.requests:
        assert request.done(), "a request still waits"
        if request.cancelled():
            continue
        error = request.exception()
        assert error is None or isinstance(error, CallCancelled | InvalidCall)
        if error is None and not isinstance(request.result(), Suspended):
            assert request.result() == {"result of": play.number}
