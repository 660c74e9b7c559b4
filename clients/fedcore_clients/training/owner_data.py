"""A data owner's rows, split into training and held-out rows."""

from __future__ import annotations

from pathlib import Path

from fedcore.data.example_files import is_client_file, load_client_file
from fedcore.data.held_out import choose_held_out
from fedcore.plan import RunPlan
from fedcore.task import Task, check_target_codes, check_target_type, load_examples
from fedcore_clients.training.local_model import Client


def load_client(task: Task, plan: RunPlan, name: str, path: Path | None, *, secret: int) -> Client:
    """Open a client's data.

    A file that ``fedcore split`` wrote holds its split; anything else goes through the task's `load_data`, and the
    held-out rows are drawn from a secret of the client's own, the same ones in every run: a server that could choose
    them anew could solve for the rows one by one, and have rows trained on that it evaluates on. Where the plan makes
    the number of rows secret, each row's own columns decide; by chance none may be left to train on, which must not
    show: such a client sends noise alone.

    Args:
        secret: Drawn once for a client's home, and never released.

    Raises:
        DataError: The data cannot be read or used.
        TaskError: The task's code fails, or gives columns that it cannot take.
    """
    if path is not None and is_client_file(path):
        training, held_out = load_client_file(path)
        return _checked(Client(name=name, training=training, held_out=held_out), task, plan)
    examples = load_examples(task, path)
    marked = choose_held_out(examples, plan, secret, owner=name)
    kept = examples.select(marked.nonzero().flatten()) if bool(marked.any()) else None
    return _checked(
        Client(name=name, training=examples.select((~marked).nonzero().flatten()), held_out=kept), task, plan
    )


def _checked(client: Client, task: Task, plan: RunPlan) -> Client:
    """Refuse targets that the task cannot take; under privacy by their type only: a refusal would reveal rows."""
    for part in filter(None, (client.training, client.held_out)):
        check_target_type(task, part)
        if task.labels and plan.privacy.unit == "none":
            check_target_codes(task, part)
    return client
