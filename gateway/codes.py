"""The error codes a question can end with, what each means, and what to do about it.

Leaf module like `gateway.errors`: it imports nothing of the package. Codes travel in the
`data` of errors told to servers and in decision records; `docs/errors.md` is the same
table for people, and a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

CONTEXT_MISSING: Final = "E001"
TIMEOUT: Final = "E002"
RATE_LIMIT: Final = "E003"
INVALID_CONFIG: Final = "E004"
CIRCUIT_OPEN: Final = "E005"
PROMPT_TOO_LONG: Final = "E006"
SECURITY_VIOLATION: Final = "E007"
MODEL_UNAVAILABLE: Final = "E008"
WORKSPACE_ACCESS: Final = "E009"
INVALID_ANSWER: Final = "E010"
INVALID_REQUEST: Final = "E011"
BUDGET_EXCEEDED: Final = "E012"
TOO_DEEP: Final = "E013"
LOW_CONFIDENCE: Final = "E014"
UNKNOWN: Final = "E999"


@dataclass(frozen=True, slots=True)
class Entry:
    """One code. `recoverable` says whether the same question may succeed when asked again."""

    code: str
    name: str
    meaning: str
    recoverable: bool
    action: str


_ENTRIES = (
    Entry(
        CONTEXT_MISSING,
        "CONTEXT_MISSING",
        "no client can be asked: no call, no open channel, or a capability that was not declared",
        False,
        "Connect a client that declares the capability, or let the policy name the gateway's LLM",
    ),
    Entry(
        TIMEOUT,
        "TIMEOUT",
        "the answer did not come within the leg's limit",
        True,
        "Ask again with a shorter prompt, or raise the leg's timeout",
    ),
    Entry(
        RATE_LIMIT,
        "RATE_LIMIT",
        "a provider's rate limit, or one of the gateway's own bounds on questions, was reached",
        True,
        "Wait before asking again, or raise the limit that the message names",
    ),
    Entry(
        INVALID_CONFIG,
        "INVALID_CONFIG",
        "the LLM is not configured, or its provider refuses the configuration (key, model, address)",
        False,
        "Run `backchannel check` and `backchannel doctor`, and correct the provider's settings",
    ),
    Entry(
        CIRCUIT_OPEN,
        "CIRCUIT_OPEN",
        "the provider failed repeatedly and is left alone for a while",
        True,
        "Wait for the provider to recover, or add another provider to the chain",
    ),
    Entry(
        PROMPT_TOO_LONG,
        "PROMPT_TOO_LONG",
        "the prompt exceeds what the model takes",
        False,
        "Shorten the prompt, or configure a model with a larger context",
    ),
    Entry(
        SECURITY_VIOLATION,
        "SECURITY_VIOLATION",
        "the question asks for a secret or a person's consent, which no LLM may give",
        False,
        "Ask the user: route this elicitation to the client",
    ),
    Entry(
        MODEL_UNAVAILABLE,
        "MODEL_UNAVAILABLE",
        "the model or its provider does not answer, or cannot do what the question needs",
        True,
        "Ask again later, choose another model, or add another provider to the chain",
    ),
    Entry(
        WORKSPACE_ACCESS,
        "WORKSPACE_ACCESS",
        "the client gives no access to its roots",
        False,
        "Connect a client that declares `roots`, or name the paths in the tool's arguments",
    ),
    Entry(
        INVALID_ANSWER,
        "INVALID_ANSWER",
        "an answer came, but it does not satisfy the schema or the protocol",
        True,
        "Ask again, or simplify the requested schema",
    ),
    Entry(
        INVALID_REQUEST,
        "INVALID_REQUEST",
        "the server's question itself is not what its method takes",
        False,
        "Correct the server's request; the reason names the field",
    ),
    Entry(
        BUDGET_EXCEEDED,
        "BUDGET_EXCEEDED",
        "what may be spent on the LLM today is spent",
        False,
        "Ask again after midnight (UTC), or raise the budget that the decision record names",
    ),
    Entry(
        TOO_DEEP,
        "TOO_DEEP",
        "answering a question led to a call that asked the next, more often than is allowed",
        False,
        "Answer without calling the tool that asks, or raise `limits.max_question_depth`",
    ),
    Entry(
        LOW_CONFIDENCE,
        "LOW_CONFIDENCE",
        "the LLM filled the form in, but its answer is not to be believed as far as the policy asks",
        False,
        "Ask the user, give the facts in the call's arguments or the message, or lower `min_confidence`",
    ),
    Entry(
        UNKNOWN,
        "UNKNOWN",
        "anything else",
        False,
        "Look the decision up in the gateway's log",
    ),
)

TAXONOMY: Mapping[str, Entry] = {entry.code: entry for entry in _ENTRIES}
"""Every code, in order."""


def describe(code: str | None) -> Entry:
    """Return the entry of a code; an unknown or missing code is `UNKNOWN`."""
    return TAXONOMY.get(code or UNKNOWN, TAXONOMY[UNKNOWN])


def told(code: str | None) -> dict[str, Any]:
    """Return what the `data` of an error says of its code."""
    entry = describe(code)
    return {"code": entry.code, "recoverable": entry.recoverable, "suggestedAction": entry.action}
