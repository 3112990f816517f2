"""Whose session or parked call a name says it is, and what a name can never say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.resolved import MOST_WORKERS
from gateway.workers.folder import NoFolder, private_folder
from gateway.workers.ownership import Seat

FOLDER = Path("/tmp/seats")


def test_a_name_leads_to_the_worker_that_made_it() -> None:
    first, last = Seat(0, 12, FOLDER), Seat(11, 12, FOLDER)
    assert first.sibling(f"{last.prefix}abc") == 11
    assert first.sibling(last.owner) == 11
    assert last.sibling(f"{first.prefix}abc") == 0
    assert first.sibling(first.owner) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1",
        ".x",
        "3.x",
        "-1.x",
        "99.x",
        "1e0.x",
        "٣.x",
        "../1.x",
        "1/../../x.sock",
        " 1.x",
        "1 .x",
        "0x1.x",
    ],
)
def test_a_name_that_no_worker_made_leads_nowhere(name: str) -> None:
    assert Seat(0, 3, FOLDER).sibling(name) is None


def test_a_worker_that_takes_the_place_of_a_dead_one_does_not_take_its_calls() -> None:
    before, after = Seat(1, 2, FOLDER), Seat(1, 2, FOLDER)
    assert before.prefix == after.prefix
    assert before.owner != after.owner


def test_sockets_are_where_only_this_user_can_reach_them_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    for parent in (tmp_path, deep):
        monkeypatch.setattr("tempfile.tempdir", str(parent))
        with private_folder() as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            assert len(str(Seat(0, MOST_WORKERS, folder).socket(MOST_WORKERS - 1))) <= 103
        assert not folder.exists()
    assert list(deep.iterdir()) == []


def test_no_place_for_sockets_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    with pytest.raises(NoFolder, match=r"Permission denied.*set TMPDIR"):
        with private_folder():
            pass
