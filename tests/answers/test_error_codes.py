from __future__ import annotations

import re
from pathlib import Path

from gateway import codes

ROOT = Path(__file__).parents[2]


def test_the_documented_table_is_the_one_in_the_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| (E\d{3}) \| (.+?) \| (.+?) \| (yes|no) \| (.+?) \|$", text, re.MULTILINE)

    assert rows == [
        (entry.code, entry.name, entry.meaning, "yes" if entry.recoverable else "no", entry.action)
        for entry in codes.TAXONOMY.values()
    ]


def test_every_code_used_in_the_package_is_documented() -> None:
    used = {
        code
        for file in (ROOT / "gateway").rglob("*.py")
        for code in re.findall(r"\"(E\d{3})\"", file.read_text())
    }

    assert used <= codes.TAXONOMY.keys()


def test_a_code_nobody_knows_is_unknown() -> None:
    assert codes.describe("E123").code == codes.describe(None).code == codes.UNKNOWN
    assert codes.told("E002")["recoverable"] is True
