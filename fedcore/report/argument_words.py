"""Messages of the command, in the words of a caller from Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from fedcore.audit.table.arrays import PREDICTED, SITE, TRUE, WEIGHT
from fedcore.errors import DataError, PlanError

_NAMES = {
    "group": "groups", "label": TRUE, "prediction": PREDICTED, "score": PREDICTED, "weight": WEIGHT, "site": SITE,
    "reference": "references", "limit": "limits",
}  # fmt: skip
"""What an option of the command is called here, where it is not the same with ``_`` for ``-``."""
_PHRASES = {
    r"--kind regression": 'kind="numbers"',
    r"--missing drop": 'missing="drop"',
    r"--score-range LOW,HIGH": "score_range=(LOW, HIGH)",
    r"--bands (\S+)=EDGE,EDGE": r'bands={"\1": (EDGE, EDGE)}',
}


@contextmanager
def in_python() -> Iterator[None]:
    """Name arguments in messages, not the options of the command."""
    try:
        yield
    except PlanError as error:
        raise PlanError([with_arguments(problem) for problem in error.problems]) from None
    except DataError as error:
        raise DataError(with_arguments(str(error))) from None


def with_arguments(text: str) -> str:
    """A text about options of the command, as one about arguments."""
    for option, argument in _PHRASES.items():
        text = re.sub(option, argument, text)
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda found: _NAMES.get(found[1], found[1].replace("-", "_")), text)
