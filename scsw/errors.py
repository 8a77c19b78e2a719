"""The one exception a user's mistake raises; the command line turns it into one message."""


class ScswError(Exception):
    """A mistake of the user's: bad input, bad config, a file that does not fit.

    Parameters
    ----------
    found
        What was found, as a full clause ("column 'Subclass' is not in obs").
    expected
        What was expected instead.
    fix
        How to mend it.
    """

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        self.found, self.expected, self.fix = found, expected, fix
        parts = [found.rstrip(".") + "."]
        if expected:
            parts.append("Expected: " + expected.rstrip(".") + ".")
        if fix:
            parts.append("To mend it: " + fix.rstrip(".") + ".")
        super().__init__(" ".join(parts))
