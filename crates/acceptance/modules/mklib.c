// An export driver: other drivers import from it, one function by ordinal alone.
#include "import.h"

LOAD_CONFIG

__declspec(dllexport) __attribute__((noinline)) u64 LibAdd(u64 a, u64 b) { return a + b; }
__attribute__((noinline)) u64 LibByOrdinal(u64 a, u64 b) { return a * b; }

u64 DriverEntry(u64 driver, u64 path) { return IMPORT_CALL(ExAllocatePoolWithTag, driver, path, 0x62696c6b, 0); }
