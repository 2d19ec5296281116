// From Windows 10 2004 on hal.dll is a stub: every export is forwarded to the kernel (see the linker options).
#include "import.h"

u64 HalInitSystem(u64 phase) { return phase; }
