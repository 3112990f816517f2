"""An MCP server that asks back: sampling for text, elicitation for a person's choice.

    python examples/ask_server.py                 over stdio
    python examples/ask_server.py --http 8000     over Streamable HTTP

It speaks both protocol eras: the SDK turns each question into a server-initiated request
or an entry of an `InputRequiredResult`, whichever its client understands.
"""

from __future__ import annotations

import argparse
from typing import Annotated, Literal

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Elicit, MCPServer, Resolve, Sample
from mcp.types import CreateMessageResult, SamplingMessage, TextContent
from pydantic import BaseModel, Field

server = MCPServer("ask", instructions="Tools of this server ask back before they answer.")


def ask_for_summary(text: str) -> Sample:
    question = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    system = "Summarize what the user says in one short sentence."
    return Sample([question], max_tokens=60, system_prompt=system, temperature=0.0)


@server.tool()
async def summarize(text: str, answer: Annotated[CreateMessageResult, Resolve(ask_for_summary)]) -> str:
    """Summarize a text with whatever language model the asker is given."""
    words = answer.content.text if isinstance(answer.content, TextContent) else "(not text)"
    return f"{len(text)} characters in short: {words.strip()} [by {answer.model}]"


class Seating(BaseModel):
    """What only the guest can say."""

    seating: Literal["inside", "terrace"] = Field(description="Where would you like to sit?")
    high_chair: bool = Field(default=False, description="Do you need a high chair?")


def ask_for_seating(date: str, people: int) -> Elicit[Seating]:
    return Elicit(f"A table for {people} on {date}: where shall we seat you?", Seating)


@server.tool()
async def book_table(
    date: str, people: int, choice: Annotated[ElicitationResult[Seating], Resolve(ask_for_seating)]
) -> str:
    """Book a table at a restaurant; asks where to sit."""
    if not isinstance(choice, AcceptedElicitation):
        return f"no table booked: the guest chose to {choice.action}"
    return f"booked for {people} on {date}, {choice.data.seating}"


@server.tool()
def echo(text: str) -> str:
    """Return the text: a tool that asks nothing."""
    return text


def main() -> None:
    arguments = argparse.ArgumentParser(description="an MCP server whose tools ask back")
    arguments.add_argument("--http", type=int, metavar="PORT", help="serve Streamable HTTP instead of stdio")
    arguments.add_argument("--host", default="127.0.0.1")
    given = arguments.parse_args()
    if given.http is None:
        server.run()
    else:
        server.run("streamable-http", host=given.host, port=given.http)


if __name__ == "__main__":
    main()
