"""Reads a dump with skelsec's `minidump`: DUMP ADDRESS:LENGTH..."""
import logging
import sys
from importlib.metadata import version

from minidump.minidumpfile import MinidumpFile

# It looks for a PEB, which a dump of no process has not, and logs that it found none.
logging.disable(logging.CRITICAL)
dump = MinidumpFile.parse(sys.argv[1])
print("version", version("minidump"))
for module in dump.modules.modules:
    print("module", hex(module.baseaddress), hex(module.size), module.name)
reader = dump.get_reader()
for probe in sys.argv[2:]:
    address, length = probe.split(":")
    print("bytes", address, reader.read(int(address, 16), int(length)).hex())
