"""The first and last lines of an audit's text: the verdict, its reasons, and where the rest is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fedcore.audit.verdict.gate import Finding, Verdict

ALL = "more: --all prints every metric and gap"
MORE = f"{ALL}, and --out DIR or --json keeps them"


def verdict_lines(verdict: Verdict | None, findings: Iterable[Finding], *, example: str) -> Iterator[str]:
    """Return the verdict, and each limit with its finding, the worst first; ``example`` is shown without limits."""
    if verdict is None:
        yield f"verdict: none, because no limit was given (--limit '{example}')"
        return
    yield f"verdict: {verdict}"
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    yield from (f"limit: {one.reason}" for one in sorted(findings, key=lambda one: order.index(one.verdict)))
