/* interrupt.exe DIRECTORY PROGRAM ARGUMENT...
   Starts the program, waits until a file whose name ends in .partial lies in the directory and has a byte, and sends Ctrl-C
   to everybody at the console. Exit code: 0 the program ended as one that Ctrl-C has ended, 1 it ended before, 2 none of it.
   Words must not hold quotes. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

#define ENDED_BY_CTRL_C 0xc000013a

/* This program is at the console too, and stays. */
static BOOL WINAPI stay(DWORD event)
{
    (void)event;
    return TRUE;
}

static BOOL is_being_written(const char *directory)
{
    char pattern[MAX_PATH];
    WIN32_FIND_DATAA found;
    BOOL written = FALSE;
    snprintf(pattern, sizeof pattern, "%s\\*.partial", directory);
    HANDLE search = FindFirstFileA(pattern, &found);
    if (search == INVALID_HANDLE_VALUE)
        return FALSE;
    do
        written |= found.nFileSizeLow || found.nFileSizeHigh;
    while (FindNextFileA(search, &found));
    FindClose(search);
    return written;
}

int main(int argc, char **argv)
{
    char line[8192] = "";
    STARTUPINFOA start;
    PROCESS_INFORMATION child;
    DWORD code;
    memset(&start, 0, sizeof start);
    start.cb = sizeof start;
    for (int i = 2; i < argc; i++) {
        if (strlen(line) + strlen(argv[i]) + 4 > sizeof line)
            return 2;
        strcat(line, i > 2 ? " \"" : "\"");
        strcat(line, argv[i]);
        strcat(line, "\"");
    }
    SetConsoleCtrlHandler(stay, TRUE);
    if (argc < 3 || !CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &child))
        return 2;
    while (!is_being_written(argv[1]))
        if (WaitForSingleObject(child.hProcess, 0) == WAIT_OBJECT_0)
            return 1;
    if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0) || WaitForSingleObject(child.hProcess, 60000) != WAIT_OBJECT_0)
        return 2;
    GetExitCodeProcess(child.hProcess, &code);
    return code == ENDED_BY_CTRL_C ? 0 : code == 0 ? 1 : 2;
}
