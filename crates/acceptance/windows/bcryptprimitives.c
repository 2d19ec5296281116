/* The one function of bcryptprimitives.dll that the Rust standard library needs, for a Wine that does not have the DLL. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG size);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T size)
{
    return size <= 0xffffffff && SystemFunction036(buffer, (ULONG)size);
}
