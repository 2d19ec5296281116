// A stand-in kernel: a few exports under the names that drivers import, each doing something that can be seen.
#include "import.h"

LOAD_CONFIG

#define EXPORT __declspec(dllexport) __attribute__((noinline))

volatile u64 KiTicks;
volatile u64 KiLastStatus;

// Absolute addresses in data: the pointers must come out relocated to the load base.
EXPORT u64 KeQueryPerformanceCounter(u64 *frequency);
EXPORT u64 NtCreateFile(u64 handle, u64 access, u64 attributes, u64 status);
void *const KiServiceTable[] = {(void *)KeQueryPerformanceCounter, (void *)NtCreateFile};

u64 KeQueryPerformanceCounter(u64 *frequency) {
    if (frequency) *frequency = 10000000;
    return ++KiTicks;
}

EXPORT u64 KeStallExecutionProcessor(u64 microseconds) {
    u64 end = KiTicks + microseconds;
    while (KiTicks < end) KiTicks++;
    return KiTicks;
}

__attribute__((noinline)) static u64 IopCreateFile(u64 handle, u64 access) {
    KiLastStatus = handle ^ (access << 7);
    return KiLastStatus;
}

u64 NtCreateFile(u64 handle, u64 access, u64 attributes, u64 status) {
    u64 first = IopCreateFile(handle, access);
    return first + IopCreateFile(attributes, status);
}

EXPORT u64 ExAllocatePoolWithTag(u64 type, u64 size, u64 tag) { return (type << 60) | (size << 32) | tag; }
EXPORT void ExFreePoolWithTag(u64 address, u64 tag) { KiLastStatus = address ^ tag; }
EXPORT u64 IoCreateDevice(u64 driver, u64 size, u64 name, u64 type) { return driver + size + name + type; }
EXPORT void IofCompleteRequest(u64 irp, u64 boost) { KiLastStatus = irp + boost; }
EXPORT void KeBugCheckEx(u64 code, u64 a, u64 b, u64 c) {
    KiLastStatus = code + a + b + c;
    for (;;) KiTicks++;
}

// The kernel's own imports are optimized too.
__attribute__((noinline)) u64 KiInitializeDebugger(u64 options) { return IMPORT_CALL(KdDebuggerInitialize0, options, 0, 0, 0); }

u64 KiSystemStartup(u64 block) { return KiInitializeDebugger(block) + NtCreateFile(block, 1, 2, 3); }
