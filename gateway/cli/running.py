"""What a gateway that runs with this configuration says of its LLM providers."""

from __future__ import annotations

from typing import Any

import httpx2

_SECONDS = 2.0


async def circuits(base: str) -> list[str]:
    """Return a line for each provider that the gateway at `base` leaves alone; none where nobody listens."""
    try:
        async with httpx2.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            response = await http.get(f"{base}/api/llm")
    except httpx2.HTTPError:
        return []  # nothing runs there, which is no fault
    if response.status_code == 401:
        return [f"a gateway runs at {base}; whom it leaves alone it tells who has a key, at GET /api/llm"]
    if response.status_code != 200:
        return []
    try:
        shown: Any = response.json()
    except ValueError:
        return []  # something else listens there
    providers = [*shown.get("sampling", ()), *shown.get("elicitation", ())]
    return list(dict.fromkeys(_line(one) for one in providers if one["circuit"]["state"] != "closed"))


def _line(provider: dict[str, Any]) -> str:
    circuit = provider["circuit"]
    again = "" if circuit["retry_in"] is None else f"; asked again in {circuit['retry_in']:.0f} s"
    return (
        f"the running gateway leaves {provider['provider']} ({provider['model']}) alone: its circuit is "
        f"{circuit['state']} after {circuit['failures']} failures in a row{again}"
    )
