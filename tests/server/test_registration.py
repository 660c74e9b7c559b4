"""Taking over the roster while the server runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fedcore.storage.events import EventLog
from fedcore_server.service import registration
from fedcore_server.service.registration import Registration
from tests.checkup.builders import build_server_home
from tests.trust.builders import welcome


def test_a_roster_that_is_damaged_while_the_server_runs_is_told_once_and_taken_over_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, told, synced, clock = build_server_home(tmp_path / "federation"), [], [], [0.0]
    admitted: list[list[bytes]] = []
    monkeypatch.setattr(registration.time, "monotonic", lambda: clock[0])
    taking_over = Registration(
        home, EventLog(tmp_path / "events.jsonl"), admit=lambda keys: admitted.append(list(keys)), show=told.append
    )
    control = SimpleNamespace(sync_nodes=lambda roster: synced.append(roster.version))

    def look(times: int) -> None:
        for _ in range(times):
            taking_over.sync(control)  # type: ignore[arg-type]
            clock[0] += 0.2

    look(50)
    assert (told, synced) == (["roster 1: nobody yet"], [1])
    whole = home.roster_file.read_bytes()
    home.roster_file.write_bytes(b"")
    look(200)
    assert len(told) == 2
    assert f"{home.roster_file} cannot be used, and the clients stay the same" in told[1]
    home.roster_file.write_bytes(whole)
    welcome(home.path, "hospital-a")
    look(50)
    assert (told[2:], synced) == (["roster 2: hospital-a"], [1, 2])
    assert admitted[0] == []
    assert admitted[-1] == [member.flower_key for member in home.roster().members]
