"""What programs are forked from: all is imported, and no garbage collector looks at it again."""

import gc

import kmm.program

PROGRAM = kmm.program.__file__
gc.freeze()
