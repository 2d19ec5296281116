// A driver that the trace puts more than 2 GiB away: its sites cannot be direct and must stay as linked.
#include "import.h"

LOAD_CONFIG

__attribute__((noinline)) u64 CallFar(u64 handle) { return IMPORT_CALL(NtCreateFile, handle, 2, 3, 4) + 1; }

u64 DriverEntry(u64 driver, u64 path) { return CallFar(driver) + path; }
