"""A run's promise: to each record, to each client, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedcore.privacy.central import CentralPrivacy
from fedcore.privacy.plan import PrivacyPlan

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

Promise = PrivacyPlan | CentralPrivacy


def promise_of(plan: RunPlan) -> Promise | None:
    """The promise of a resolved plan; raises `PrivacyError` if it is not resolved or the promise cannot be kept."""
    return CentralPrivacy.from_run_plan(plan) or PrivacyPlan.from_run_plan(plan)
