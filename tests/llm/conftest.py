from __future__ import annotations

import os

import pytest

from tests.support.no_network import forbid_network

_AMBIENT = ("OPENAI_", "ANTHROPIC_", "OLLAMA_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and none of the developer's own keys, hosts or proxies."""
    forbid_network(monkeypatch)
    for name in list(os.environ):
        if name.upper().startswith(_AMBIENT):
            monkeypatch.delenv(name)
