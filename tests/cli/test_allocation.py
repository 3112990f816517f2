"""What was large goes back to the system once it is freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os
from gateway.cli.allocation import give_back_what_was_large

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

give_back_what_was_large()
small = []
for _ in range(4):
    kept = []
    for _ in range(4):
        kept.append(b"x" * 1_000_000)
        small.append(b"y" * 100_000)
    before = resident()
    del kept
    print((before - resident()) / 4_000_000 > 0.9)
"""
"""Small things lie behind the large ones: by itself glibc would keep all room before the last of them."""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="other systems' allocators have no such call"
)
def test_memory_of_large_results_is_given_back_each_time() -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=50
    )
    assert told.stdout.split() == ["True"] * 4
