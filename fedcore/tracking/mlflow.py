"""MLflow: parameters, a curve for each number, and the results as artifacts."""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedcore.listeners import Beginning, Ending
from fedcore.round_line import figures_of, worst_group
from fedcore.tracking.plan_values import plan_values

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from fedcore.plan import RunPlan

_ARTIFACTS = ("plan.toml", "summary.json", "privacy.json", "bias.json", "report.html", "model.safetensors")
_MOST_PARAMS = 100  # in one request
_LONGEST_VALUE = 5000
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is away holds a round up for seconds, not for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class MlflowTracker:
    """A new MLflow run each time that a run begins or is resumed, with all rounds so far.

    It goes to ``MLFLOW_TRACKING_URI``, and without that to ``mlflow.db`` in the working directory.

    Args:
        experiment: Name of the experiment.
    """

    name = package = "mlflow"

    def __init__(self, experiment: str = "fedcore") -> None:
        self._experiment = experiment
        self._client: MlflowClient | None = None
        self._run = ""

    def run_begins(self, plan: RunPlan, beginning: Beginning) -> None:
        with _quiet():
            from mlflow.entities import Param

            client = _client()
            tags = {"fedcore.task": beginning.task, "fedcore.plan_sha256": plan.sha256}
            run = client.create_run(self._experiment_id(client), run_name=beginning.run, tags=tags)
            self._client, self._run = client, run.info.run_id
            values = {**plan_values(plan), "clients": str(len(beginning.clients))}
            params = [Param(_allowed(name), value[:_LONGEST_VALUE]) for name, value in values.items()]
            for start in range(0, len(params), _MOST_PARAMS):
                client.log_batch(self._run, params=params[start : start + _MOST_PARAMS])
        for line in beginning.lines:
            self.round_closed(line)

    def round_closed(self, line: Mapping[str, Any]) -> None:
        if line["committed"]:
            worst = worst_group(line)
            self._log(figures_of(line), step=line["round"], tags={"worst_group": worst.name} if worst else {})

    def run_ends(self, ending: Ending) -> None:
        if self._client is None:
            return
        summary = ending.summary or {}
        if ending.summary is not None:
            figures = {f"released/{name}": value for name, value in summary["metrics"].items()}
            verdict = {"audit_verdict": str(summary["audit_verdict"]), "model_sha256": summary["model_sha256"]}
            self._log(figures, step=summary["rounds"], tags=verdict)
        with _quiet():
            for name in _ARTIFACTS if ending.directory else ():
                if ending.directory and (ending.directory / name).is_file():
                    self._client.log_artifact(self._run, str(ending.directory / name))
            if ending.failure:
                self._client.set_tag(self._run, "failure", ending.failure[:_LONGEST_VALUE])
            status = "KILLED" if ending.failure == "stopped" else "FAILED" if ending.failure else "FINISHED"
            self._client.set_terminated(self._run, status)

    def _experiment_id(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self._experiment)
        return str(found.experiment_id if found else client.create_experiment(self._experiment))

    def _log(self, figures: Mapping[str, float], *, step: int, tags: Mapping[str, str]) -> None:
        if self._client is None:
            return
        with _quiet():
            from mlflow.entities import Metric, RunTag

            now = int(time.time() * 1000)
            metrics = [Metric(_allowed(name), value, now, step) for name, value in figures.items()]
            self._client.log_batch(self._run, metrics, tags=[RunTag(name, text) for name, text in tags.items()])


def _client() -> MlflowClient:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient

    for noisy in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # The file store is in maintenance mode, and MLflow refuses it. It caches stores by their address: an absolute one.
    store = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    return MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", store))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's warnings of what it uses itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _allowed(name: str) -> str:
    """The name with nothing in it that MLflow refuses."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)
