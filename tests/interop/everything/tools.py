"""The tools of the everything-server, each by the name that the conformance suite calls it by.

A tool that asks is written once for both eras, and answers with what it was told.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import mcp.types as types
from mcp import MCPError
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ServerEvent,
    ToolsListChanged,
)

from tests.interop.everything import content
from tests.interop.everything.content import NAME, STRING, Json, object_of, text
from tests.support.servers.questions import Asker, Question

PAUSE = 0.05
"""Seconds between two notifications of one call, as the suite wants them."""


@dataclass(frozen=True)
class Call:
    """One call of a tool."""

    asker: Asker
    arguments: Json
    bus: InMemorySubscriptionBus

    async def log(self, words: str) -> None:
        ctx = self.asker.ctx
        await ctx.session.send_log_message("info", words, "everything", ctx.request_id)


Run = Callable[[Call], Awaitable[list[Json]]]


@dataclass(frozen=True)
class Tool:
    """A tool: its listing, and what it does."""

    name: str
    run: Run
    schema: Json = field(default_factory=object_of)

    @property
    def listing(self) -> Json:
        description = (self.run.__doc__ or self.name).strip()
        return {"name": self.name, "description": description, "inputSchema": self.schema}


class ToolFailed(Exception):
    """A tool did not do what it was called for; the caller is told in the result."""


async def simple_text(call: Call) -> list[Json]:
    """Return a text"""
    return [text("This is a simple text response for testing.")]


async def image(call: Call) -> list[Json]:
    """Return a picture"""
    return [content.image()]


async def audio(call: Call) -> list[Json]:
    """Return a sound"""
    return [content.audio()]


async def embedded_resource(call: Call) -> list[Json]:
    """Return a resource in the result"""
    return [
        content.embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ]


async def mixed(call: Call) -> list[Json]:
    """Return several kinds of content"""
    data = json.dumps({"test": "data", "value": 123})
    resource = content.embedded("test://mixed-content-resource", "application/json", data)
    return [text("Multiple content types test:"), content.image(), resource]


async def failing(call: Call) -> list[Json]:
    """Fail"""
    raise ToolFailed("This tool intentionally returns an error for testing")


async def logging(call: Call) -> list[Json]:
    """Log three times"""
    await call.log("Tool execution started")
    for words in ("Tool processing data", "Tool execution completed"):
        await anyio.sleep(PAUSE)
        await call.log(words)
    return [text("Tool with logging executed successfully")]


async def progress(call: Call) -> list[Json]:
    """Report progress three times"""
    for done in (0, 50, 100):
        await call.asker.ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
        await anyio.sleep(PAUSE)
    return [text("Tool with progress executed successfully")]


async def mirrored(call: Call) -> list[Json]:
    """Take an argument that a header repeats"""
    return [text(f"region={call.arguments.get('region')}")]


async def schema_2020_12(call: Call) -> list[Json]:
    """Have a schema of JSON Schema 2020-12"""
    return [text(json.dumps(call.arguments))]


async def missing_capability(call: Call) -> list[Json]:
    """Refuse clients that declare no sampling"""
    declared = call.asker.ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "this tool samples, and the client declares no sampling",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return [text("The client declares sampling")]


def changing(event: Callable[[], ServerEvent], what: str) -> Run:
    """Return a tool that says a list has changed."""

    async def change(call: Call) -> list[Json]:
        await call.bus.publish(event())
        if not call.asker.modern:
            await getattr(call.asker.ctx.session, f"send_{what}_list_changed")()
        return [text(f"the list of {what}s has changed")]

    change.__doc__ = f"Say that the list of {what}s has changed"
    return change


def form(message: str, schema: Json) -> Question:
    return "elicitation/create", {"mode": "form", "message": message, "requestedSchema": schema}


def sample(prompt: str, tokens: int = 100) -> Question:
    message = {"role": "user", "content": text(prompt)}
    return "sampling/createMessage", {"messages": [message], "maxTokens": tokens}


ROOTS: Question = ("roots/list", {})


async def ask(call: Call, **questions: Question) -> dict[str, Json]:
    """Put questions, and return the results.

    Raises:
        ToolFailed: one was answered with an error.
    """
    answers = await call.asker.ask_all(questions)
    failed = {key: answer for key, answer in answers.items() if "result" not in answer}
    if failed:
        raise ToolFailed(f"not answered: {json.dumps(failed)}")
    return {key: answer["result"] for key, answer in answers.items()}


async def sampling(call: Call) -> list[Json]:
    """Ask the client's language model"""
    answer = (await ask(call, answer=sample(call.arguments["prompt"])))["answer"]
    return [text(f"LLM response: {answer['content'].get('text')}")]


