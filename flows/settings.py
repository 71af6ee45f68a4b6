"""What an operator may set of the watch: `settings.yaml` in its folder, and no part of `params.yaml`.

The command line, the deployments and the pages all read that one file, so none of them watches by other rules.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flows.captures import CaptureLog, open_log
from flows.home import Home
from flows.rows import MEASURES
from stages.lib.frozen import Frozen
from stages.params import read


class RetrainSettings(Frozen):
    """How challengers are built and judged."""

    cool_down_days: Annotated[float, Field(ge=0)] = Field(
        default=7.0, description="from the start of one retraining to that of the next, however it ended"
    )
    probability: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="of each degradation that is a remedy, and of a degraded face, at least"
    )
    bands: Annotated[int, Field(ge=1)] = Field(default=10, description="of quality, none of which may get worse")
    replicates: Annotated[int, Field(ge=100)] = Field(default=1000, description="resamples of the people")
    seed: Annotated[int, Field(ge=0)] = Field(default=1, description="of the resamples and of the impostor pairs")
    jobs: Annotated[int, Field(ge=1)] = Field(default=1, description="stages at work at the same time")
    threads: Annotated[int, Field(ge=1)] = Field(default=2, description="that a model may use as it is judged")


class WatchSettings(Frozen):
    """How production is watched, and how an alarm is answered."""

    log: str | None = Field(
        default=None,
        description="capture log: a folder, or postgresql://USER@HOST/DATABASE; none: `captures` in FLOWS_HOME",
    )
    hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = Field(
        default=24,
        description="of a window; windows start at multiples of it since 1970, UTC. The rate of false alarms was "
        "checked for 24 alone: all hours of the day are one baseline",
    )
    sample: Annotated[int, Field(ge=20)] = Field(
        default=200,
        description="faces drawn of each window, seeded; a statistic of more would find ever smaller drifts",
    )
    fewest: Annotated[int, Field(ge=20)] = Field(default=50, description="faces that a window needs to be judged")
    false_alarms_per_month: Annotated[float, Field(gt=0, le=30)] = Field(
        default=1.0, description="alarms that quiet windows of all cameras together may raise in 30 days"
    )
    k: Annotated[int, Field(ge=1)] = Field(default=2, description="breaching windows that make an alarm")
    n: Annotated[int, Field(ge=1, le=10)] = Field(default=3, description="of the last so many")
    resamples: Annotated[int, Field(ge=200)] = Field(
        default=2000, description="of the reference, from which bounds are read"
    )
    seed: int = Field(default=1, description="of samples and resamples")
    settle_minutes: Annotated[int, Field(ge=0)] = Field(
        default=60,
        description="a window is measured when it has been over for so long; what comes later is measured again",
    )
    columns: tuple[str, ...] = Field(
        default=MEASURES,
        description="measures that are watched; one less that the price rests on, and no alarm has one",
    )
    retention_days: Annotated[int, Field(ge=1)] = Field(
        default=90, description="the deployment `score` keeps rows for so long"
    )
    keep_embeddings: bool = Field(
        default=False, description="of captures. They are biometric templates: off unless somebody needs them"
    )
    webhook: str | None = Field(
        default=None, description="address that alarms are posted to as JSON; none: nothing leaves the machine"
    )
    retrain: RetrainSettings = Field(default=RetrainSettings(), description="how challengers are built and judged")

    @model_validator(mode="after")
    def _can_be_met(self) -> WatchSettings:
        if self.k > self.n:
            raise ValueError(f"k is {self.k} and n is {self.n}: {self.k} of {self.n} windows cannot breach")
        if self.fewest > self.sample:
            raise ValueError(f"fewest is {self.fewest} and sample is {self.sample}: no more than these are judged")
        if unknown := set(self.columns) - set(MEASURES):
            raise ValueError(f"columns {sorted(unknown)} are not measured; there are {', '.join(MEASURES)}")
        return self

    @classmethod
    def of(cls, home: Home) -> WatchSettings:
        """What `settings.yaml` in a home says; where it is missing or silent, the defaults.

        Raises:
            ConfigError: it cannot be read, or a key is wrong; the message names it.
        """
        return read(cls, home.settings, secret=True) if home.settings.is_file() else cls()

    def captures(self, home: Home) -> CaptureLog:
        """The capture log that they name."""
        return open_log(self.log or home.captures)
