"""Everything fedcore raises on purpose.

::

    FedcoreError
    ├── PlanError            the plan, or an option of a command, is wrong; holds every problem found
    ├── TaskError            a task cannot be imported or breaks its contract
    ├── DataError            a table, an array or a split of the data cannot be used
    ├── PrivacyError         the claimed guarantee would be false, so nothing is trained
    ├── DeviceError          the device asked for is not usable
    ├── LayoutError          parameters do not fit the model
    ├── UpdateRejectedError  one client's reply is malformed; costs that reply, never the round
    ├── RunPausedError       a run cannot continue by itself; its committed rounds are kept, and it can be resumed
    │   ├── RoundFailedError     a round had no quorum in all its attempts
    │   └── DivergedError        the model got far worse than it was at the start
    ├── StorageError         a file cannot be written or read: the disk is full, or it is damaged
    │   └── RunDirectoryError    the place for the results is taken, or holds no run
    ├── TrustError           a key, a signature, an invitation or a certificate is not what it must be
    ├── RefusedError         a client's policy refuses a request; only its code leaves the client
    ├── DeploymentError      a server, a client or a run cannot be started or reached
    └── EngineError          simulated clients could not be run
"""

from __future__ import annotations

from collections.abc import Sequence


class FedcoreError(Exception):
    """The root; a message states what was expected, what was found, and what to do."""


class PlanError(FedcoreError):
    """A plan or an option is wrong.

    Attributes:
        problems: One sentence for every problem, so that all can be fixed at once.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class TaskError(FedcoreError):
    """A task cannot be imported, or a part of it breaks the contract of ``fedcore.task.Task``."""


class DataError(FedcoreError):
    """Data cannot be read, or cannot be used as asked."""


class PrivacyError(FedcoreError):
    """The requested guarantee would not hold for this model, loss or plan."""


class DeviceError(FedcoreError):
    """The named device is missing or fails its test."""


class LayoutError(FedcoreError):
    """Parameters have other names, shapes or a number type than the model."""


class UpdateRejectedError(FedcoreError):
    """A client's reply cannot be counted.

    Attributes:
        code: One word for the journal, such as ``NONFINITE`` or ``LAYOUT``.
        read_data: Whether the client may have opened its data.
    """

    def __init__(self, client: str, code: str, message: str, *, read_data: bool = True) -> None:
        self.client = client
        self.code = code
        self.read_data = read_data
        super().__init__(message)


class RunPausedError(FedcoreError):
    """A run needs a person to continue; it can be resumed from its last committed round."""


class RoundFailedError(RunPausedError):
    """A round found no quorum in as many attempts as the plan allows."""


class DivergedError(RunPausedError):
    """The evaluated loss is not finite, or far above that of the first evaluation."""


class StorageError(FedcoreError):
    """A file cannot be written or read; existing content is unchanged."""


class RunDirectoryError(StorageError):
    """A run directory is taken, cannot be read, or has no run to resume."""


class TrustError(FedcoreError):
    """A key, a signature, an invitation or a certificate is not valid."""


class RefusedError(FedcoreError):
    """A client refuses a request.

    Attributes:
        code: The word sent to the server, such as ``COHORT``; the message stays in the client's own log.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class DeploymentError(FedcoreError):
    """A server, a client or a run cannot be started, reached or found."""


class RequestGoneError(DeploymentError):
    """Nobody waits for the answer to a request: its run has ended or was restarted."""


class EngineError(FedcoreError):
    """The simulated clients could not finish."""


class TaskFailedError(EngineError):
    """All of the clients asked failed in the task's own code."""
