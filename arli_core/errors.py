"""What can go wrong in a way that a user can fix: one tree, so that clients catch one name."""


class LabError(Exception):
    """Base of all errors with a message for the user: what is wrong, where, and what would be valid."""


class ConfigError(LabError, ValueError):
    """A configuration that cannot be run."""


class RecordError(LabError):
    """A recorded run that is missing, damaged, foreign, or in the way."""


class DataError(LabError):
    """A data set whose files are missing, damaged, or not available."""


class Diverged(LabError):
    """Training reached numbers that are not finite."""


class Busy(LabError):
    """A run is training already."""
