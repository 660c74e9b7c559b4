"""The round loop as a Flower ``ServerApp``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedcore.audit.verdict.hooks import AuditHook
from fedcore.errors import DeploymentError
from fedcore.messages import TrainRequest
from fedcore.plan import RunPlan
from fedcore.task import Task
from fedcore.transforms import load_transforms
from fedcore_server.flower.correspondence import Correspondence
from fedcore_server.flower.grid_federation import ArrivingGrid, GridFederation
from fedcore_server.rounds.driver import OnRound, Outcome, Run
from fedcore_server.rounds.rounds import init_state
from fedcore_server.rounds.state import ServerState


def build_server_app(
    task: Task,
    plan: RunPlan,
    letters: Correspondence,
    *,
    on_round: OnRound,
    on_end: Callable[[Outcome], None],
    first_state: Callable[[], ServerState] | None = None,
    hooks: Sequence[AuditHook] = (),
    on_request: Callable[[TrainRequest], None] = lambda request: None,
) -> ServerApp:
    """A ServerApp that runs a resolved plan to its end.

    Args:
        letters: Seals requests and checks replies.
        on_end: Given the outcome; a ServerApp returns nothing.
        first_state: Gives the state to go on from, which nobody else should hold; the beginning when absent.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        if not hasattr(grid, "arrivals"):
            raise DeploymentError("expected a grid that yields replies as they arrive, such as StreamingGrid")
        federation = GridFederation(cast(ArrivingGrid, grid), plan, letters)
        run = Run(
            task=task,
            plan=plan,
            federation=federation,
            hooks=hooks,
            transforms=load_transforms(plan),
            on_request=on_request,
        )
        on_end(run.to_end(first_state() if first_state else init_state(task, plan), on_round))

    return app
