"""The section of a plan that gives simulated clients devices, and so a run its simulated time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fedcore.plan.section import Count, NonNegative, Positive, Section, Share


class DeviceKind(Section):
    """One kind of device. Speeds are those that it sustains while it trains."""

    share: Positive = Field(
        1.0,
        description="its part of the clients, relative to the other kinds; which client has it is drawn by the seed",
    )
    gigaflops: Positive = Field(description="floating-point operations in training, in 10⁹ a second")
    downlink_megabits_per_second: Positive = Field(description="from the server to the client")
    uplink_megabits_per_second: Positive = Field(description="from the client to the server")
    latency_seconds: NonNegative = Field(0.0, description="added to each of a round's two transfers")
    available: Share = Field(
        1.0, description="share of each period in which a client can be asked; one that goes offline before it has "
        "answered is lost",
    )  # fmt: skip
    period_seconds: Annotated[float, Field(ge=60, allow_inf_nan=False)] = Field(
        86_400.0, description="length of a period, which begins at a time of each client's own, drawn by the seed"
    )
    dropout: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="chance in each round of never answering")
    jitter: Annotated[float, Field(ge=0, le=3)] = Field(
        0.0, description="standard deviation of the logarithm of a factor of median 1, drawn in each round for the "
        "training and for the transfers",
    )  # fmt: skip


class DevicesSection(Section):
    """Devices of simulated clients, which give a run its simulated time; a deployment has none."""

    profiles: str | None = Field(
        None,
        description="`phones`, `hospital-servers`, or a TOML file with a table for each kind of device; it is read "
        "into `kinds`, which is part of the plan's hash, as its path is not",
    )
    kinds: dict[str, DeviceKind] = Field(default_factory=dict, description="kinds of devices by name")
    flops_per_example: Positive | None = Field(
        None,
        description="floating-point operations that a row costs in training; when absent, those of the model's matrix "
        "products and convolutions, forward and backward, as PyTorch counts them",
    )
    wait_for: Count | None = Field(
        None,
        description="a round ends when so many clients have answered, and the others are late: with a larger "
        "`cohort-size`, over-selection; all when absent. In both cases a round ends after `round-timeout-seconds`",
    )

    @property
    def simulated(self) -> bool:
        """Whether the run has a simulated time."""
        return self.profiles is not None or bool(self.kinds)
