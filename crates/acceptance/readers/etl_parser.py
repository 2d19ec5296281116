"""Reads traces with airbus-cert's etl-parser: FILE... For each file its events in file order, and how it ended."""
import sys
from importlib.metadata import version

from etl.etl import ChunkParser, EtlLogFile, build_from_stream


def of(kind, value):
    """Size and timestamp of an event."""
    if kind == "SystemTraceRecord":
        return value.system_header.header.size, value.system_header.system_time
    if kind == "PerfInfoTraceRecord":
        return value.header.size, value.timestamp
    if kind == "WinTraceRecord":
        return value.event_header.size, None
    return value.event_header.marker.version, value.event_header.timestamp


print("version", version("etl-parser"))
for path in sys.argv[1:]:
    print("file", path)
    try:
        with open(path, "rb") as file:
            data = file.read()
        build_from_stream(data)
        chunks = EtlLogFile.parse(data)
        taken = sum(chunk.header.wnode.buffer_size for chunk in chunks)
        for chunk in chunks:
            for record in ChunkParser.parse(chunk.payload):
                size, tick = of(record.type, record.value)
                print("event", size, "-" if tick is None else tick)
        if taken != len(data):
            raise ValueError(f"it took {taken} bytes of {len(data)}")
        print("end")
    except Exception as error:
        print("failed", type(error).__name__, " ".join(str(error).split())[:200])
