"""The exceptions of refsr.

Every error that refsr raises on purpose is a RefsrError whose text is one plain sentence: what is
wrong, with which file, and what to do. The command line prints that sentence and exits with 1.
"""


class RefsrError(Exception):
    """Base of every error that refsr raises on purpose."""


class PhotoError(RefsrError):
    """A photo cannot be read or written."""


class DiskFullError(PhotoError):
    """A file cannot be written because its disk or the user's share of it is full."""


class TooLargeError(PhotoError):
    """A photo has more pixels than were allowed."""

    def __init__(self, fact: str, advice: str) -> None:
        """``fact``: what is wrong; ``advice``: what to do, on the command line."""
        super().__init__(f"{fact}; {advice}.")
        self.fact = fact


class ModelError(RefsrError):
    """A model, checkpoint or runtime is missing, broken or unsuitable."""


class DataError(RefsrError):
    """A data set, list of pairs or configuration is missing, broken or inconsistent."""


class Cancelled(RefsrError):
    """For a ``progress`` callback to raise: the job ends there, and nothing is written."""
