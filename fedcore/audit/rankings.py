"""The names of what is measured of rankings, and what each is a ratio of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedMeasure:
    """A ratio of two sums of ``ranked_lists.tallies``.

    Attributes:
        numerator: Name of the sum above.
        denominator: Name of the sum below.
        most: Name of the sum that the numerator cannot exceed.
    """

    numerator: str
    denominator: str
    most: str

    @property
    def is_share(self) -> bool:
        """Whether it lies in 0 to 1, so that a difference of two means something by itself."""
        return self.most == self.denominator


RANKED: dict[str, RankedMeasure] = {
    "selection_rate_at_k": RankedMeasure(numerator="top", denominator="rows", most="rows"),
    "representation_at_k": RankedMeasure(numerator="top", denominator="fair", most="rows"),
    "exposure": RankedMeasure(numerator="seen", denominator="rows", most="rows"),
    "exposure_per_relevance": RankedMeasure(numerator="seen", denominator="relevance", most="rows"),
    "pairwise_accuracy": RankedMeasure(numerator="won", denominator="pairs", most="pairs"),
    "intra_group_pairwise_accuracy": RankedMeasure(
        numerator="won_within", denominator="pairs_within", most="pairs_within"
    ),
    "inter_group_pairwise_accuracy": RankedMeasure(
        numerator="won_across", denominator="pairs_across", most="pairs_across"
    ),
}
"""Those after the third need relevance."""
OF_SCORES = ("selection_rate_at_k", "representation_at_k", "exposure")
"""What scores alone tell."""
