"""The errors that a stage may end with, each with the exit code that DVC and the flows see."""


class StageError(Exception):
    """A stage cannot go on. The message names the file or setting at fault and the fix."""

    exit_code = 1


class ConfigError(StageError):
    """Params, paths or models are wrong: a rerun will not help."""

    exit_code = 2


class GateFailed(StageError):
    """Data or a model broke a declared bound: downstream stages must not run."""

    exit_code = 3


class TransientError(StageError):
    """The machine, not the input, failed: the same command may pass when run again."""

    exit_code = 75
