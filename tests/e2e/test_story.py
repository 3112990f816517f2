"""A provider that breaks, a budget that is spent and a question asked twice, as the log tells it.

The configuration and the story are those of `docs/providers.md`: the test plays the one, and
compares what was logged with the other.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from structlog.testing import capture_logs

from tests.llm.dialects import anthropic_said, openai_said
from tests.support.llm_gateway import asking_of, pass_time
from tests.support.scripted_http import answer, scripted_http

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
BROKEN = answer({"error": {"message": "out of order"}}, status=500)


def told() -> tuple[dict[str, Any], list[str]]:
    """The story's configuration and its lines, as the document has them."""
    chapter = DOCUMENT.read_text(encoding="utf-8").split("\n## A story\n")[1].split("\n## ")[0]
    config = re.search(r"```yaml\n(.*?)```", chapter, re.DOTALL)
    lines = re.search(r"```text\n(.*?)```", chapter, re.DOTALL)
    assert config is not None
    assert lines is not None
    return YAML(typ="safe").load(config[1]), lines[1].splitlines()


def line(entry: dict[str, Any]) -> str:
    """A record of the log as the document shows it: without times, and without where settings stand."""
    if entry["event"] == "decision":
        return re.sub(
            r"(, |\()\d+\.\d s\)", lambda match: ")" if match[1] == ", " else "", entry["summary"]
        ).split(" — ")[0]
    if entry["event"] == "provider_circuit":
        return f"{entry['provider']}: circuit {entry['state']}, {entry['failures']} failures in a row"
    return re.sub(r"; \S*gateway.yaml:\d+ ", "; ", entry["text"])


async def test_breaker_budget_and_cache_tell_their_story_in_the_log(tmp_path: Path) -> None:
    config, story = told()
    script = [answer(openai_said("ours")), BROKEN, BROKEN, answer(openai_said("ours again"))]
    async with (
        scripted_http(*script) as first,
        scripted_http(otherwise=answer(anthropic_said("the other's"))) as second,
    ):
        openai, anthropic = config["sampling"]["llm_configs"]
        openai |= {"base_url": f"{first.url}/v1", "api_key_env": "TEST_LLM_KEY"}
        anthropic |= {"base_url": second.url, "api_key_env": "TEST_LLM_KEY"}
        said: list[str] = []
        async with asking_of(tmp_path, config) as asked:
            with capture_logs() as logs:
                for _ in range(2):
                    said.append(await asked.text("What is a lane?", temperature=0))
                for question in ("Who?", "Where?", "When?"):
                    said.append(await asked.text(question))
                pass_time(asked.gateway, 61)
                for question in ("Why?", "How?"):
                    said.append(await asked.text(question))
    assert said == ["ours"] * 2 + ["the other's"] * 3 + ["ours again", "the client speaking"]
    assert (len(first.requests), first.unexpected) == (4, [])
    assert len(second.requests) == 3
    events = ("decision", "provider_circuit", "budget_exceeded")
    logged = [line(entry) for entry in logs if entry["event"] in events]
    assert logged == story, "\n".join(logged)
