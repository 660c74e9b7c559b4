"""What contradicts itself in the options of a regression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedcore.audit.verdict.profiles import PROFILES

if TYPE_CHECKING:
    from fedcore.audit.table.options import BiasOptions


def regression_problems(options: BiasOptions) -> Iterator[str]:
    """Yield every problem that is a regression's own."""
    unfitting = {
        "--score": options.score is not None,
        "--threshold": options.threshold is not None,
        "--positive": options.positive is not None,
        "--site": options.site is not None,
        f"--profile {options.profile}": options.profile in PROFILES and not PROFILES[options.profile].document,
        "--score-range": options.score_range != (0.0, 1.0),
    }
    for option, given in unfitting.items():
        if given:
            yield f"{option} has no meaning in a regression; leave it out"
    if options.label is None or options.prediction is None:
        yield "--kind regression needs --label COL, what turned out true, and --prediction COL, what was predicted"
