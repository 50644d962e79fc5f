"""The errors that are the user's to mend."""


class UserError(ValueError):
    """The user's input is wrong.

    The message is one line: what is wrong, what was expected, and the fix. The command line prints
    it without a traceback and exits with status 2.
    """


class ConfigError(UserError):
    """A setting is unknown, out of range, or contradicts another."""


class AudioError(UserError):
    """A sound file can't be read or written as asked."""


class CorpusError(UserError):
    """A folder, manifest or store of recordings can't be used as asked."""


class CheckpointError(UserError):
    """A checkpoint or run folder is missing, damaged or does not fit."""
