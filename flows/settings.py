"""What an operator may set of the watch: parameters of its flows, and no part of `params.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.rows import MEASURES


class WatchSettings(BaseModel):
    """How production is watched.

    Attributes:
        hours: of a window; windows start at multiples of it since 1970, UTC.
        sample: faces drawn of each window, seeded; a statistic of more faces would find ever smaller drifts.
        fewest: faces that a window needs to be judged.
        false_alarms_per_month: alarms that quiet windows of all cameras together may raise in 30 days.
        k: breaching windows that make an alarm,
        n: of the last so many.
        resamples: of the reference, from which bounds are read.
        seed: of samples and resamples.
        settle_minutes: a window is measured when it has been over for so long; what comes later is measured again.
        retention_days: rows of the capture log are kept for so long.
        webhook: address that alarms are posted to as JSON; none: nothing leaves the machine.
        keep_embeddings: of captures. They are biometric templates: off unless somebody needs them.
        columns: measures that are watched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hours: Annotated[Literal[1, 2, 3, 4, 6, 8, 12, 24], Field()] = 24
    sample: Annotated[int, Field(ge=20)] = 200
    fewest: Annotated[int, Field(ge=20)] = 50
    false_alarms_per_month: Annotated[float, Field(gt=0, le=30)] = 1.0
    k: Annotated[int, Field(ge=1)] = 2
    n: Annotated[int, Field(ge=1, le=10)] = 3
    resamples: Annotated[int, Field(ge=200)] = 2000
    seed: int = 1
    settle_minutes: Annotated[int, Field(ge=0)] = 60
    retention_days: Annotated[int, Field(ge=1)] = 90
    webhook: str | None = None
    keep_embeddings: bool = False
    columns: tuple[str, ...] = MEASURES

    @model_validator(mode="after")
    def _can_be_met(self) -> WatchSettings:
        if self.k > self.n:
            raise ValueError(f"k is {self.k} and n is {self.n}: {self.k} of {self.n} windows cannot breach")
        if unknown := set(self.columns) - set(MEASURES):
            raise ValueError(f"columns {sorted(unknown)} are not measured; there are {', '.join(MEASURES)}")
        return self
