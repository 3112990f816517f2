"""How the asking server asks, in either era, with the raw answers kept.

In the handshake era a question is a request to the client; in 2026-07-28 it is an entry of an
`InputRequiredResult`, and the tool runs again from its start once the answers are here. Tools
are written once for both: `await asker.ask(...)`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ConfigDict, ValidationError

Json = dict[str, Any]
Question = tuple[str, Json]
"""Method and params."""


class RawRequest(BaseModel):
    method: str
    params: Json


class RawResult(BaseModel):
    model_config = ConfigDict(extra="allow")


class InputNeeded(Exception):
    """The call cannot go on before the client has answered; `result` is what to return."""

    def __init__(self, result: Json) -> None:
        super().__init__("input required")
        self.result = result


class Asker:
    """Asks for one call. `related` says whether a question names the call it belongs to."""

    def __init__(self, ctx: ServerRequestContext[Any, Any], related: bool) -> None:
        self.ctx = ctx
        self.related = related
        params = ctx.params or {}
        state = params.get("requestState")
        self._answers: Json = json.loads(state) if state else {}
        self._answers.update(params.get("inputResponses") or {})
        self._asked = 0

    @property
    def modern(self) -> bool:
        return self.ctx.protocol_version in MODERN_PROTOCOL_VERSIONS

    async def ask(self, method: str, params: Json, timeout: float | None = None) -> Json:
        """Return `{"result": …}`, `{"error": {code, message, data}}` or `{"invalid": why}`.

        Raises:
            InputNeeded: in the modern era, when the answer is not here yet.
        """
        self._asked += 1
        key = f"q{self._asked}"
        return (await self.ask_all({key: (method, params)}, timeout))[key]

    async def ask_all(
        self, questions: Mapping[str, Question], timeout: float | None = None
    ) -> dict[str, Json]:
        """Ask several at once."""
        if self.modern:
            return self._from_the_round(questions)
        answers: dict[str, Json] = {}

        async def one(key: str, question: Question) -> None:
            answers[key] = await self._send(question, timeout)

        async with anyio.create_task_group() as tasks:
            for key, question in questions.items():
                tasks.start_soon(one, key, question)
        return {key: answers[key] for key in questions}

    def _from_the_round(self, questions: Mapping[str, Question]) -> dict[str, Json]:
        missing = {
            key: {"method": method, "params": params}
            for key, (method, params) in questions.items()
            if key not in self._answers
        }
        if missing:
            state = json.dumps(self._answers)
            raise InputNeeded(
                {"resultType": "input_required", "inputRequests": missing, "requestState": state}
            )
        return {key: {"result": self._answers[key]} for key in questions}

    async def _send(self, question: Question, timeout: float | None) -> Json:
        method, params = question
        related = self.ctx.request_id if self.related else None
        try:
            answer = await self.ctx.session.send_request(
                RawRequest(method=method, params=params),  # type: ignore[arg-type]
                RawResult,
                timeout,
                ServerMessageMetadata(related_request_id=related),
            )
        except MCPError as error:
            fields = {"code": error.error.code, "message": error.error.message, "data": error.error.data}
            return {"error": {key: value for key, value in fields.items() if value is not None}}
        except ValidationError as error:
            return {"invalid": str(error)}
        return {"result": answer.model_dump(mode="json")}
