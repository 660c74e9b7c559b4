"""What a server's disk is written for the messages of a round, by SQLite's page size, and with deleted pages zeroed.

A round stores the request's model once and a reply of each client, and deletes them. It is done here with Flower's own
object store, without network and training::

    python simulations/benchmarks/database_writes.py

``--out`` must name a directory on a real disk: files in memory are never written.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from fedcore_server.flower.superlink import database

_PIECE_BYTES = 5 << 20
_PAGES = (4096, 16384, 65536)


def main() -> None:
    """Print a line for each kind of database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path.cwd(), help="a directory on the disk to be written")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for megabytes in (0.001, 100.0):
        for page_bytes in _PAGES:
            for zeroing in (True, False):
                with tempfile.TemporaryDirectory(dir=options.out) as folder:
                    written, log, seconds = measured(
                        Path(folder) / "flower.db",
                        page_bytes=page_bytes,
                        zeroing=zeroing,
                        model_bytes=int(megabytes * 1_000_000),
                        clients=options.clients,
                        rounds=options.rounds,
                    )
                print(
                    f"model {megabytes:g} MB, {options.clients} clients, pages of {page_bytes // 1024:2d} KiB, zeroing "
                    f"{'on ' if zeroing else 'off'}: {written / 1e6 / options.rounds:8.1f} MB written a round, "
                    f"log of {log / 1e6:6.1f} MB, {seconds / options.rounds:.2f} s",
                    flush=True,
                )


def measured(
    path: Path, *, page_bytes: int, zeroing: bool, model_bytes: int, clients: int, rounds: int
) -> tuple[int, int, float]:
    """Bytes that this process had written to disk, the largest size of the write-ahead log, and seconds."""
    from flwr.supercore.object_store.sql_object_store import SqlObjectStore
    from sqlalchemy import event

    database._PAGE_BYTES = page_bytes
    database.prepare_database(path)
    store: Any = SqlObjectStore(str(path), verify=False)
    store.initialize()
    pragma, engine = f"PRAGMA secure_delete = {'ON' if zeroing else 'OFF'}", store._engine
    event.listen(engine, "connect", lambda connection, _: connection.execute(pragma).close())
    engine.dispose()
    source, before, started, log = random.Random(0), _written(), time.monotonic(), 0
    for _ in range(rounds):
        for _ in range(clients + 1):
            _store_and_delete(store, source, model_bytes)
            log = max(log, path.with_name(f"{path.name}-wal").stat().st_size)
    engine.dispose()
    os.sync()
    return _written() - before, log, time.monotonic() - started


def _store_and_delete(store: Any, source: random.Random, num_bytes: int) -> None:
    from flwr.proto.message_pb2 import ObjectTree

    pieces = [min(_PIECE_BYTES, num_bytes - at) for at in range(0, num_bytes, _PIECE_BYTES)]
    contents = [source.randbytes(size) for size in pieces]
    names = [hashlib.sha256(content).hexdigest() for content in contents]
    root = hashlib.sha256("".join(names).encode()).hexdigest()
    children = [ObjectTree(object_id=name) for name in names]
    store.preregister(1, ObjectTree(object_id=root, children=children))
    for name, content in zip((root, *names), (b"root", *contents), strict=True):
        store.put(name, content)
    store.delete(root)


def _written() -> int:
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


if __name__ == "__main__":
    main()
