"""One file per command of `python -m kmm`; `kmm.__main__` registers them.

A command imports what is heavy inside its function, so that help and usage errors come at once.
It reports expected failures by raising KmmError, which `kmm.__main__.main` shows.
"""
