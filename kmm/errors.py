"""Errors a user can cause or meet. Their text is all that is shown: what is wrong, where, and what to do.

KmmError
├── DefinitionError   Module files; carries every problem found (`kmm.problems`)
├── SettingsError     stack configuration and command-line options
├── ClusterError      the Kubernetes API could not be read or written, or is another cluster
├── RegistryError     an image registry gave no usable answer
└── PlanError         the input is well-formed but cannot be planned
"""


class KmmError(Exception):
    """Base of all expected errors; shown as plain text, never with a traceback."""


class SettingsError(KmmError):
    """A stack setting or option is missing or wrong."""


class ClusterError(KmmError):
    """The Kubernetes API could not be read or written."""


class RegistryError(KmmError):
    """An image registry gave no usable answer; never means that an image is absent."""


class PlanError(KmmError):
    """Valid input that cannot be planned."""
