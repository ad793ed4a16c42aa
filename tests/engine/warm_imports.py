"""What programs and dynamic providers are forked from: all is imported, and no garbage collector looks at it again."""

import gc

import kmm.program
import tests.engine.warm_stack  # noqa: F401

PROGRAM = kmm.program.__file__
gc.freeze()
