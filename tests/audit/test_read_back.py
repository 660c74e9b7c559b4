"""What a reader can compute from all that is shown of crossed attributes together: nothing of few rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from fedcore.audit.tables.groups import UNKNOWN, GroupTable
from fedcore.audit.verdict.attribute_audit import AttributeAudit
from fedcore.audit.verdict.fairness import audit_tables
from fedcore.audit.verdict.settings import AuditSettings

SEXES, RACES = ("f", "m", UNKNOWN), ("a", "b", "c", UNKNOWN)
# Cells by label and decision.
SUMS = {
    "rows": [[1, 1], [1, 1]], "favourable": [[0, 0], [1, 1]], "selected": [[0, 1], [0, 1]], "right": [[1, 0], [0, 1]],
    "both": [[0, 0], [0, 1]],
}  # fmt: skip
Members = dict[tuple[str, str], np.ndarray]


def members() -> Members:
    """Return for each attribute and group which of the finest cells it sums, of shape (sexes, races)."""
    where = np.indices((len(SEXES), len(RACES)))
    sex, race = (
        {name: at == i for i, name in enumerate(names)} for at, names in zip(where, (SEXES, RACES), strict=True)
    )
    both = {f"{s} & {r}": sex[s] & race[r] for s in SEXES[:-1] for r in RACES[:-1]}
    both[UNKNOWN] = sex[UNKNOWN] | race[UNKNOWN]
    return {
        (name, group): cells
        for name, of in (("sex", sex), ("race", race), ("sex*race", both))
        for group, cells in of.items()
    }


def drawn_counts(generator: np.random.Generator) -> np.ndarray:
    """Return rows by sex, race, label and decision, some of them few."""
    sizes = generator.choice([0, 4, 150, 900], size=(3, 4), p=[0.03, 0.07, 0.4, 0.5])
    sizes[-1], sizes[:, -1] = generator.choice([0, 0, 0, 60], size=4), generator.choice([0, 0, 0, 60], size=3)
    shares = generator.choice([0.01, 0.3], size=(3, 4, 2), p=[0.1, 0.9])
    found = np.zeros((3, 4, 2, 2), dtype=np.int64)
    for place in np.ndindex(3, 4):
        label, decision = shares[place]
        parts = np.outer([1 - label, label], [1 - decision, decision]).ravel()
        found[place] = generator.multinomial(sizes[place], parts).reshape(2, 2)
    return found


def audited(counts: np.ndarray) -> Mapping[str, AttributeAudit]:
    tables = [
        GroupTable(
            attribute=name,
            groups=tuple(group for of, group in members() if of == name),
            labels=("no", "yes"),
            num_bins=2,
            scored=False,
            counts=np.array([counts[cells].sum(axis=0) for (of, _), cells in members().items() if of == name]),
        )
        for name in ("sex", "race", "sex*race")
    ]
    return audit_tables(tables, AuditSettings())


def equation(cells: np.ndarray, name: str) -> np.ndarray:
    return np.multiply.outer(cells, np.array(SUMS[name])).ravel().astype(float)


def shown_equations(audits: Mapping[str, AttributeAudit]) -> Iterator[np.ndarray]:
    """Yield every sum that a reader knows: numerators and denominators of what is shown, and cells that are empty."""
    everything, sex = np.ones((3, 4), dtype=bool), audits["sex"]
    told = {"accuracy": ["right"], "selection_rate": ["selected"], "base_rate": ["favourable", "both"]}
    yield equation(everything, "rows")
    for metric, names in told.items():
        yield from (equation(everything, name) for name in names if not sex.hides_overall(metric))
    for (attribute, group), cells in members().items():
        audit = audits[attribute]
        if not audit.sizes[group]:
            yield from (one for one in np.eye(48) if equation(cells, "rows") @ one)
        elif group not in audit.suppressed:
            yield equation(cells, "rows")
            for metric, names in told.items():
                yield from (equation(cells, name) for name in names if not audit.hides(metric, group))


def follows(known: np.ndarray, wanted: np.ndarray) -> bool:
    weights = np.linalg.lstsq(known.T, wanted, rcond=None)[0]
    return bool(np.abs(known.T @ weights - wanted).max() < 1e-6)


def parts_left(audits: Mapping[str, AttributeAudit]) -> Iterator[np.ndarray]:
    """Yield what the groups of an attribute leave of a total that they lie in, of those whose error rates are shown."""
    totals = [np.ones((3, 4), dtype=bool), *members().values()]
    for name, audit in audits.items():
        own = [
            c for (of, g), c in members().items() if of == name and audit.sizes[g] and not audit.hides("base_rate", g)
        ]
        for total in totals:
            yield total & ~np.logical_or.reduce([total & False, *(cells for cells in own if (cells <= total).all())])


@pytest.mark.parametrize("seed", range(30))
def test_no_count_of_few_rows_follows_from_all_that_is_shown(seed: int) -> None:
    counts = drawn_counts(np.random.default_rng(seed))
    audits = audited(counts)
    known = np.array([*shown_equations(audits)])
    for cells in (*members().values(), *parts_left(audits)):
        rows, favourable, selected = (
            int(equation(cells, name) @ counts.ravel()) for name in ("rows", "favourable", "selected")
        )
        sides = (rows, favourable, rows - favourable, selected, rows - selected)
        if any(0 < side < 10 for side in sides):
            assert not follows(known, equation(cells, "both")), (cells, sides)
        if any(0 < side < 10 for side in sides[1:3]):
            assert not follows(known, equation(cells, "favourable")), (cells, sides)
        if 0 < rows < 10:
            assert not follows(known, equation(cells, "rows")), (cells, sides)
