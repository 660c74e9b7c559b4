"""The result of a check, and running checks so that none ends the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from fedcore.errors import FedcoreError, PlanError


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the page.

    Attributes:
        what: What was found; nothing of the data.
    """

    name: str
    state: State
    what: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A named check; `run` yields findings and may raise."""

    name: str
    run: Callable[[], Iterable[Finding]]


def ok(name: str, what: str) -> Finding:
    return Finding(name=name, state=State.OK, what=what)


def warning(name: str, what: str, advice: str = "") -> Finding:
    return Finding(name=name, state=State.WARNING, what=what, advice=advice)


def problem(name: str, what: str, advice: str = "") -> Finding:
    return Finding(name=name, state=State.PROBLEM, what=what, advice=advice)


def skipped(name: str, what: str, advice: str = "") -> Finding:
    return Finding(name=name, state=State.SKIPPED, what=what, advice=advice)


def examine(checks: Iterable[Check], *, progress: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """Run all checks; one that raises becomes a finding of its own, after its earlier findings."""
    found: list[Finding] = []
    for check in checks:
        progress(check.name)
        try:
            found.extend(check.run())
        except PlanError as error:
            found += [problem(check.name, each) for each in error.problems]
        except FedcoreError as error:
            found.append(problem(check.name, str(error)))
        except (Exception, SystemExit) as error:
            # The text of a foreign exception may quote a row, so that only its type is kept.
            found.append(problem(check.name, f"the check ended in an unexpected {type(error).__name__}"))
    return found
