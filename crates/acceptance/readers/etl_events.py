"""Reads traces with fox-it's dissect.etl: FILE... For each file its events in file order, and how it ended."""
import struct
import sys
from importlib.metadata import version

import dissect.etl.etl as etl
from dissect.util.compression import lznt1, lzxpress, lzxpress_huffman

# It takes every stream for XPRESS. The format is in the first buffer's header, and its own library has all three.
DECODERS = {2: lznt1.decompress, 3: lzxpress.decompress, 4: lzxpress_huffman.decompress}

print("version", version("dissect.etl"))
for path in sys.argv[1:]:
    print("file", path)
    try:
        with open(path, "rb") as file:
            (state,) = struct.unpack("<I", file.read(0x30)[0x2C:])
            etl.xpress_decompress = DECODERS.get(state & 0xFFFF, lzxpress.decompress)
            for buffer in etl.ETL(file).buffers():
                for record in buffer:
                    tick = record.header.time_delta
                    print("event", record.size, "-" if tick is None else tick)
        print("end")
    except Exception as error:
        print("failed", type(error).__name__, " ".join(str(error).split()))
