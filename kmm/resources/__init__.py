"""The Pulumi resources. With `kmm.program` and `kmm.settings` the only modules that know Pulumi.

The state names the providers by module and class: neither is ever renamed or moved, or a stack could not be destroyed.
"""
