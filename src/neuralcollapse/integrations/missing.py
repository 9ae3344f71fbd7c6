"""MissingLibrary: what to install."""

from __future__ import annotations


class MissingLibrary(ImportError):
    """An integration was asked for whose library is not installed.

    Parameters
    ----------
    wanted
        The name asked for.
    library
        The library it belongs to.
    extra
        The extra of this package that brings it.

    Examples
    --------
    >>> print(MissingLibrary("CollapseCallback", "Lightning", "lightning"))
    CollapseCallback needs Lightning: pip install 'neuralcollapse[lightning]'
    """

    def __init__(self, wanted: str, library: str, extra: str) -> None:
        super().__init__(f"{wanted} needs {library}: pip install 'neuralcollapse[{extra}]'")
