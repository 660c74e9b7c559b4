"""Computations that particular rules require of selections, with date and source.

A profile supports evidence; people who know the case judge whether a rule is kept. None of this is legal advice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fedcore.audit.metrics.rates import Rate
from fedcore.audit.tables.groups import UNKNOWN

_MOST_EXACT = 10**9
"""Rows up to which Fisher's test is computed; of more its products overflow, and its normal limit is as good."""
TWO_PERCENT = Fraction(2, 100)
FOUR_FIFTHS = Fraction(4, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A set of rules.

    Attributes:
        date: When its sources were last read.
        shows_all: Whether its table has categories of any size, as its rules require.
        min_share: Groups of a smaller share of the rows are not judged, if the rules say so.
        document: Whether it is a text under given headings; if not, it compares selection rates in a table, for which
            one label must be favourable.
    """

    name: str
    title: str
    date: str
    sources: tuple[str, ...]
    remarks: tuple[str, ...]
    shows_all: bool = False
    min_share: Fraction | None = None
    document: bool = False


NYC_LL144 = Profile(
    name="nyc-ll144",
    title="New York City Local Law 144: impact ratios of an automated employment decision tool",
    date="2026-11-22",
    sources=(
        "New York City Administrative Code 20-870 to 20-874 (Local Law 144 of 2021)",
        "6 RCNY 5-300 to 5-304 (in force since 6 May 2023, enforced since 5 July 2023)",
    ),
    remarks=(
        "the rule sets no limit that an impact ratio must meet",
        "an audit for this rule is made by an independent auditor, is at most one year old, and has a published "
        "summary; this table supports evidence for it, and is not that audit",
        "an auditor may leave categories of less than 2 % out of the impact ratios, with the reason, the count and "
        "the rate; both readings are shown",
    ),
    shows_all=True,
)
US_FOUR_FIFTHS = Profile(
    name="us-four-fifths",
    title="US Uniform Guidelines on Employee Selection Procedures: the four-fifths rule",
    date="2026-11-22",
    sources=(
        "29 CFR 1607.4(D) (1978)",
        "Questions and Answers on the Uniform Guidelines, 44 Fed. Reg. 11996 (1979), nos. 11 to 21",
    ),
    remarks=(
        "the rule is a rule of thumb: a ratio over 4/5 may be adverse impact, and one under it may be none",
        "groups of less than 2 % are not compared",
        "where one person selected instead of another would turn the difference around, the numbers are too small",
    ),
    min_share=TWO_PERCENT,
)
EU_AI_ACT = Profile(
    name="eu-ai-act",
    title="EU AI Act: headings of the technical documentation",
    date="2026-11-29",
    sources=(
        "Regulation (EU) 2024/1689 of 13 June 2024 (Artificial Intelligence Act), Official Journal L, 12 July 2024, "
        "Annex IV, points 2(d), 2(g) and 3; http://data.europa.eu/eli/reg/2024/1689/oj",
    ),
    remarks=(
        "The figures support evidence for these headings; whether the documentation is complete is for people to say",
        "The Digital Omnibus on AI, adopted by the Council on 29 June 2026, moves the duties for high-risk systems of "
        "Annex III to 2 December 2027 and for those of Annex I to 2 August 2028; such dates have been moved before, "
        "and may be again: look them up",
    ),
    document=True,
)
NIST_AI_RMF = Profile(
    name="nist-ai-rmf",
    title="NIST AI Risk Management Framework: MEASURE 2.11",
    date="2026-11-29",
    sources=(
        "National Institute of Standards and Technology, AI Risk Management Framework 1.0, NIST AI 100-1, January "
        "2023, doi:10.6028/NIST.AI.100-1",
    ),
    remarks=("The figures support evidence for this outcome; the framework is voluntary",),
    document=True,
)
MODEL_CARD = Profile(
    name="model-card",
    title="model card",
    date="2026-11-29",
    sources=('Mitchell, M. et al. (2019), "Model cards for model reporting", FAT* \'19, arXiv 1810.03993',),
    remarks=("The figures support evidence for the quantitative parts of a card",),
    document=True,
)
PROFILES: dict[str, Profile] = {
    profile.name: profile for profile in (NYC_LL144, US_FOUR_FIFTHS, EU_AI_ACT, NIST_AI_RMF, MODEL_CARD)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One line of an audit by Local Law 144.

    Attributes:
        selected: Rows that were selected, or scored above the sample's median.
        share: Its share of the rows of known category.
        impact_ratio: Its rate over the highest of all categories, exact; None if undefined.
        impact_ratio_without_small: The same over the highest of the categories of at least 2 %; None for a smaller one.
    """

    category: str
    n: int
    selected: int
    rate: float | None
    share: Fraction
    impact_ratio: Fraction | None
    under_two_percent: bool
    impact_ratio_without_small: Fraction | None


def categories(rates: Mapping[str, Rate]) -> list[Category]:
    """Return a line for each group but "unknown"; the definitions are those of 6 RCNY 5-300.

    Rates are the groups' selected rows, or rows scored above the median, among all.
    """
    known = {group: rate for group, rate in rates.items() if group != UNKNOWN}
    total = sum(rate.n for rate in known.values())
    shares = {group: Fraction(rate.n, total) if total else Fraction(0) for group, rate in known.items()}
    large = {group: rate for group, rate in known.items() if shares[group] >= TWO_PERCENT}
    return [
        Category(
            **_counts(group, rate),
            share=shares[group],
            impact_ratio=_over_highest(rate, known),
            under_two_percent=group not in large,
            impact_ratio_without_small=_over_highest(rate, large) if group in large else None,
        )
        for group, rate in known.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class FourFifths:
    """One group compared with the group of the highest rate.

    Attributes:
        reference: The group of the highest rate, among those of at least 2 %.
        ratio: Its rate over that of the reference, exact.
        one_person_reverses: Whether one person selected in this group, and one fewer in the other, would reverse the
            difference.
        standard_deviations: The difference in these (two-sample z, pooled); None if nobody or everybody is selected,
            and of the reference.
        fisher_p: Fisher's exact test, two-sided, of over 10^9 rows its normal limit; None of the reference.
    """

    category: str
    n: int
    selected: int
    rate: float | None
    reference: str
    ratio: Fraction
    under_four_fifths: bool
    one_person_reverses: bool
    standard_deviations: float | None
    fisher_p: float | None


def four_fifths(rates: Mapping[str, Rate]) -> list[FourFifths]:
    """Return a line for each group of at least 2 % but "unknown"; none if nobody is selected.

    Source: 29 CFR 1607.4(D); for the reversal Question 21 of the Questions and Answers (1979).
    """
    few = left_out(rates)
    large = {group: rate for group, rate in _with_rows(rates).items() if group not in few}
    if len(large) < 2:
        return []
    reference = max(large, key=lambda group: large[group].fraction or Fraction(0))
    best = large[reference]
    if not best.successes:
        return []
    ratios = {group: (rate.fraction or Fraction(0)) / (best.fraction or Fraction(1)) for group, rate in large.items()}
    return [
        FourFifths(
            **_counts(group, rate),
            reference=reference,
            ratio=ratios[group],
            under_four_fifths=ratios[group] < FOUR_FIFTHS,
            one_person_reverses=group != reference
            and Fraction(rate.successes + 1, rate.n) > Fraction(best.successes - 1, best.n),
            standard_deviations=None if group == reference else _deviations(rate, best),
            fisher_p=None if group == reference else _fisher(rate, best),
        )
        for group, rate in large.items()
    ]


def _counts(group: str, rate: Rate) -> dict[str, Any]:
    return {
        "category": group,
        "n": rate.n,
        "selected": rate.successes,
        "rate": rate.successes / rate.n if rate.n else None,
    }


def left_out(rates: Mapping[str, Rate]) -> tuple[str, ...]:
    """Return the groups under 2 % of the rows of known group, which the four-fifths rule leaves out."""
    known = _with_rows(rates)
    total = sum(rate.n for rate in known.values())
    return tuple(group for group, rate in known.items() if Fraction(rate.n, total) < TWO_PERCENT)


def _with_rows(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    return {group: rate for group, rate in rates.items() if group != UNKNOWN and rate.n}


def _over_highest(rate: Rate, others: Mapping[str, Rate]) -> Fraction | None:
    highest = max((other.fraction for other in others.values() if other.fraction is not None), default=None)
    return rate.fraction / highest if highest and rate.fraction is not None else None


def _deviations(a: Rate, b: Rate) -> float | None:
    pooled = Fraction(a.successes + b.successes, a.n + b.n)
    variance = pooled * (1 - pooled) * (Fraction(1, a.n) + Fraction(1, b.n))
    if not variance:
        return None
    return float(Fraction(b.successes, b.n) - Fraction(a.successes, a.n)) / math.sqrt(variance)


def _fisher(a: Rate, b: Rate) -> float:
    from scipy.stats import fisher_exact

    if a.n + b.n > _MOST_EXACT:
        return math.erfc(abs(_deviations(a, b) or 0.0) / math.sqrt(2))
    table = [[a.successes, a.n - a.successes], [b.successes, b.n - b.successes]]
    return float(fisher_exact(table).pvalue)
