// Structures that are alike in every kernel, with the names under which debuggers look for them.
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef int i32; typedef long long i64;
#pragma pack(push, 1)
struct _LIST_ENTRY { struct _LIST_ENTRY *Flink, *Blink; };
struct _UNICODE_STRING { u16 Length, MaximumLength; u32 Padding; u16 *Buffer; };
struct _GUID { u32 Data1; u16 Data2, Data3; u8 Data4[8]; };
struct _ETW_REF_CLOCK { i64 StartTime, StartPerfClock; };
struct _ETW_BUFFER_CONTEXT { u16 ProcessorIndex, LoggerId; };
struct _ETW_COUNTERS { i32 GuidCount, PoolUsage[2], SessionCount; };
struct _ETW_IPT_SUPPORT { u64 Unused; u64 Options; u64 Unused2; u32 HookIdCount; u16 HookId[4]; };
struct _EVENT_DESCRIPTOR { u16 Id; u8 Version, Channel, Level, Opcode; u16 Task; u64 Keyword; };
struct _EVENT_HEADER {
    u16 Size; union { u16 HeaderType; struct { u8 Type, MarkerFlags; }; }; u16 Flags, EventProperty;
    u32 ThreadId, ProcessId; i64 TimeStamp; struct _GUID ProviderId; struct _EVENT_DESCRIPTOR EventDescriptor;
    u64 ProcessorTime; struct _GUID ActivityId;
};
enum _ETW_BUFFER_STATE {
    EtwBufferStateFree, EtwBufferStateGeneralLogging, EtwBufferStateCSwitch, EtwBufferStateFlush,
    EtwBufferStatePendingCompression, EtwBufferStateCompressed, EtwBufferStatePlaceholder, EtwBufferStateMaximum
};
struct _WMI_BUFFER_HEADER {
    u32 BufferSize, SavedOffset; union { volatile u32 CurrentOffset; }; volatile i32 ReferenceCount;
    i64 TimeStamp, SequenceNumber; union { void *SlistEntry; void *NextBuffer; };
    struct _ETW_BUFFER_CONTEXT ClientContext; enum _ETW_BUFFER_STATE State; u32 Offset; u16 BufferFlag, BufferType;
    union { struct _LIST_ENTRY GlobalEntry; struct _ETW_REF_CLOCK ReferenceTime; };
};
_Static_assert(sizeof(struct _WMI_BUFFER_HEADER) == 0x48, "");
_Static_assert(sizeof(struct _EVENT_HEADER) == 80, "");
struct _KUSER_SHARED_DATA {
    u8 Fill0[0x14]; u8 SystemTime[12]; u8 TimeZoneBias[12]; u8 Fill1[0x234]; u32 NtBuildNumber, NtProductType;
    u8 Fill2[4]; u32 NtMajorVersion, NtMinorVersion; u8 Fill3[0x8c]; u64 QpcFrequency; u8 Fill4[0xb8];
    u32 ActiveProcessorCount;
};
_Static_assert(__builtin_offsetof(struct _KUSER_SHARED_DATA, NtBuildNumber) == 0x260, "");
_Static_assert(__builtin_offsetof(struct _KUSER_SHARED_DATA, QpcFrequency) == 0x300, "");
_Static_assert(__builtin_offsetof(struct _KUSER_SHARED_DATA, ActiveProcessorCount) == 0x3c0, "");
struct _KLDR_DATA_TABLE_ENTRY {
    struct _LIST_ENTRY InLoadOrderLinks; void *Fill0[4]; void *DllBase, *EntryPoint; u32 SizeOfImage, Fill1;
    struct _UNICODE_STRING FullDllName, BaseDllName; u32 Flags; u16 LoadCount, Fill2; void *Fill3; u32 CheckSum;
    u8 Fill4[0x20]; u32 TimeDateStamp;
};
_Static_assert(__builtin_offsetof(struct _KLDR_DATA_TABLE_ENTRY, CheckSum) == 0x78, "");
_Static_assert(__builtin_offsetof(struct _KLDR_DATA_TABLE_ENTRY, TimeDateStamp) == 0x9c, "");
struct Node { u32 PoolHeader, PoolTag; u64 PoolRest; struct _LIST_ENTRY Links; struct _WMI_BUFFER_HEADER *Buffer; };
