"""The subcommands ``policy`` and ``approve`` of ``fedcore client``. Imports nothing heavy: help must be instant."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedcore_clients.policy.approvals import Approvals

Out = Annotated[Path | None, typer.Option(help="Write the policy to this new file instead of printing it.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TASK",
        help="Allow this task, on a data set of the same name, and the release of its loss, accuracy and counts by "
        "group; may be repeated.",
        show_default=False,
    ),
]
Groups = Annotated[
    str | None,
    typer.Option(
        "--group-tables",
        metavar="NAMES",
        help="Attributes by which counts of rows may be released, with commas between, such as sex,age; those of the "
        "reference tasks that ship their data are known.",
        show_default=False,
    ),
]
SchemaFile = Annotated[
    Path | None,
    typer.Option(
        "--schema",
        metavar="FILE",
        help="A table schema that you have read: plans with it need no approval by hand.",
        show_default=False,
    ),
]
Check = Annotated[Path | None, typer.Option(help="Check an edited policy file, and list all its problems.")]
Reference = Annotated[
    str | None,
    typer.Argument(
        metavar="[HASH]",
        help="The plan's hash, or its first 8 or more characters; without it, plans that wait are listed.",
        show_default=False,
    ),
]
Home = Annotated[Path, typer.Option(help="The client's home.")]
Days = Annotated[
    int | None,
    typer.Option(min=1, max=3650, help="Days of validity; approval.valid-days of the policy by default."),
]
Revoke = Annotated[bool, typer.Option("--revoke", help="Revoke the approval of HASH.")]


def policy(
    out: Out = None, allow: Allow = None, groups: Groups = None, schema: SchemaFile = None, check: Check = None
) -> None:
    """Print a commented policy to start from: what may be requested of this client, and what may leave it.

    Without --allow nothing is allowed.

    Examples:
      fedcore client policy --allow digits --out hospital-a/policy.toml
      fedcore client policy --allow tabular --schema schema.toml --group-tables sex --out hospital-a/policy.toml
      fedcore client policy --check hospital-a/policy.toml
    """
    from fedcore.errors import PlanError

    if check is not None and (out is not None or allow):
        raise PlanError("--out and --allow write a new policy and --check reads one; give one of them")
    if (groups or schema) and not allow:
        raise PlanError("--group-tables and --schema need --allow TASK, such as --allow tabular")
    named = [name.strip() for name in (groups or "").split(",") if name.strip()]
    if check is not None:
        _check(check)
    elif out is not None:
        _write(out, allow or [], named, schema)
    else:
        from fedcore_clients.policy.allowance import allowing
        from fedcore_clients.policy.template import policy_template

        print(policy_template(allowing(allow or [], groups=named, schema=schema)), end="")


def approve(reference: Reference = None, home: Home = Path(), days: Days = None, revoke: Revoke = False) -> None:
    """List plans that wait for approval, or approve one.

    Examples:
      fedcore client approve --home hospital-a
      fedcore client approve 3f2a9c01 --home hospital-a --days 7
    """
    from fedcore.errors import PlanError
    from fedcore_clients.policy.approvals import Approvals

    approvals = Approvals(home / "approvals.json", lambda: datetime.now(UTC))
    if reference is None:
        if revoke:
            raise PlanError("--revoke needs the HASH of the plan to revoke")
        _list(approvals)
    elif revoke:
        print(f"revoked {approvals.revoke(reference)}")
    else:
        approval = approvals.approve(reference, valid_days=days or _valid_days(home))
        print(f"approved {approval.plan_sha256} until {approval.expires:%Y-%m-%d %H:%M} UTC")


def _check(path: Path) -> None:
    from fedcore_clients.policy.settings import Policy

    found = Policy.from_toml(path)
    training = found.training
    print(f"{path} is valid: {', '.join(found.tasks.allowed) or 'no task'} may be trained")
    print(f"algorithms: {', '.join(training.algorithms) or 'none'}")
    print(f"encodings: {', '.join(training.encodings) or 'none'}")
    print(f"vectors kept here between rounds: {'allowed' if training.memory else 'not allowed'} (training.memory)")
    print(f"sha256 {found.sha256}")


def _write(path: Path, tasks: list[str], groups: list[str], schema: Path | None) -> None:
    from fedcore.errors import PlanError
    from fedcore.storage.files import write_whole
    from fedcore_clients.policy.allowance import allowed_in_words, allowing
    from fedcore_clients.policy.template import policy_template

    if path.exists():
        raise PlanError(f"{path} exists and is not changed; name another file, or check it with --check {path}")
    write_whole(path, policy_template(allowing(tasks, groups=groups, schema=schema)))
    if tasks:
        print(f"wrote {path}: {allowed_in_words(tasks, groups)}")
        print(f"read it, and change what you do not allow; then: fedcore client policy --check {path}")
    else:
        print(f"wrote {path}; list in it what may be used, then: fedcore client policy --check {path}")


def _list(approvals: Approvals) -> None:
    waiting = approvals.pending()
    if not waiting:
        print("no plan waits for approval")
    for plan in waiting:
        print(f"{plan.plan_sha256[:12]}  first asked for {plan.asked:%Y-%m-%d %H:%M} UTC")
        for sentence in plan.summary:
            print(f"  {sentence}")


def _valid_days(home: Path) -> int:
    from fedcore_clients.policy.settings import Policy

    return Policy.from_toml(home / "policy.toml").approval.valid_days
