"""``fedcore ledger verify``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedcore.messages import LedgerReceipt


def verify(
    home: Annotated[Path, typer.Option(help="The client's directory, from fedcore client join.")],
    receipt: Annotated[
        str | None, typer.Option(help="ENTRY:DIGEST from a privacy.json, to be found in this ledger.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Check the file, its rules, the chain of hashes, the marks and the sums; exit code 1 where one is wrong.

    Example:
      fedcore ledger verify --home hospital-a
      fedcore ledger verify --home hospital-a --receipt 12:6a1f…
    """
    import json

    from fedcore_clients.ledger.opening import open_ledger
    from fedcore_clients.ledger.verification import problems_of, receipt_problems

    account = open_ledger(home, {}, create=False)
    told = None if receipt is None else _receipt(receipt)
    problems = [*problems_of(account.file), *receipt_problems(account.file, told)]
    with account.file.reading() as book:
        head = book.head
    if as_json:
        print(
            json.dumps({"problems": problems, "head": head, "unmarked": list(account.file.marks.unmarked())}, indent=1)
        )
    else:
        for problem in problems:
            print(problem)
        for name in account.file.marks.unmarked():
            print(f"no mark can be kept beside {name}: a home put back from a backup would not be noticed")
        print(f"{len(problems)} problems" if problems else f"the ledger is as it was written; head {head}")
    if problems:
        raise typer.Exit(1)


def _receipt(text: str) -> LedgerReceipt:
    from fedcore.errors import DataError
    from fedcore.messages import LedgerReceipt

    entry, _, digest = text.partition(":")
    try:
        return LedgerReceipt(entry=int(entry), digest=digest)
    except (ValueError, DataError) as error:
        raise typer.BadParameter(
            "expected ENTRY:DIGEST, as a privacy.json tells them", param_hint="--receipt"
        ) from error