def eliciting(label: str, key: str, message: str | None, schema: Json) -> Run:
    """Return a tool that puts one form; without a message it takes its caller's."""

    async def elicit(call: Call) -> list[Json]:
        asked = form(message or call.arguments["message"], schema)
        answer = (await ask(call, **{key: asked}))[key]
        return [text(f"{label}: action={answer['action']}, content={json.dumps(answer.get('content', {}))}")]

    elicit.__doc__ = f"Ask the user: {message or 'what the caller says'}"
    return elicit


async def greet(call: Call) -> list[Json]:
    """Ask the user for a name"""
    answer = (await ask(call, user_name=form("What is your name?", NAME)))["user_name"]
    return [text(f"Hello, {answer.get('content', {}).get('name')}!")]


async def capital(call: Call) -> list[Json]:
    """Ask the client's language model for a capital"""
    answer = await ask(call, capital_question=sample("What is the capital of France?"))
    return [text(f"Model said: {answer['capital_question']['content'].get('text')}")]


async def roots(call: Call) -> list[Json]:
    """Ask the client for its roots"""
    answer = await ask(call, client_roots=ROOTS)
    return [text(f"Client exposed {len(answer['client_roots']['roots'])} root(s).")]


async def confirm(call: Call) -> list[Json]:
    """Ask the user to confirm, and carry state meanwhile"""
    await ask(call, confirm=form("Please confirm", object_of("ok", ok={"type": "boolean"})))
    return [text("state-ok: confirmation received")]


async def several(call: Call) -> list[Json]:
    """Ask three things at once"""
    await ask(
        call,
        user_name=form("What is your name?", NAME),
        greeting=sample("Generate a greeting", 50),
        client_roots=ROOTS,
    )
    return [text("All inputs received.")]


async def rounds(call: Call) -> list[Json]:
    """Ask twice, one after the other"""
    first = (await ask(call, step1=form("Step 1: What is your name?", NAME)))["step1"]
    colour = form("Step 2: What is your favorite color?", object_of("color", color=STRING))
    second = (await ask(call, step2=colour))["step2"]
    name, color = first.get("content", {}).get("name"), second.get("content", {}).get("color")
    return [text(f"{name} likes {color}.")]


async def declared(call: Call) -> list[Json]:
    """Ask what the client declares that it can be asked"""
    session = call.asker.ctx.session
    capabilities = session.client_capabilities
    questions: dict[str, Question] = {}
    if capabilities is not None and capabilities.sampling is not None:
        questions["sample"] = sample("Say hello", 50)
    if capabilities is not None and capabilities.elicitation is not None:
        questions["ask"] = form("What is your name?", NAME)
    answers = await ask(call, **questions)
    return [text(f"answered: {sorted(answers)}")]


_REGION = object_of(region={"type": "string", "x-mcp-header": "Region"})
_USER = object_of("username", "email", username=STRING, email=STRING)
_ROUND = "test_input_required_result_"

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("test_simple_text", simple_text),
        Tool("test_image_content", image),
        Tool("test_audio_content", audio),
        Tool("test_embedded_resource", embedded_resource),
        Tool("test_multiple_content_types", mixed),
        Tool("test_error_handling", failing),
        Tool("test_tool_with_logging", logging),
        Tool("test_logging_tool", logging),
        Tool("test_tool_with_progress", progress),
        Tool("test_x_mcp_header", mirrored, _REGION),
        Tool("json_schema_2020_12_tool", schema_2020_12, content.MODERN_SCHEMA),
        Tool("test_missing_capability", missing_capability),
        Tool("test_trigger_tool_change", changing(ToolsListChanged, "tool")),
        Tool("test_trigger_prompt_change", changing(PromptsListChanged, "prompt")),
        Tool("test_sampling", sampling, object_of("prompt", prompt=STRING)),
        Tool(
            "test_elicitation",
            eliciting("User response", "user", None, _USER),
            object_of("message", message=STRING),
        ),
        Tool(
            "test_elicitation_sep1034_defaults",
            eliciting("Elicitation completed", "defaults", "Please look through this", content.DEFAULTS),
        ),
        Tool(
            "test_elicitation_sep1330_enums",
            eliciting("Elicitation completed", "enums", "Please choose", content.ENUMS),
        ),
        Tool("test_streaming_elicitation", greet),
        Tool(f"{_ROUND}elicitation", greet),
        Tool(f"{_ROUND}sampling", capital),
        Tool(f"{_ROUND}list_roots", roots),
        Tool(f"{_ROUND}request_state", confirm),
        Tool(f"{_ROUND}tampered_state", confirm),
        Tool(f"{_ROUND}multiple_inputs", several),
        Tool(f"{_ROUND}multi_round", rounds),
        Tool(f"{_ROUND}capabilities", declared),
    )
}
