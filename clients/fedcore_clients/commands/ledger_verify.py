"""The subcommand ``fedcore ledger verify``, and its refusal. Imports nothing heavy: help must be instant."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedcore.messages import LedgerReceipt
    from fedcore_clients.ledger.store import LedgerFile


def verify(
    home: Annotated[Path, typer.Option(help="The client's directory, from fedcore client join.")],
    receipt: Annotated[
        str | None, typer.Option(help="ENTRY:DIGEST from a privacy.json, to be found in this ledger.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Check the file, its rules, the chain of hashes, the marks and the sums; exit code 1 where one is wrong.

    Each problem names its entry, its data set and what to do next.

    Examples:
      fedcore ledger verify --home hospital-a
      fedcore ledger verify --home hospital-a --receipt 12:6a1f…
    """
    import json

    from fedcore_clients.ledger.opening import open_ledger
    from fedcore_clients.ledger.verification import problems_of, receipt_problems

    file, given = open_ledger(home, {}).file, None if receipt is None else _receipt(receipt)
    problems, not_found = problems_of(file), list(receipt_problems(file, given))
    with file.reading() as book:
        head = book.head
    unmarked = list(file.marks.unmarked())
    if as_json:
        found = [*problems, *not_found]
        print(json.dumps({"problems": found, "head": head, "unmarked": unmarked}, indent=1, ensure_ascii=False))
    else:
        for line in _told(file.path, problems) if problems else (f"the ledger is unchanged; head {head}",):
            print(line)
        for line in not_found:
            print(line)
        for name in unmarked:
            print(f"no mark can be kept beside {name}: a home restored from a backup would not be detected")
    if problems or not_found:
        raise typer.Exit(1)


def refuse_damaged(file: LedgerFile) -> None:
    """Print what is wrong with a ledger instead of unreliable figures, and end with exit code 1."""
    from fedcore_clients.ledger.verification import problems_of

    if problems := problems_of(file):
        for line in _told(file.path, problems):
            print(line, file=sys.stderr)
        raise typer.Exit(1)


def _told(path: Path, problems: Sequence[str]) -> Iterator[str]:
    from fedcore.text.wording import counted
    from fedcore_clients.ledger.rollback_marks import RESTORE

    yield f"the ledger {path} is damaged or was changed ({counted(len(problems), 'problem')}):"
    yield from (f"  {problem}" for problem in problems)
    yield f"what was spent is not known, and nothing is trained on these data; {RESTORE}"


def _receipt(text: str) -> LedgerReceipt:
    from fedcore.errors import DataError
    from fedcore.messages import LedgerReceipt

    entry, _, digest = text.partition(":")
    try:
        return LedgerReceipt(entry=int(entry), digest=digest)
    except (ValueError, DataError) as error:
        raise typer.BadParameter("expected ENTRY:DIGEST, as in a privacy.json", param_hint="--receipt") from error
