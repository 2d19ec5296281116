// What the kernel itself imports from. It imports nothing and has no dynamic value relocations: an image without sites.
#include "import.h"

volatile u64 KdState;

__declspec(dllexport) __attribute__((noinline)) u64 KdDebuggerInitialize0(u64 options) {
    KdState |= options;
    return KdState;
}

u64 DriverEntry(u64 driver, u64 path) { return KdDebuggerInitialize0(driver + path); }
