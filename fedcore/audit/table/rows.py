"""A table's columns as codes: what is true, what was decided, and about whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.table.favourable import check_selected, check_two, favourable_of
from fedcore.audit.table.grouping import Coded, coded_column, groups_of, in_order
from fedcore.audit.table.kept_rows import DROP, dropped_notes, table_of
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.selection import chosen_threshold, weighted_median
from fedcore.audit.verdict.profiles import PROFILES
from fedcore.errors import DataError
from fedcore.tasks.tabular.table import Table, Words

MOST_LABELS = 50
_SAMPLED = (
    "weights are fractional: shares are weighted, counts in parentheses are of lines, and intervals rest on the "
    "effective number of rows (Kish); only rates are measured"
)
MOST_ROWS = 2**53
"""Up to here whole numbers are exact in float64, as counts and sums of them must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a table as the audit reads them; all arrays have shape ``(rows,)``.

    Attributes:
        source: The file's name.
        labels: Names of the unfavourable and of the favourable label or decision; of more than two none of which is
            favourable all of them, in order.
        guessed: Whether the favourable one is a guess.
        truth: Positions of the labels, int64; None without labels.
        selected: Positions of the decisions, int64.
        scores: Scores as given, float64; None without.
        median: The sample's median score, where it is what decides; else None.
        weights: How many each row stands for, int64.
        groups: For each attribute and crossing its groups, "unknown" last.
        site: Where rows come from, or None.
        notes: What was chosen for the reader, in sentences.
        dropped: Rows that were left out, by the column that they lack.
        sampling: Fractional weights, float64; None where each line stands for whole rows.
    """

    source: str
    labels: tuple[str, ...]
    guessed: bool
    truth: NDArray[np.int64] | None
    selected: NDArray[np.int64]
    scores: NDArray[np.float64] | None
    median: float | None
    weights: NDArray[np.int64]
    groups: dict[str, Coded]
    site: Coded | None
    notes: tuple[str, ...]
    dropped: Mapping[str, int]
    sampling: NDArray[np.float64] | None = None

    @property
    def favourable(self) -> str | None:
        """The label that is favourable; None where each class is taken against the others."""
        return self.labels[1] if len(self.labels) == 2 else None

    @property
    def total(self) -> int:
        """Rows that the table stands for."""
        return int(self.weights.sum())


def read_rows(options: BiasOptions, *, to_learn: bool = False) -> Rows:
    """Read a table's columns.

    Args:
        options: What is asked for.
        to_learn: Whether the decisions are labels that a model is to learn, so that there must be two.

    Raises:
        DataError: The file is no table, lacks a column, or a cell cannot be read as what it must be.
    """
    table, dropped = table_of(options)
    sampling = None if to_learn else sampling_of(table, options)
    weights = weights_of(table, options.weight) if sampling is None else (sampling > 0).astype(np.int64)
    scores = None if options.score is None else _scores(table, options.score, options.score_range)
    outcomes = _outcomes(table, options, to_learn=to_learn)
    predicted, notes = outcomes.predicted, [*outcomes.notes]
    median = None
    if scores is not None and options.cuts_at_median:
        median = weighted_median(scores, weights)
        predicted = (scores > median).astype(np.int64)
        notes.append(f"selected: score above the sample's median, {median:g}, as the profile asks")
    elif scores is not None:
        threshold, told = chosen_threshold(options)
        predicted, notes = (scores >= threshold).astype(np.int64), [*notes, *told]
    if predicted is None:
        raise DataError("no column of decisions")
    return Rows(
        source=table.source,
        labels=outcomes.labels,
        guessed=outcomes.guessed,
        truth=outcomes.truth,
        selected=predicted,
        scores=scores,
        median=median,
        weights=weights,
        groups=groups_of(table, options.groups, dict(options.bands)),
        site=None if options.site is None else coded_column(table, options.site),
        notes=(*dropped_notes(dropped), *notes, *([] if sampling is None else [_SAMPLED])),
        dropped=dropped,
        sampling=sampling,
    )


def sampling_of(table: Table, options: BiasOptions) -> NDArray[np.float64] | None:
    """Return weights that are not whole, as those of a survey; None where all are whole.

    Raises:
        DataError: A cell is no number of 0 or more, all are 0, or something is asked for that needs whole rows.
    """
    if options.weight is None:
        return None
    numbers = table.numbers(options.weight)
    if not np.isfinite(numbers).all() or (numbers < 0).any() or (numbers == np.floor(numbers)).all():
        return None  # what is wrong with them is said where whole weights are read
    unfit = {
        "--site": options.site is not None,
        f"--profile {options.profile}": options.profile in PROFILES and not PROFILES[options.profile].document,
    }
    asked = [name for name, given in unfit.items() if given]
    if asked:
        raise DataError(
            f"column {options.weight!r} of {table.source} holds fractional weights, and {' and '.join(asked)} counts "
            "people: give whole weights, or leave it out"
        )
    return numbers


def weights_of(table: Table, name: str | None) -> NDArray[np.int64]:
    """Return how many rows each line stands for: 1, or what a column says.

    Raises:
        DataError: A cell is no whole number of 0 or more, or all are 0, or they are too many to be counted.
    """
    if name is None:
        return np.ones(len(table), dtype=np.int64)
    numbers = table.numbers(name)
    refuse(table, name, ~np.isfinite(numbers), "no number")
    refuse(table, name, numbers < 0, "negative; a row stands for 0 rows or more")
    refuse(table, name, numbers != np.floor(numbers), "no whole number; a row stands for whole rows")
    refuse(table, name, numbers > MOST_ROWS, f"over {MOST_ROWS:,}; so many rows cannot be counted exactly")
    if numbers.sum() > MOST_ROWS:
        raise DataError(
            f"column {name!r} of {table.source} sums to over {MOST_ROWS:,}; so many rows cannot be counted exactly"
        )
    if not numbers.any():
        raise DataError(f"column {name!r} of {table.source} is 0 in every row, so that there are no rows to audit")
    return numbers.astype(np.int64)


def _scores(table: Table, name: str, span: tuple[float, float]) -> NDArray[np.float64]:
    numbers, (low, high) = table.numbers(name), span
    refuse(table, name, table.words(name).codes < 0, f"empty; every row needs one, or {DROP}")
    refuse(table, name, ~np.isfinite(numbers), "no number")
    outside = f"outside {low:g} to {high:g}"
    if span == (0.0, 1.0):
        outside += "; give probabilities, or the scores' own range with --score-range LOW,HIGH"
    refuse(table, name, (numbers < low) | (numbers > high), outside)
    return numbers


def refuse(table: Table, name: str, wrong: NDArray[np.bool_], why: str) -> None:
    """Name the first wrong cell by its place alone: its content may be about a person."""
    if wrong.any():
        first = int(np.argmax(wrong)) + 1
        count = int(wrong.sum())
        cells = "1 cell" if count == 1 else f"{count} cells"
        raise DataError(f"column {name!r} of {table.source}: {cells}, the first in row {first}, {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Labels' names, and the positions of what is true and of what was predicted; as in ``Rows``."""

    labels: tuple[str, ...]
    truth: NDArray[np.int64] | None = None
    predicted: NDArray[np.int64] | None = None
    guessed: bool = False
    notes: tuple[str, ...] = ()


