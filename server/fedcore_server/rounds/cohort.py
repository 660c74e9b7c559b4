"""Who is asked in a round."""

from __future__ import annotations

from collections.abc import Sequence

from fedcore.plan import FederationSection
from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.noise import Randomness
from fedcore.seeding import numpy_generator


def choose_cohort(
    available: Sequence[str], settings: FederationSection, *, round: int, attempt: int
) -> tuple[str, ...]:
    """The clients asked in a round, sorted by name; the same for the same plan, round and clients.

    Fixed size draws without replacement (McMahan et al. 2017, arXiv 1602.05629). Poisson draws every client
    independently, so that a cohort may have any size, also 0 (McMahan et al. 2018, arXiv 1710.06963).
    """
    names = sorted(available)
    size = settings.cohort_size
    if size is None or (settings.cohort_sampling == "fixed" and size >= len(names)):
        return tuple(names)
    generator = numpy_generator(settings.seed, "cohort", round, attempt)
    if settings.cohort_sampling == "poisson":
        asked = generator.random(len(names)) < size / len(names)
        return tuple(name for name, chosen in zip(names, asked, strict=True) if chosen)
    return tuple(sorted(names[index] for index in generator.choice(len(names), size, replace=False)))


def secret_cohort(available: Sequence[str], privacy: CentralPrivacy, randomness: Randomness) -> tuple[str, ...]:
    """A Poisson cohort that nobody can redraw, with the promise's sampling rate.

    The rate is the plan's, not that of the connected clients, and the public seed is not used: sampling amplifies
    privacy only then.
    """
    names = sorted(available)
    asked = (randomness.uniform(len(names)) < privacy.sampling_rate).tolist() if names else []
    return tuple(name for name, chosen in zip(names, asked, strict=True) if chosen)
