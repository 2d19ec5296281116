"""Reads a dump with udmp-parser: DUMP ADDRESS:LENGTH..."""
import sys
from importlib.metadata import version

import udmp_parser

dump = udmp_parser.UserDumpParser()
if not dump.Parse(sys.argv[1]):
    sys.exit("udmp-parser: Parse failed")
print("version", version("udmp-parser"))
for module in dump.Modules().values():
    print("module", hex(module.BaseOfImage), hex(module.SizeOfImage), module.ModuleName)
    record = bytes(module.CvRecord)
    if record[:4] == b"RSDS":
        print("codeview", hex(module.BaseOfImage), record.hex())
for probe in sys.argv[2:]:
    address, length = probe.split(":")
    print("bytes", address, bytes(dump.ReadMemory(int(address, 16), int(length))).hex())