def _outcomes(table: Table, options: BiasOptions, *, to_learn: bool) -> Outcomes:
    named = options.label or options.prediction
    if named is None:
        return Outcomes(labels=("not selected", "selected"))
    others = "" if to_learn else "; of numbers give --kind regression"
    label, labelled = _classes(table, named, others), options.label is not None
    if labelled or to_learn:
        check_two(table.source, named, label.values)
    predicted = None
    if options.prediction is not None:
        predicted = _alike(_classes(table, options.prediction, others), label.values)
        _check_known(table, options.prediction, predicted, label, named)
    if options.positive is None and len(label.values) > 2 and labelled and predicted is not None:
        check_selected(options, named, in_order(label.values))
        return _each_class(label, predicted)
    found = favourable_of(table.source, named, label.values, options.positive)
    return Outcomes(
        labels=(found.other, found.label),
        truth=_is(label, found.label) if labelled else None,
        predicted=None if predicted is None else _is(predicted, found.label),
        guessed=found.guessed,
        notes=(found.note,) if found.note else (),
    )


def _each_class(label: Words, predicted: Words) -> Outcomes:
    names = tuple(in_order(label.values))
    told = f"{len(names)} labels, none favourable: each against the others; --positive names one"
    return Outcomes(labels=names, truth=_positions(label, names), predicted=_positions(predicted, names), notes=(told,))


def _classes(table: Table, name: str, others: str) -> Words:
    words = table.words(name)
    refuse(table, name, words.codes < 0, f"empty; every row needs one, or {DROP}")
    if len(words.values) > MOST_LABELS:
        raise DataError(
            f"column {name!r} of {table.source} has {len(words.values)} different values, which are no classes; "
            f"expected labels such as 0 and 1{others}"
        )
    return words


def _alike(given: Words, values: tuple[str, ...]) -> Words:
    """Return True and False as 1 and 0 where the other column says it so, and the other way round."""
    for mine, other in (({"True": "1", "False": "0"}, {"0", "1"}), ({"1": "True", "0": "False"}, {"True", "False"})):
        if set(given.values) <= set(mine) and set(values) <= other:
            return Words(codes=given.codes, values=tuple(mine[value] for value in given.values))
    return given


def _check_known(table: Table, name: str, given: Words, label: Words, labelled: str) -> None:
    strange = [value for value in in_order(given.values) if value not in label.values]
    if strange:
        raise DataError(
            f"column {name!r} of {table.source} predicts {strange[0]!r}, which is no value of the label {labelled!r}; "
            f"that has {', '.join(in_order(label.values))}"
        )


def _positions(words: Words, names: tuple[str, ...]) -> NDArray[np.int64]:
    return words.positions(names, outside=-1, missing=-1)


def _is(words: Words, value: str) -> NDArray[np.int64]:
    return np.asarray(words.positions((value,), outside=-1, missing=-1) == 0).astype(np.int64)
