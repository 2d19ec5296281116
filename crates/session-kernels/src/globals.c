// The globals by which debuggers find their way, the same in every kernel. BUILD is its build.
struct _KPRCB *KiProcessorBlock[64] = { &Prcbs[0], &Prcbs[1] };
struct _KUSER_SHARED_DATA *MmSharedUserData = (void *)0xfffff78000000000;
extern u8 __ImageBase[];
extern struct _LIST_ENTRY PsLoadedModuleList;
u16 KernelPath[] = L"\\SystemRoot\\system32\\ntoskrnl.exe";
u16 KernelName[] = L"ntoskrnl.exe";
struct _KLDR_DATA_TABLE_ENTRY KernelEntry = {
    .InLoadOrderLinks = { &PsLoadedModuleList, &PsLoadedModuleList }, .DllBase = __ImageBase,
    .FullDllName = { sizeof KernelPath - 2, sizeof KernelPath, 0, KernelPath },
    .BaseDllName = { sizeof KernelName - 2, sizeof KernelName, 0, KernelName }, .Flags = 0x09104000, .LoadCount = 1
};
struct _LIST_ENTRY PsLoadedModuleList = { &KernelEntry.InLoadOrderLinks, &KernelEntry.InLoadOrderLinks };
struct _LIST_ENTRY PsActiveProcessHead = { &PsActiveProcessHead, &PsActiveProcessHead };
extern u64 KdDebuggerDataBlock[0x70] __attribute__((aligned(4096)));
void *KdpDebuggerDataListHead[2] = { KdDebuggerDataBlock, KdDebuggerDataBlock };
struct { u16 Major, Minor; u32 Protocol; u16 Machine; u8 Rest[6]; void *KernBase, *Modules, **Data; } KdVersionBlock = {
    0xf, BUILD, 0x00010006, 0x8664, { 0 }, __ImageBase, &PsLoadedModuleList, KdpDebuggerDataListHead
};
u64 KdDebuggerDataBlock[0x70] = {
    [0x00 / 8] = (u64)KdpDebuggerDataListHead, [0x08 / 8] = (u64)KdpDebuggerDataListHead,
    [0x10 / 8] = 0x380ull << 32 | 0x4742444b, [0x18 / 8] = (u64)__ImageBase,
    [0x48 / 8] = (u64)&PsLoadedModuleList, [0x50 / 8] = (u64)&PsActiveProcessHead,
    [0x218 / 8] = (u64)KiProcessorBlock,
    [0x298 / 8] = 0x58ull << 32 | 0x28ull << 48, [0x2a0 / 8] = 0xb8, [0x2a8 / 8] = 0x300, [0x2b0 / 8] = 0x800 | 8ull << 32,
    [0x2c0 / 8] = 0x400, [0x330 / 8] = (u64)&EtwpDebuggerData
};
__attribute__((section("POOLCODE"))) void KiSystemStartup(void) { for (;;) __asm__("hlt"); }
int DriverEntry(void) { return 0; }
