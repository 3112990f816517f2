"""Which lane carries a call: a pure decision over a snapshot, acted on by `gateway.upstream.pool`.

A lane is one connection to one server, and the calls that it carries. Most servers do not say
for which call they ask something, so a lane carries at one time only calls whose questions
would be answered alike (`LaneKey`). The rules:

* A lane that belongs to a client session (`pin`) carries that session's calls alone, and a
  session has one lane: servers keep state per connection. Calls of a session that may not
  run together wait for each other.
* A lane of a server that attributes exactly (`exact`, the modern era) carries any number of
  calls of one declared profile.
* A call abandoned in mid-flight (cancelled, timed out) may still be running at the server and
  may still ask. Its lane, unless it belongs to a session anyway, is `bound` to the party of
  that call from then on.
* Waiting is fair: no call takes what an earlier one waits for.
* The control lane is held open by the supervisor, counts for nothing and is never evicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.calls.model import Profile
from gateway.upstream.profiles import LaneKey


class Want(NamedTuple):
    """What a call needs of a lane.

    `pin` is the session the lane must belong to (None: no one's). `fresh` asks for a
    connection of its own, closed afterwards. `quiet` requests are the gateway's (listings,
    subscriptions): they raise no questions, so they run beside any call of their party.
    """

    key: LaneKey
    pin: str | None = None
    fresh: bool = False
    quiet: bool = False


class LaneView(NamedTuple):
    """A lane as the decision sees it.

    `key` is what its calls have in common (None: none but quiet ones run), `running` counts
    all of them. `idle_since` is when the last ended, None while any runs.
    """

    id: int
    profile: Profile
    pin: str | None = None
    control: bool = False
    exact: bool = False
    fresh: bool = False
    key: LaneKey | None = None
    running: int = 0
    bound: str | None = None
    idle_since: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The server's settings: how many lanes, and after how many seconds an idle one may go."""

    max_lanes: int
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class Claims:
    """What calls that came earlier are waiting for, and later ones must leave to them."""

    lanes: frozenset[int] = frozenset()
    room: bool = False

    def __or__(self, other: Claims) -> Claims:
        return Claims(self.lanes | other.lanes, self.room or other.room)


@dataclass(frozen=True, slots=True)
class Use:
    """Join this lane."""

    lane: int


@dataclass(frozen=True, slots=True)
class Open:
    """Open a new lane, in the place of `evict` if given."""

    evict: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait; `claims` is for what. `until` is when time alone may change the decision."""

    claims: Claims
    until: float | None = None


Decision = Use | Open | Wait


def decide(
    want: Want, lanes: Sequence[LaneView], rules: Rules, now: float, claimed: Claims | None = None
) -> Decision:
    """Decide what becomes of one call, given what earlier ones wait for."""
    claimed = claimed or Claims()
    own = [lane for lane in lanes if _usable(lane, want)]
    for lane in sorted(own, key=_preference):
        if lane.id not in claimed.lanes and _admits(lane, want):
            return Use(lane.id)
    if want.pin is not None and own:
        return Wait(Claims(frozenset(lane.id for lane in own)))
    if not claimed.room:
        if sum(not lane.control for lane in lanes) < rules.max_lanes:
            return Open()
        victim = _victim(want, [lane for lane in lanes if lane.id not in claimed.lanes], rules, now)
        if victim is not None:
            return Open(evict=victim.id)
    helpful = frozenset(lane.id for lane in lanes if lane.pin is None and _helps(lane, want))
    return Wait(Claims(helpful, room=True), _next_eviction(lanes, rules))


def expired(lanes: Sequence[LaneView], rules: Rules, now: float) -> list[int]:
    """Return the lanes that nobody needs any more: no one's own, and idle for long enough."""
    return [
        lane.id
        for lane in lanes
        if lane.pin is None
        and not lane.control
        and lane.idle_since is not None
        and now >= lane.idle_since + rules.idle_seconds
    ]


def next_expiry(lanes: Sequence[LaneView], rules: Rules) -> float | None:
    """Return when `expired` will next have something to say."""
    times = [
        lane.idle_since + rules.idle_seconds
        for lane in lanes
        if lane.pin is None and not lane.control and lane.idle_since is not None
    ]
    return min(times, default=None)


def _usable(lane: LaneView, want: Want) -> bool:
    """Whether the lane could ever carry the call."""
    return (
        not want.fresh
        and not lane.fresh
        and lane.profile == want.key.profile
        and lane.pin == want.pin
        and lane.bound in (None, want.key.party)
    )


def _admits(lane: LaneView, want: Want) -> bool:
    """Whether the lane can carry the call now."""
    if lane.exact or lane.key is None or lane.key == want.key:
        return True
    return want.quiet and lane.key.party == want.key.party


def _preference(lane: LaneView) -> tuple[bool, bool, int]:
    """Busy lanes first, then the control lane: what is left over idles out."""
    return (lane.running == 0, not lane.control, lane.id)


def _helps(lane: LaneView, want: Want) -> bool:
    """Whether the lane, once empty, serves the waiting call: by carrying it, or by going."""
    return _usable(lane, want) if lane.control else True


def _victim(want: Want, lanes: Sequence[LaneView], rules: Rules, now: float) -> LaneView | None:
    """Return the lane to close in favour of a call: first one that holds no session's state."""
    idle = [lane for lane in lanes if lane.idle_since is not None and not lane.control]
    # A session's lane with another profile is what it declared before: the session replaces it.
    stateless = [lane for lane in idle if lane.pin is None or lane.pin == want.pin]
    overdue = [lane for lane in idle if now >= _idle_since(lane) + rules.idle_seconds]
    return min(stateless or overdue, key=_idle_since, default=None)


def _next_eviction(lanes: Sequence[LaneView], rules: Rules) -> float | None:
    idle = [lane for lane in lanes if lane.pin is not None and lane.idle_since is not None]
    return min((_idle_since(lane) + rules.idle_seconds for lane in idle), default=None)


def _idle_since(lane: LaneView) -> float:
    return 0.0 if lane.idle_since is None else lane.idle_since
