"""More rounds for a run than its plan had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fedcore.errors import PlanError, RunDirectoryError
from fedcore.method.exchange import Exchange
from fedcore.plan import RunPlan
from fedcore.schedules.registry import schedule_of
from fedcore.storage.files import write_whole
from fedcore_server.evaluation.evaluation import audit_settings
from fedcore_server.evaluation.stopping import why_stopped
from fedcore_server.rounds.state import ServerState
from fedcore_server.runs.checkpoint import load_checkpoint, save_checkpoint
from fedcore_server.runs.place import is_finished
from fedcore_server.runs.store import is_deployed

_ABOUT_THE_MODEL = ("waiver.json", "privacy-audit.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A run's plan with more rounds; nothing on disk is changed before `begin`."""

    path: Path
    old: RunPlan
    plan: RunPlan

    @classmethod
    def of(cls, path: Path, rounds: int) -> Extension:
        """An extension that gives what a run of so many rounds would have given.

        Raises:
            RunDirectoryError: There is no simulation's run, or something beside it is about its present model.
            PlanError: The plan's results depend on how many rounds it has; lists every reason.
        """
        if not (path / "plan.toml").is_file():
            raise RunDirectoryError(f"{path} holds no run: expected a plan.toml in it")
        old = RunPlan.from_toml(path / "plan.toml")
        if rounds <= old.federation.rounds:
            raise PlanError(
                f"federation.rounds: expected more than the {old.federation.rounds} rounds of the run, found {rounds}"
            )
        _check_directory(path)
        plan = old.updated(federation={"rounds": rounds})
        if problems := [*_problems(old, plan)]:
            raise PlanError([f"the run cannot have more rounds: {problem}" for problem in problems])
        return cls(path=path, old=old, plan=plan)

    def begin(self, initial: ServerState) -> None:
        """Make the directory that of an unfinished run of the new plan.

        If it is interrupted, the same command does the rest.

        Args:
            initial: The state before round 1, for the layout.

        Raises:
            PlanError: The run was ended by its rule.
        """
        state = self._state(initial)
        if why := why_stopped(state):
            raise PlanError(f"the run cannot have more rounds: federation.stop-when ended it ({why})")
        save_checkpoint(self.path / "checkpoint", state, self.plan)
        for name in ("summary.json", "report.html"):
            (self.path / name).unlink(missing_ok=True)
        write_whole(self.path / "plan.toml", self.plan.to_toml())

    def _state(self, initial: ServerState) -> ServerState:
        """Of a finished run no request is in progress, so that resuming it charges none."""
        finished = is_finished(self.path)
        try:
            state = load_checkpoint(self.path / "checkpoint", initial, self.plan)
        except RunDirectoryError:
            state = load_checkpoint(self.path / "checkpoint", initial, self.old)
        return replace(state, settled=state.settled or finished)


def _check_directory(path: Path) -> None:
    if is_deployed(path):
        raise RunDirectoryError(
            f"{path} is a deployment's run, whose clients agreed to its rounds; begin a new run with "
            f"task.start-from = {str(path / 'model.safetensors')!r}"
        )
    if found := [name for name in _ABOUT_THE_MODEL if (path / name).exists()]:
        raise RunDirectoryError(
            f"{path} has {' and '.join(found)}, about its present model, which more rounds would replace; copy the "
            "directory without it, and extend the copy"
        )


def _problems(old: RunPlan, plan: RunPlan) -> Iterator[str]:
    schedule, federation = old.training.schedule, old.federation
    if old.privacy.unit != "none":
        yield (
            "whether it gets them is decided by its results, and ε holds for rounds that were fixed before; plan a new "
            "run with so many"
        )
    if schedule is not None and schedule_of(schedule).needs_rounds:
        yield (
            f"training.schedule = {schedule!r} brings the learning rate down by round {federation.rounds}; the rounds "
            "so far had other rates than those of a longer run"
        )
    if Exchange.of(old).remembers:
        yield "its clients keep vectors between rounds, which belong to the old plan; begin a new run"
    if audit_settings(old) != audit_settings(plan):
        yield (
            "its evaluations choose a round, with intervals for "
            f"{audit_settings(old).looks} evaluated rounds; more would have had wider ones from the start"
        )
    if Exchange.of(old).algorithm.learns and federation.rounds % federation.evaluate_every:
        yield f"algorithm {old.algorithm.name!r} has learned from the last evaluation, which a longer run does not have"
