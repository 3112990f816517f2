import asyncio

import pytest

from gateway.calls.deadlines import Deadline
from tests.support.stepped_loop import SteppedLoop, run


def test_a_server_that_takes_longer_than_its_limit_is_timed_out() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        with pytest.raises(TimeoutError):
            with Deadline(30, 3600) as deadline:
                loop.pass_time(31)
                await asyncio.Event().wait()
        assert deadline.expired
        assert not deadline.spent_in_all

    run(scenario)


def test_the_clock_stands_still_while_a_question_is_open() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        with Deadline(30, 3600) as deadline:
            loop.pass_time(20)
            with deadline.paused():
                loop.pass_time(120)
                await asyncio.sleep(0)
            loop.pass_time(9)
            await asyncio.sleep(0)
        assert not deadline.expired

    run(scenario)


def test_what_was_spent_before_a_question_still_counts_after_it() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        with pytest.raises(TimeoutError):
            with Deadline(30, 3600) as deadline:
                loop.pass_time(20)
                with deadline.paused():
                    loop.pass_time(500)
                loop.pass_time(11)
                await asyncio.Event().wait()
        assert not deadline.spent_in_all

    run(scenario)


def test_the_clock_runs_again_only_when_the_last_of_several_questions_is_closed() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        with Deadline(30, 3600) as deadline:
            with deadline.paused():
                with deadline.paused():
                    loop.pass_time(100)
                loop.pass_time(100)
                await asyncio.sleep(0)
            assert "running" in repr(deadline)
        assert not deadline.expired

    run(scenario)


def test_nothing_outlives_the_overall_maximum_not_even_a_question() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        with pytest.raises(TimeoutError):
            with Deadline(30, 60) as deadline:
                with deadline.paused():
                    loop.pass_time(61)
                    await asyncio.Event().wait()
        assert deadline.spent_in_all

    run(scenario)


def test_a_question_that_outlasts_its_call_by_a_moment_is_taken_back_in_peace() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        with Deadline(30, 60) as deadline:
            question = deadline.paused()
            question.__enter__()
        question.__exit__(None, None, None)
        with deadline.paused():
            pass
        assert not deadline.expired

    run(scenario)
