"""Tables of labels: truth, and decisions or scores, as codes and as counts by group."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcore.audit.metrics.catalogue import RATES
from fedcore.audit.metrics.observed import Observed
from fedcore.audit.table.columns import (
    DROP,
    coded_column,
    dropped_notes,
    groups_of,
    in_order,
    numbers_of,
    refuse,
    sampling_of,
    weights_of,
)
from fedcore.audit.table.favourable import check_selected, check_two, favourable_of
from fedcore.audit.table.options import BiasOptions
from fedcore.audit.table.rows import Labels, Rows
from fedcore.audit.tables.groups import GroupTable, Sampling
from fedcore.audit.tables.scores import scores_of_rows
from fedcore.errors import DataError
from fedcore.tasks.tabular.table import Table, Words

MOST_LABELS = 50
_SAMPLED = (
    "weights are fractional: shares are weighted, counts in parentheses are of lines, and intervals rest on the "
    "effective number of rows (Kish); only rates are measured"
)


def read_labels(table: Table, dropped: dict[str, int], options: BiasOptions, *, to_learn: bool = False) -> Rows[Labels]:
    """Read the columns of a table without its dropped rows.

    Args:
        dropped: Number of dropped rows, by the column that they lack.
        to_learn: Whether the decisions are labels for a model to learn, so that there must be two.

    Raises:
        DataError: A cell cannot be read as its column requires, or groups never meet at a site.
    """
    sampling = None if to_learn else sampling_of(table, options)
    weights = weights_of(table, options.weight) if sampling is None else (sampling > 0).astype(np.int64)
    scores = None if options.score is None else _scores(table, options.score, options.score_range)
    read = _outcomes(table, options, to_learn=to_learn)
    selected, median, notes = read.predicted, None, []
    if scores is not None and options.cuts_at_median:
        median = weighted_median(scores, weights)
        selected = (scores > median).astype(np.int64)
        notes = [f"selected: score above the sample's median, {median:g}, as the profile asks"]
    elif scores is not None:
        threshold = threshold_of(options) or 0.0
        selected = (scores >= threshold).astype(np.int64)
        if options.threshold is None:
            notes = [f"selected: score at least {threshold:g}, the middle of the range; --threshold sets another"]
    if selected is None:
        raise DataError("no column of decisions")
    rows = Rows(
        source=table.source,
        lines=len(table),
        outcomes=Labels(
            names=read.names, guessed=read.guessed, truth=read.truth, selected=selected, scores=scores, median=median
        ),
        weights=weights,
        groups=groups_of(table, options.groups, dict(options.bands)),
        site=None if options.site is None else coded_column(table, options.site),
        notes=(*dropped_notes(dropped), *read.notes, *notes, *([] if sampling is None else [_SAMPLED])),
        dropped=dropped,
        sampling=sampling,
    )
    _check_met(rows)
    return rows


def rates_of(rows: Rows[Labels]) -> tuple[str, ...]:
    """Return the rates that can be limited; without labels only the selection rate."""
    return ("selection_rate",) if rows.outcomes.truth is None else RATES


def shown_rates(rows: Rows[Labels]) -> tuple[str, ...]:
    """Return the rates that are defined without a class; without a favourable label only the accuracy."""
    return ("accuracy",) if rows.outcomes.favourable is None else rates_of(rows)


def sources_of(rows: Rows[Labels], options: BiasOptions) -> set[str]:
    if rows.outcomes.truth is None or rows.sampling is not None:
        return set()
    there = {"classes", "several classes" if rows.outcomes.favourable is None else "benefits"}
    if rows.outcomes.scores is None:
        return there
    return there | ({"scores", "probabilities"} if options.score_range == (0.0, 1.0) else {"scores"})


def decision_table(rows: Rows[Labels], attribute: str) -> GroupTable:
    coded, outcomes = rows.groups[attribute], rows.outcomes
    found = GroupTable.collect(
        attribute=attribute,
        groups=coded.vocabulary,
        labels=outcomes.names,
        group_codes=coded.codes,
        label_codes=outcomes.shown_truth,
        predictions=outcomes.selected,
        weights=rows.weights,
    )
    if rows.sampling is None:
        return found
    cells = np.ravel_multi_index((coded.codes, outcomes.shown_truth, outcomes.selected), found.counts.shape)
    sums = [
        np.bincount(cells, weights=each, minlength=found.counts.size).astype(np.float64).reshape(found.counts.shape)
        for each in (rows.sampling, rows.sampling**2)
    ]
    return replace(found, sampling=Sampling(weights=sums[0], squares=sums[1]))


def observed_labels(rows: Rows[Labels], table: GroupTable, options: BiasOptions) -> Observed:
    """Return the input of metrics other than rates; empty for rows with sampling weights."""
    if rows.sampling is not None:
        return Observed()
    coded, outcomes = rows.groups[table.attribute], rows.outcomes
    scores = (
        None
        if outcomes.scores is None
        else scores_of_rows(
            groups=coded.vocabulary,
            group_codes=coded.codes,
            label_codes=outcomes.truth,
            scores=outcomes.scores,
            edges=options.score_range,
            weights=rows.weights,
        )
    )
    return Observed(decisions=None if outcomes.truth is None else table, scores=scores)


def threshold_of(options: BiasOptions) -> float | None:
    """Return the score from which a row is selected; None if decisions or the median decide."""
    if options.score is None or options.cuts_at_median:
        return None
    return sum(options.score_range) / 2 if options.threshold is None else options.threshold


def weighted_median(scores: NDArray[np.float64], weights: NDArray[np.int64]) -> float:
    """Return the median of weighted scores: the mean of the two in the middle."""
    order = np.argsort(scores, kind="stable")
    reached, total = np.cumsum(weights[order]), int(weights.sum())
    lower, upper = (int(np.searchsorted(reached, place, side="left")) for place in ((total + 1) // 2, total // 2 + 1))
    return float((scores[order[lower]] + scores[order[upper]]) / 2)


def _check_met(rows: Rows[Labels]) -> None:
    """Refuse sites at which no two groups of an attribute meet.

    Raises:
        DataError: Gaps between groups cannot be separated from differences between sites.
    """
    if rows.site is None:
        return
    for attribute, coded in rows.groups.items():
        known = (coded.codes != len(coded.vocabulary) - 1) & (rows.weights > 0)
        held = np.unique(np.stack([rows.site.codes[known], coded.codes[known]]), axis=1)
        if len(np.unique(held[1])) > 1 and np.bincount(held[0]).max() < 2:
            raise DataError(
                f"{attribute}: no two of its groups meet at any site, so that a gap between them cannot be separated "
                "from one between sites; leave --site out to compare them all the same"
            )


def _scores(table: Table, name: str, span: tuple[float, float]) -> NDArray[np.float64]:
    numbers, (low, high) = numbers_of(table, name), span
    outside = f"outside {low:g} to {high:g}"
    if span == (0.0, 1.0):
        outside += "; give probabilities, or the scores' own range with --score-range LOW,HIGH"
    refuse(table, name, (numbers < low) | (numbers > high), outside)
    return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """Names of labels, and positions of truth and predictions; as in `Labels`."""

    names: tuple[str, ...]
    truth: NDArray[np.int64] | None = None
    predicted: NDArray[np.int64] | None = None
    guessed: bool = False
    notes: tuple[str, ...] = ()


def _outcomes(table: Table, options: BiasOptions, *, to_learn: bool) -> _Read:
    named = options.label or options.prediction
    if named is None:
        return _Read(names=("not selected", "selected"))
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
    return _Read(
        names=(found.other, found.label),
        truth=_is(label, found.label) if labelled else None,
        predicted=None if predicted is None else _is(predicted, found.label),
        guessed=found.guessed,
        notes=(found.note,) if found.note else (),
    )


def _each_class(label: Words, predicted: Words) -> _Read:
    names = tuple(in_order(label.values))
    note = f"{len(names)} labels, none favourable: each against the others; --positive names one"
    return _Read(names=names, truth=_positions(label, names), predicted=_positions(predicted, names), notes=(note,))


def _classes(table: Table, name: str, others: str) -> Words:
    words = table.words(name)
    refuse(table, name, words.codes < 0, f"empty; every row needs one, or {DROP}")
    if len(words.values) > MOST_LABELS:
        raise DataError(
            f"column {name!r} of {table.source} has {len(words.values)} different values, too many for classes; "
            f"expected labels such as 0 and 1{others}"
        )
    return words


def _alike(given: Words, values: tuple[str, ...]) -> Words:
    """Return True and False as 1 and 0 if the other column is written so, and the other way round."""
    for mine, other in (({"True": "1", "False": "0"}, {"0", "1"}), ({"1": "True", "0": "False"}, {"True", "False"})):
        if set(given.values) <= set(mine) and set(values) <= other:
            return Words(codes=given.codes, values=tuple(mine[value] for value in given.values))
    return given


def _check_known(table: Table, name: str, given: Words, label: Words, labelled: str) -> None:
    strange = [value for value in in_order(given.values) if value not in label.values]
    if strange:
        raise DataError(
            f"column {name!r} of {table.source} predicts {strange[0]!r}, not a value of the label {labelled!r}; "
            f"that has {', '.join(in_order(label.values))}"
        )


def _positions(words: Words, names: tuple[str, ...]) -> NDArray[np.int64]:
    return words.positions(names, outside=-1, missing=-1)


def _is(words: Words, value: str) -> NDArray[np.int64]:
    return np.asarray(words.positions((value,), outside=-1, missing=-1) == 0).astype(np.int64)
