"""MissingLibrary: an error that says what to install."""

from __future__ import annotations


class MissingLibrary(ImportError):
    """The library that an integration needs is not installed.

    Parameters
    ----------
    wanted
        The name that was requested.
    library
        The library that it needs.
    extra
        The extra of this package that installs it.

    Examples
    --------
    >>> print(MissingLibrary("CollapseCallback", "Lightning", "lightning"))
    CollapseCallback needs Lightning: pip install 'neuralcollapse[lightning]'
    """

    def __init__(self, wanted: str, library: str, extra: str) -> None:
        super().__init__(f"{wanted} needs {library}: pip install 'neuralcollapse[{extra}]'")
