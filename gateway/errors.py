"""Everything that can go wrong, as one tree.

::

    BackchannelError
    ├── ConfigurationError        found at start; carries every Problem of every file
    ├── PeerError                 a JSON-RPC error object sent by a client or server, carried as it is
    │   ├── ResourceNotFound      a handshake-era server's -32002
    │   └── UrlElicitationRequired  a handshake-era server's -32042
    ├── CallError                 a client's call could not be carried to its end
    │   ├── UnknownTarget         no server exposes this tool, prompt or resource
    │   ├── InvalidCall           the call's own parameters are unusable
    │   ├── ServerUnavailable     the server is down, starting or broken
    │   ├── Overloaded            too much is going on; nothing of the call was begun
    │   │   └── ServerBusy        its server's calls are as many as may be, and it did not get its turn
    │   ├── ConnectionLost        the server's connection ended in mid-call
    │   │   └── NotTaken          and the server has said that it did not take the call
    │   ├── CallTimedOut          the server did not answer within the call's limit
    │   ├── LimitExceeded         a configured bound was reached
    │   └── CallCancelled         the client cancelled; nothing is answered
    ├── QuestionError             a server's input request that nobody answered
    │   ├── QuestionRefused       the kind is off, or the request belongs to no call
    │   ├── QuestionRejected      the user rejected the request; final
    │   ├── QuestionTooDeep       answering questions has led to it, one too many
    │   └── NobodyAnswered        every leg failed or was unavailable
    └── ProviderError             an LLM provider's attempt failed

Nothing here knows a wire format. `gateway.wire.faults` maps this tree to JSON-RPC
errors, once, for both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


class BackchannelError(Exception):
    """Base of every error this gateway raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the configuration, and what to do about it.

    `file` is as the user named it, `line` counts from 1 (None when the problem has no
    place in a file), `path` is the YAML path such as ``external_mcp.servers[0].url``.
    """

    file: str
    path: str
    message: str
    fix: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        where = f"{place}: {self.path}" if self.path else place
        return f"{where}: {self.message}" + (f"\n    fix: {self.fix}" if self.fix else "")


class ConfigurationError(BackchannelError):
    """The configuration cannot be used; `problems` holds all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class PeerError(BackchannelError):
    """A JSON-RPC error object that a peer sent; relayed with nothing changed."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def __repr__(self) -> str:
        return f"PeerError({self.code}, {self.message!r})"


class ResourceNotFound(PeerError):
    """A resource does not exist, as servers before 2026-07-28 say it (-32002)."""


class UrlElicitationRequired(PeerError):
    """The call is refused until the user has visited a URL (2025-11-25, client/elicitation: -32042).

    `data.elicitations` lists the URL elicitations; 2026-07-28 asks in the call's result instead.
    """


class CallError(BackchannelError):
    """A call that ends without the server's own result. The message says what to do."""


class UnknownTarget(CallError):
    """No server exposes what the call names."""


class InvalidCall(CallError):
    """The call's parameters are not what its method takes."""


class ServerUnavailable(CallError):
    """The server that owns the target is not connected."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"server '{server}' is unavailable: {reason}")
        self.server = server
        self.reason = reason


Bottleneck = Literal["client", "server", "gateway", "lag"]
"""What there is too much of: calls of one client, of one server, of all, or work for this process."""


class Overloaded(CallError):
    """Refused because of load; nothing of the call was begun, and it can be sent again as it is.

    `retry_after` is a whole number of seconds. `subject` is the client's or server's name.
    """

    def __init__(self, message: str, bottleneck: Bottleneck, subject: str = "") -> None:
        super().__init__(message)
        self.bottleneck: Bottleneck = bottleneck
        self.subject = subject
        self.retry_after = 1

    @property
    def data(self) -> dict[str, Any]:
        """What a client's program is told beside the message."""
        return {"overloaded": self.bottleneck, "retry_after_seconds": self.retry_after}


class ServerBusy(Overloaded):
    """The server carries as many calls as it may, and none ended in time for this one."""

    def __init__(self, message: str, server: str = "") -> None:
        super().__init__(message, "server", server)


class ConnectionLost(CallError):
    """The connection to the server ended while the call was in flight."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"server '{server}' ended the connection during the call: {reason}")
        self.server = server
        self.reason = reason


class NotTaken(ConnectionLost):
    """The connection ended, and the server said so instead of taking the call: it can be sent once more."""


class CallTimedOut(CallError):
    """The server did not answer within the call's limit."""


class LimitExceeded(CallError):
    """A configured bound was reached; the message names the setting."""


class CallCancelled(CallError):
    """The client cancelled the call; no answer is owed."""


class QuestionError(BackchannelError):
    """An input request that ends without an answer.

    `data` is what the asking server is told beside the message (JSON-serialisable).
    """

    def __init__(self, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.data = data


class QuestionRefused(QuestionError):
    """The gateway does not serve this kind of request; JSON-RPC -32601 on the wire."""


class QuestionRejected(QuestionError):
    """The user rejected the request; JSON-RPC -1 on the wire, and final."""


class QuestionTooDeep(QuestionError):
    """The answer to a question led to a call that asks the next, deeper than is allowed."""


class NobodyAnswered(QuestionError):
    """Every leg was tried or unavailable. `unavailable` is true if no leg could even be tried."""

    def __init__(self, message: str, data: dict[str, Any], *, unavailable: bool) -> None:
        super().__init__(message, data)
        self.unavailable = unavailable


class ProviderError(BackchannelError):
    """One LLM provider could not answer.

    `code` is the error code of the taxonomy in `docs/errors.md` (``E001`` …),
    `retryable` says whether the same provider may succeed when asked again, `retry_after`
    in how many seconds if it said so. `attempts` are the `gateway.llm.port.Attempt` of a chain.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.status = status
        self.retry_after = retry_after
        self.attempts: tuple[object, ...] = ()
