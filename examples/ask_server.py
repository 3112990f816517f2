"""An MCP server whose tools ask back. It speaks both eras of the protocol.

    python examples/ask_server.py              # on standard input and output
    python examples/ask_server.py --http 8000  # Streamable HTTP at http://127.0.0.1:8000/mcp

`summarize` and `book_table` declare what they need and let the SDK ask; `critique` asks by
hand, so that it still works where nobody answers.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Annotated, Any, Literal

from mcp import MCPDeprecationWarning, MCPError
from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, MCPServer, Resolve
from mcp.server.mcpserver.resolve import Sample
from mcp.types import (
    METHOD_NOT_FOUND,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    InputRequiredResult,
    SamplingMessage,
    TextContent,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field

mcp = MCPServer("ask", instructions="Tools that ask back: for a model's words, or for a person's choice.")

CRITIC = "You are a critical reader. In two sentences, name the weakest point of the reasoning and a fix."


@mcp.tool()
def echo(text: str) -> str:
    """Return the text. Asks nothing."""
    return text


def ask_for_summary(text: str) -> Sample:
    """The question of `summarize`: a request for a model's words (sampling/createMessage)."""
    return Sample([user(f"Summarize in one sentence:\n\n{text}")], max_tokens=80, temperature=0)


@mcp.tool()
def summarize(
    text: str,  # noqa: ARG001 - the question is made of it
    summary: Annotated[CreateMessageResult, Resolve(ask_for_summary)],
) -> str:
    """Summarize a text with whichever model answers, and say which it was."""
    return f"{words(summary)}\n\n({answered_by(summary)})"


class Seating(BaseModel):
    """What a person is asked before a table is booked."""

    seating: Literal["inside", "terrace"] = Field(description="Where to sit")
    confirm: bool = Field(description="Book the table?")


def ask_for_seating(date: str, people: int) -> Elicit[Seating]:
    """The question of `book_table`: a form for a person (elicitation/create)."""
    return Elicit(f"A table for {people} on {date}: where would you like to sit?", Seating)


@mcp.tool()
def book_table(
    date: str, people: int, choice: Annotated[ElicitationResult[Seating], Resolve(ask_for_seating)]
) -> str:
    """Book a table, once a person has chosen a seat and confirmed."""
    if not isinstance(choice, AcceptedElicitation) or not choice.data.confirm:
        return "No table was booked."
    return f"Booked: a table for {people} on {date}, {choice.data.seating}."


@mcp.tool()
async def critique(
    thought: str, ctx: Context[Any], previous: list[str] | None = None
) -> str | InputRequiredResult:
    """Criticize a step of reasoning, given up to five steps before it. Works without a model, too."""
    steps = "\n\n".join([*(previous or [])[-5:], f"Current thought: {thought}"])
    question = CreateMessageRequestParams(messages=[user(steps)], system_prompt=CRITIC, max_tokens=120)
    if ctx.session.protocol_version in MODERN_PROTOCOL_VERSIONS:
        declared = ctx.session.client_capabilities
        if declared is None or declared.sampling is None:
            return without_critic(thought)
        answer = (ctx.input_responses or {}).get("critique")
        if not isinstance(answer, CreateMessageResult):
            return InputRequiredResult(input_requests={"critique": CreateMessageRequest(params=question)})
        return words(answer)
    try:
        answer = await ctx.session.create_message(
            question.messages,
            max_tokens=question.max_tokens,
            system_prompt=CRITIC,
            related_request_id=ctx.request_id,
        )
    except MCPError as error:
        if error.code == METHOD_NOT_FOUND:
            return without_critic(thought)
        raise
    return words(answer)


def without_critic(thought: str) -> str:
    """What `critique` can do by itself."""
    return f"Noted without a critique, since no model answers here: {thought}"


def user(text: str) -> SamplingMessage:
    """Return a message of the user."""
    return SamplingMessage(role="user", content=TextContent(text=text))


def words(answer: CreateMessageResult) -> str:
    """Return the text of an answer."""
    return answer.content.text if isinstance(answer.content, TextContent) else f"[{answer.content.type}]"


def answered_by(answer: CreateMessageResult) -> str:
    """Say who answered: a gateway notes it in `_meta`, next to the model's name."""
    routing = (answer.meta or {}).get("backchannel/routing")
    if routing is None:
        return f"answered by {answer.model}"
    return (
        f"answered by {answer.model}: the {routing['source']}, by {routing['strategy']} of {routing['path']}"
    )


def main() -> None:
    """Serve on the transport that the command line names."""
    parser = argparse.ArgumentParser(description="An MCP server whose tools ask back")
    parser.add_argument("--http", type=int, metavar="PORT", help="serve Streamable HTTP, not stdio")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on with --http")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    if options.http is None:
        mcp.run("stdio")
    else:
        mcp.run("streamable-http", host=options.host, port=options.http)


if __name__ == "__main__":
    main()
