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
    ├── RoundFailedError     a round had no quorum in all its attempts
    ├── RunDirectoryError    the place for the results is taken, full, or holds no run
    └── EngineError          simulated clients could not be run
"""

from __future__ import annotations

from collections.abc import Sequence


class FedcoreError(Exception):
    """The root; its message says what was expected, what was found, and what to do."""


class PlanError(FedcoreError):
    """A plan or an option is wrong.

    Attributes:
        problems: One sentence for every problem found, so that all can be mended at once.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class TaskError(FedcoreError):
    """A task cannot be imported, or a part of it breaks the contract of ``fedcore.task.Task``."""


class DataError(FedcoreError):
    """Data cannot be read, or cannot be used as asked."""


class PrivacyError(FedcoreError):
    """A guarantee was asked for that this model, loss or plan would not keep."""


class DeviceError(FedcoreError):
    """The device that was named is absent or fails its trial."""


class LayoutError(FedcoreError):
    """Parameters have other names, shapes or a number type than the model."""


class UpdateRejectedError(FedcoreError):
    """A client's reply cannot be counted.

    Attributes:
        client: Name of the client.
        code: One word for the journal, such as ``NONFINITE`` or ``LAYOUT``.
    """

    def __init__(self, client: str, code: str, message: str) -> None:
        self.client = client
        self.code = code
        super().__init__(message)


class RoundFailedError(FedcoreError):
    """A round found no quorum in as many attempts as the plan allows."""


class RunDirectoryError(FedcoreError):
    """A run directory is taken, cannot be written, or holds no run to go on with."""


class EngineError(FedcoreError):
    """The simulated clients could not be run to the end."""
