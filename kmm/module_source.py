"""Where Modules are defined. Apart from what reads them: the command line's help needs only this."""

from enum import StrEnum


class Source(StrEnum):
    """Module files, the `Module` objects of the cluster, or both."""

    FILES = "files"
    CLUSTER = "cluster"
    BOTH = "both"
