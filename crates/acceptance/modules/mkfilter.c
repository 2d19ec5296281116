// A driver with one import site of every kind: calls and a jump, to the kernel, through a forwarder of hal.dll, to
// another driver, by ordinal, and across a page boundary.
#include "import.h"

LOAD_CONFIG

volatile u64 FilterCount;

__attribute__((noinline)) u64 CallKernel(u64 handle) { return IMPORT_CALL(NtCreateFile, handle, 2, 3, 4) + 1; }
__attribute__((noinline)) u64 CallHal(void) { return IMPORT_CALL(KeQueryPerformanceCounter, 0, 0, 0, 0) + 1; }
__attribute__((noinline)) u64 CallDriver(u64 value) { return IMPORT_CALL(LibAdd, value, 5, 0, 0) + 1; }
__attribute__((noinline)) u64 CallOrdinal(u64 value) { return IMPORT_CALL(LibByOrdinal, value, 6, 0, 0) + 1; }
IMPORT_THUNK(JumpKernel, IofCompleteRequest)

// The site begins five bytes before a page ends.
__attribute__((naked, noinline, aligned(4096))) u64 CallAcrossPage(void) {
    __asm__ volatile("jmp 1f\n"
                     ".skip 4096 - 5 - 5 - 4, 0xcc\n"
                     "1: subq $40, %rsp\n"
                     "2: .byte 0x48, 0xff, 0x15\n"
                     ".long __imp_ExAllocatePoolWithTag - . - 4\n"
                     ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"
                     "addq $40, %rsp\n"
                     "ret\n"
                     ".section .sites,\"dr\"\n"
                     ".long 2b@IMGREL\n"
                     ".text\n");
}

// An absolute address in code: the operand of this movabs is a base relocation.
__attribute__((naked, noinline)) u64 LoadAbsolute(void) { __asm__ volatile("movabsq $FilterCount, %rax\n"
                                                                        "ret\n"); }

u64 DriverEntry(u64 driver, u64 path) {
    FilterCount = CallKernel(driver) + CallHal() + CallDriver(path) + CallOrdinal(path) + CallAcrossPage();
    JumpKernel();
    return LoadAbsolute();
}
