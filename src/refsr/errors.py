"""The exceptions of refsr.

Every error that refsr raises on purpose is a RefsrError whose text is one plain sentence: what is
wrong, with which file, and what to do. The command line prints that sentence and exits with 1.
"""


class RefsrError(Exception):
    """Base of every error that refsr raises on purpose."""


class PhotoError(RefsrError):
    """A photo cannot be read or written."""


class ModelError(RefsrError):
    """A model, checkpoint or runtime is missing, broken or unsuitable."""


class DataError(RefsrError):
    """A data set, list of pairs or configuration is missing, broken or inconsistent."""


class Cancelled(RefsrError):
    """For a ``progress`` callback to raise: the job ends there, and nothing is written."""
