"""A client as a Flower ``ClientApp``, driven through Flower's own messages by tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedcore.plan import RunPlan
from fedcore.task import Task
from fedcore.wire.requests import unpack_plan
from fedcore_clients.agent.task_runner import TaskRunner
from fedcore_clients.training.local_model import Client


def build_client_app(
    task: Task, *, load: Callable[[Context, RunPlan], Client], memory: Path | None = None, **options: Any
) -> ClientApp:
    """A ClientApp with a runner for each node, and a memory where a directory is given."""
    app = ClientApp()
    runners: dict[int, TaskRunner] = {}

    def runner_of(context: Context) -> TaskRunner:
        if context.node_id not in runners:
            place = None if memory is None else memory / str(context.node_id)
            runners[context.node_id] = TaskRunner(task, lambda plan: load(context, plan), memory=place, **options)
        return runners[context.node_id]

    @app.query("layout")
    def layout(message: Message, context: Context) -> Message:
        runner_of(context).check_layout(unpack_plan(message.content), message.content, kind="train")
        return Message(RecordDict(), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        content = message.content
        return Message(runner_of(context).train(unpack_plan(content), content), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        content = message.content
        return Message(runner_of(context).evaluate(unpack_plan(content), content), reply_to=message)

    return app
