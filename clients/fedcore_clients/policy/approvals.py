"""Which plans the data owner has approved, and which wait for a decision."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from fedcore.errors import PlanError, StorageError
from fedcore.storage.files import write_whole
from fedcore.text.wording import counted

Clock = Callable[[], datetime]
_Entry = TypeVar("_Entry")

_HASH = re.compile(r"[0-9a-f]{8,64}")
_MOST_PENDING = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    plan_sha256: str
    approved: datetime
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingPlan:
    """A plan that was refused for lack of approval.

    Attributes:
        asked: When it was first asked for.
        summary: Sentences to decide by.
    """

    plan_sha256: str
    asked: datetime
    summary: tuple[str, ...]


class Approvals:
    """Approvals on disk, by the hash of the plan.

    The owner's command writes ``path``; the running client writes only the file beside it, for waiting plans, so
    neither overwrites the other.

    Args:
        path: ``approvals.json`` in the client's home; may be absent.
        clock: The present, with its time zone.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._pending_path = path.with_name(f"{path.stem}-pending{path.suffix}")
        self._clock = clock

    def approve(self, reference: str, *, valid_days: int) -> Approval:
        """Approve a plan from now on.

        Args:
            reference: Its whole hash, or the first 8 or more characters of one that waits or was approved before.

        Raises:
            PlanError: The reference fits no plan, or several.
        """
        now = self._clock()
        digest = self._resolve(reference)
        approval = Approval(plan_sha256=digest, approved=now, expires=now + timedelta(days=valid_days))
        kept = {one.plan_sha256: one for one in self.approved()} | {digest: approval}
        self._write_approved(kept.values())
        return approval

    def revoke(self, reference: str) -> str:
        """Revoke an approval; return the hash of the plan.

        Raises:
            PlanError: The reference fits no approved plan, or several.
        """
        approved = self.approved()
        digest = _matching(reference, [one.plan_sha256 for one in approved])
        self._write_approved(one for one in approved if one.plan_sha256 != digest)
        return digest

    def is_approved(self, plan_sha256: str) -> bool:
        now = self._clock()
        return any(one.plan_sha256 == plan_sha256 and now < one.expires for one in self.approved())

    def remember(self, plan_sha256: str, summary: Sequence[str]) -> None:
        """Store a plan that was refused, for the owner to decide on; the newest 100 are kept."""
        waiting = {one.plan_sha256: one for one in self._waiting()}
        if plan_sha256 in waiting:
            return
        waiting[plan_sha256] = PendingPlan(plan_sha256=plan_sha256, asked=self._clock(), summary=tuple(summary))
        content = {
            digest: {"asked": one.asked.isoformat(), "summary": list(one.summary)}
            for digest, one in list(waiting.items())[-_MOST_PENDING:]
        }
        write_whole(self._pending_path, json.dumps(content, indent=2) + "\n")

    def pending(self) -> tuple[PendingPlan, ...]:
        """Waiting plans, in the order in which they were first asked for; without those approved now."""
        return tuple(one for one in self._waiting() if not self.is_approved(one.plan_sha256))

    def approved(self) -> tuple[Approval, ...]:
        """All approvals, expired ones too."""
        return tuple(_read(self._path, _as_approval))

    def _waiting(self) -> list[PendingPlan]:
        return _read(self._pending_path, _as_pending)

    def _resolve(self, reference: str) -> str:
        whole = reference.strip().lower()
        if len(whole) == 64 and _HASH.fullmatch(whole):
            return whole
        waiting = [one.plan_sha256 for one in self._waiting()]
        return _matching(reference, [*waiting, *(one.plan_sha256 for one in self.approved())])

    def _write_approved(self, approvals: Iterable[Approval]) -> None:
        content = {
            one.plan_sha256: {"approved": one.approved.isoformat(), "expires": one.expires.isoformat()}
            for one in approvals
        }
        write_whole(self._path, json.dumps(content, indent=2) + "\n")


def _matching(reference: str, known: Iterable[str]) -> str:
    prefix = reference.strip().lower()
    if not _HASH.fullmatch(prefix):
        raise PlanError(f"expected 8 to 64 characters 0-9a-f of a plan's hash, found {reference!r}")
    found = sorted({digest for digest in known if digest.startswith(prefix)})
    if len(found) != 1:
        what = "no plan" if not found else counted(len(found), "plan")
        raise PlanError(f"{what} known here with a hash that begins with {prefix}; see: fedcore client approve")
    return found[0]


def _read(path: Path, parse: Callable[[str, Any], _Entry]) -> list[_Entry]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [parse(digest, fields) for digest, fields in content.items()]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path} cannot be read; repair or remove it, and approve the plans again") from error


def _as_approval(digest: str, fields: Any) -> Approval:
    return Approval(plan_sha256=digest, approved=_time(fields["approved"]), expires=_time(fields["expires"]))


def _as_pending(digest: str, fields: Any) -> PendingPlan:
    return PendingPlan(plan_sha256=digest, asked=_time(fields["asked"]), summary=tuple(map(str, fields["summary"])))


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time
