"""Reads a dump with cle, angr's loader: DUMP ADDRESS:LENGTH..."""
import logging
import sys
from importlib.metadata import version

import cle

# It looks for a PEB, which a dump of no process has not, and logs that it found none.
logging.disable(logging.CRITICAL)
loader = cle.Loader(sys.argv[1])
print("version", version("cle"))
for section in loader.main_object.sections:
    print("module", hex(section.vaddr), hex(section.memsize), section.name)
for probe in sys.argv[2:]:
    address, length = probe.split(":")
    print("bytes", address, loader.memory.load(int(address, 16), int(length)).hex())
