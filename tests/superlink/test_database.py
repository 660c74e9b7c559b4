"""The SuperLink's database is made whole, or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict
from sqlalchemy import event
from sqlalchemy.engine import Engine

from fedcore.errors import DeploymentError
from fedcore_server.flower.superlink.control import Control
from fedcore_server.flower.superlink.process import SuperLink
from tests.superlink.builders import NodeKey, answering, echo, random_bytes, request_to, settings_in, site_in

pytestmark = pytest.mark.xdist_group("servers")


@contextmanager
def _disk_of(pages: int) -> Iterator[None]:
    """SQLite says that the disk is full when a database has this many pages."""

    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


def test_a_disk_too_small_for_the_first_start_leaves_nothing_and_the_next_start_works(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with _disk_of(8), pytest.raises(DeploymentError, match=r"disk is full.*start the server again") as failed:
        SuperLink(settings).start()
    assert "CREATE TABLE" not in str(failed.value)
    assert list(tmp_path.glob("*flower.db*")) == list(tmp_path.glob(".*flower.db*")) == []
    with SuperLink(settings):
        assert settings.database.stat().st_mode & 0o777 == 0o600


def test_what_a_kill_left_of_a_first_start_stops_no_other_with_the_same_process_number(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    aside = tmp_path / f".flower.db.{os.getpid()}"
    aside.mkdir()
    (aside / "flower.db").write_bytes(b"half")
    with SuperLink(settings):
        assert not aside.exists()


@contextmanager
def _log_of_everything() -> Iterator[None]:
    """The write-ahead log is never emptied, so that its size is what was written."""

    def never_empty(connection: Any, _: object) -> None:
        connection.execute("PRAGMA wal_autocheckpoint = 0").close()

    event.listen(Engine, "connect", never_empty)
    try:
        yield
    finally:
        event.remove(Engine, "connect", never_empty)


def _logged_by_a_round(folder: Path, model: memoryview) -> int:
    """Bytes that a round with one client, which answers with another model of the same size, adds to the log."""

    def changed(config: ConfigRecord, data: memoryview) -> RecordDict:
        return echo(config, memoryview(bytes(255 - byte for byte in data)))

    with site_in(folder) as site, answering(site, 1, changed) as (node,), site.grid() as grid:
        log = folder / "flower.db-wal"
        before = log.stat().st_size
        sent = grid.push_messages([request_to(node.fleet.node.node_id, model)])
        for arrival in grid.arrivals(sent, timeout_seconds=60):
            arrival.confirm()
        return log.stat().st_size - before


def test_a_round_logs_its_models_once_and_little_else(tmp_path: Path) -> None:
    with _log_of_everything():
        assert _logged_by_a_round(tmp_path / "small", random_bytes(1_000)) < 1_500_000
        assert 20_000_000 < _logged_by_a_round(tmp_path / "large", random_bytes(10_000_000)) < 23_000_000


def test_half_a_database_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with closing(sqlite3.connect(settings.database)) as half:
        half.execute("PRAGMA journal_mode = WAL")
        half.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        half.execute("CREATE TABLE node (node_id INTEGER)")
    with SuperLink(settings) as link, Control(link.runtime_address, link.bearer) as control:
        control.register(NodeKey().public_bytes, "alfa")
        assert settings.database.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("version", [True, False])
def test_a_database_in_which_something_is_stored_is_never_replaced(tmp_path: Path, version: bool) -> None:
    settings = settings_in(tmp_path)
    with closing(sqlite3.connect(settings.database)) as other:
        other.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        other.execute("CREATE TABLE node (node_id INTEGER)")
        other.execute("INSERT INTO node VALUES (1)")
        if version:
            other.execute("INSERT INTO alembic_version VALUES ('of the future')")
        other.commit()
    with pytest.raises(
        DeploymentError, match=r"otherwise move flower.db.*registers the clients of the roster"
    ) as failed:
        SuperLink(settings).start()
    assert ("not a database of Flower's" in str(failed.value)) is not version
    with closing(sqlite3.connect(settings.database)) as other:
        assert other.execute("SELECT node_id FROM node").fetchall() == [(1,)]
