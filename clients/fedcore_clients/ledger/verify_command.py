"""The subcommand ``fedcore ledger verify``, and its refusal. Imports nothing heavy: help must be instant."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedcore_clients.ledger.store import LedgerFile


def verify(
    home: Annotated[Path, typer.Option(help="The client's directory, from fedcore client join.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Check the file, its rules, the chain of hashes, the marks and the sums; exit code 1 where one is wrong.

    What is wrong is named with its entry, its data set and what to do next.

    Example:
      fedcore ledger verify --home hospital-a
    """
    import json

    from fedcore_clients.ledger.opening import open_ledger
    from fedcore_clients.ledger.verification import problems_of

    file = open_ledger(home, {}).file
    problems = problems_of(file)
    with file.reading() as book:
        head = book.head
    unmarked = list(file.marks.unmarked())
    if as_json:
        print(json.dumps({"problems": problems, "head": head, "unmarked": unmarked}, indent=1, ensure_ascii=False))
    else:
        for line in _told(file.path, problems) if problems else (f"the ledger is as it was written; head {head}",):
            print(line)
        for name in unmarked:
            print(f"no mark can be kept beside {name}: a home put back from a backup would not be noticed")
    if problems:
        raise typer.Exit(1)


def refuse_damaged(file: LedgerFile) -> None:
    """Tell what is wrong with a ledger in the place of figures that nobody may rely on, and end with exit code 1."""
    from fedcore_clients.ledger.verification import problems_of

    if problems := problems_of(file):
        for line in _told(file.path, problems):
            print(line, file=sys.stderr)
        raise typer.Exit(1)


def _told(path: Path, problems: Sequence[str]) -> Iterator[str]:
    from fedcore.wording import counted
    from fedcore_clients.ledger.marks import RESTORE

    yield f"the ledger {path} is damaged or was changed ({counted(len(problems), 'problem')}):"
    yield from (f"  {problem}" for problem in problems)
    yield f"what was spent is not known, and nothing is trained on these data; {RESTORE}"
