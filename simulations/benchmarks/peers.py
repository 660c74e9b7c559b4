"""What a client-round costs: fedcore's engines and other frameworks against a bare PyTorch loop of the same work.

Each trains the same clients on the same batches as the loop, in turns, so that a busy machine slows both; ratios of one
run can be compared. fedcore's rows are the whole path of `simulate`: gate, sum, records and checkpoint, with evaluation
in the last round only. The largest difference of the two models is printed, and the share of the limit: the time that
the arithmetic alone takes at the rate of a large matrix product, measured on one thread beside each row.

Work FIRST is the time to the first finished round of ``fedcore simulate digits`` against ``import torch, opacus``.

python simulations/benchmarks/peers.py --work W2 --engine batched --workers 1
python simulations/benchmarks/peers.py --setup --peer pfl --peer flower
python simulations/benchmarks/peers.py --work W2 --peer pfl --json
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peer_work import first_round, foreign, ours
from peer_work.environments import PEERS, default_directory, set_up
from peer_work.works import WORKS

_FIRST = "FIRST"


def rows(name: str, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The lines of a work, as they are measured."""
    if name == _FIRST:
        yield first_round.measured(max(5, asked.pairs))
        return
    engines = asked.engine or ([] if asked.peer else ["loop", "batched"])
    for engine in engines:
        for workers in asked.workers or [1, 2]:
            yield ours.measured(name, engine, workers=workers, rounds=asked.rounds)
    for peer in asked.peer or []:
        yield foreign.measured(
            name, peer, actors=max(asked.workers or [2]), rounds=asked.rounds, directory=asked.environments
        )


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    if "skipped" in row:
        return f"  {row['engine']:24} skipped: {row['skipped']}"
    if "times_imports" in row:
        return (
            f"  {row['engine']:24} {row['seconds_to_first_round']} s to the first round, {row['times_imports']} x "
            f"'import torch, opacus' ({row['seconds_of_imports']} s)"
        )
    apart = "" if row["largest_difference"] is None else f", {row['largest_difference']:.0e} apart"
    model = f", model {row['model_sha256'][:12]}" if "model_sha256" in row else ""
    return (
        f"  {row['engine']:24} {row['milliseconds_per_client_round']:9.3f} ms a client-round, "
        f"{row['times_bare_loop']:6.2f} x the bare loop, {row['fraction_of_limit']:.1%} of the limit{apart}{model}"
    )


def markdown(name: str, row: dict[str, Any]) -> str:
    """A row of the table in docs/benchmarks.md."""
    if "times_imports" in row:
        return f"| {name} | {row['engine']} | {row['seconds_to_first_round']} s | {row['times_imports']} x imports | |"
    if "skipped" in row:
        return f"| {name} | {row['engine']} | skipped: {row['skipped']} | | |"
    cost, times, share = (row[key] for key in ("milliseconds_per_client_round", "times_bare_loop", "fraction_of_limit"))
    return f"| {name} | {row['engine']} | {cost:.3f} | {times} | {share:.1%} |"


def main() -> None:
    """Print lines, a table, or JSON, of the works, engines and peers asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", action="append", choices=[*WORKS, _FIRST], help="may be repeated; default: W2")
    parser.add_argument("--engine", action="append", help="of fedcore; default: loop and batched, none with --peer")
    parser.add_argument("--peer", action="append", choices=PEERS, help="another framework; may be repeated")
    parser.add_argument("--setup", action="store_true", help="install the peers, each in its environment, and end")
    parser.add_argument(
        "--environments",
        type=Path,
        default=default_directory(),
        metavar="DIR",
        help="where the peers' environments are; default: %(default)s",
    )
    parser.add_argument("--workers", action="append", type=int, help="default: 1 and 2; Flower's actors: the most")
    parser.add_argument("--rounds", type=int, default=13, help="pairs; the first two and the last do not count")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of processes of FIRST, at least five")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true", help="rows of the table in docs/benchmarks.md")
    asked = parser.parse_args()
    if asked.setup:
        set_up(asked.peer or [*PEERS], asked.environments)
        return
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # at every step of Opacus
    for name in asked.work or ["W2"]:
        about = WORKS[name].about if name in WORKS else "start-up"
        if asked.json:
            print(json.dumps({"work": name, "about": about, "engines": [*rows(name, asked)]}))
            continue
        if not asked.markdown:
            print(f"{name}: {about}", flush=True)
        for row in rows(name, asked):
            print(markdown(name, row) if asked.markdown else line(row), flush=True)


if __name__ == "__main__":
    main()
