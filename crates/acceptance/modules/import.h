// Import sites as the Microsoft linker writes them for import optimization, by hand: clang knows how from LLVM 21 on.
//
// A call through the import table is 12 bytes, `48 FF 15 disp32` and a five-byte nop; a tail jump is `48 FF 25 disp32`
// and five int3. Each site's RVA goes into the section .sites, from which xtask writes the dynamic value relocation
// table after linking: a record needs the page offset and the IAT index, which no COFF relocation can express.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Calls an imported function of up to four integer arguments and yields its result.
#define IMPORT_CALL(name, a, b, c, d)                                                                                  \
    ({                                                                                                                 \
        register u64 arg_a __asm__("rcx") = (u64)(a);                                                                  \
        register u64 arg_b __asm__("rdx") = (u64)(b);                                                                  \
        register u64 arg_c __asm__("r8") = (u64)(c);                                                                   \
        register u64 arg_d __asm__("r9") = (u64)(d);                                                                   \
        u64 result;                                                                                                    \
        __asm__ volatile("subq $32, %%rsp\n"                                                                           \
                         "1: .byte 0x48, 0xff, 0x15\n"                                                                 \
                         ".long __imp_" #name " - . - 4\n"                                                             \
                         ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"                                                        \
                         "addq $32, %%rsp\n"                                                                           \
                         ".section .sites,\"dr\"\n"                                                                    \
                         ".long 1b@IMGREL\n"                                                                                 \
                         ".text\n"                                                                                     \
                         : "=a"(result), "+r"(arg_a), "+r"(arg_b), "+r"(arg_c), "+r"(arg_d)                            \
                         :                                                                                             \
                         : "r10", "r11", "memory", "cc");                                                              \
        result;                                                                                                        \
    })

// A function that is nothing but a jump to an imported one.
#define IMPORT_THUNK(thunk, name)                                                                                      \
    __attribute__((naked, noinline)) void thunk(void) {                                                                \
        __asm__ volatile("1: .byte 0x48, 0xff, 0x25\n"                                                                 \
                         ".long __imp_" #name " - . - 4\n"                                                             \
                         ".byte 0xcc, 0xcc, 0xcc, 0xcc, 0xcc\n"                                                        \
                         ".section .sites,\"dr\"\n"                                                                    \
                         ".long 1b@IMGREL\n"                                                                                 \
                         ".text\n");                                                                                   \
    }

// The load configuration: 64-bit fields up to and with DynamicValueRelocTableSection. The table lies in .dvrt, which
// xtask fills; 0x100000 is IMAGE_GUARD_RETPOLINE_PRESENT, as every Microsoft kernel image with such a table has it.
#define LOAD_CONFIG                                                                                                    \
    __asm__(".section .rdata,\"dr\"\n"                                                                                 \
            ".balign 8\n"                                                                                              \
            ".globl _load_config_used\n"                                                                               \
            "_load_config_used:\n"                                                                                     \
            ".long 0x108\n"                                                                                            \
            ".zero 0x8c\n"                                                                                             \
            ".long 0x100000\n"                                                                                         \
            ".zero 0x4c\n"                                                                                             \
            ".secrel32 dvrt\n"                                                                                         \
            ".secidx dvrt\n"                                                                                           \
            ".zero 0x22\n"                                                                                             \
            ".section .dvrt,\"dr\"\n"                                                                                  \
            ".globl dvrt\n"                                                                                            \
            "dvrt: .zero 0x400\n"                                                                                      \
            ".text\n");
