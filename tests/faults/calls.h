// The layer between koubo, with the libraries it uses, and the machine, for tests that break it.
//
// calls.c has functions by the names of open(), write(), malloc(), sqlite3_step()…: the linker and
// the dynamic linker find those of a program before those of its libraries, so every such call of
// koubo, SQLite, FFmpeg, OpenSSL and libarchive comes by here. They count calls, let the n-th fail
// as the machine would, or tell what has reached the disk. Nobody sleeps: clocks are put on
// instead.
//
// Only files below the watched folder count. Memory is not counted in builds with sanitizers, which
// have an allocator of their own. For one thread; a child of fork() goes on where its parent was.
#ifndef TESTS_FAULTS_CALLS_H
#define TESTS_FAULTS_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CALLS_HAVE_MEMORY false
#else
#define CALLS_HAVE_MEMORY true
#endif

enum fault {
    FAULT_DISK,   // EIO: any use of a file
    FAULT_FULL,   // ENOSPC: what takes space (writing, making, linking, renaming)
    FAULT_SHORT,  // a write or read does half of what it was asked for: no failure at all
    FAULT_KILLED, // the process ends before the call
    FAULT_MEMORY, // no memory
    FAULT_LOCKED, // SQLITE_BUSY from a statement
    FAULT_TABLES, // SQLITE_FULL from a statement, whose transaction SQLite has rolled back
    N_FAULTS
};
const char *fault_name(enum fault f);

// Count calls of that kind from now on and let the n-th (from 1) fail; all from there on if
// lasting. n 0: only count.
void calls_break(enum fault f, long n, bool lasting);
void calls_mend(void);   // nothing fails any more, nothing is counted
long calls_seen(void);   // since calls_break()
long calls_broken(void); // that failed

// Between the two nothing fails and nothing is counted: a look at what has happened so far.
void calls_hold(void);
void calls_go_on(void);

// Files below this folder count. Before anything in it is opened; NULL: none.
void calls_watch(const char *folder);
// A library of others is at work, whose memory koubo does not answer for. Nests.
void calls_pause_memory(void);
void calls_resume_memory(void);

// What was done below the watched folder, told after it succeeded. Paths are absolute.
struct call {
    enum {
        CALL_CREATE, // path, a regular file; replaced nothing
        CALL_MKDIR,
        CALL_WRITE,    // path, offset, data, size; path as it was opened: the file may have moved
                       // since
        CALL_TRUNCATE, // path, size
        CALL_LINK,     // path -> to
        CALL_RENAME,   // path -> to
        CALL_UNLINK,
        CALL_RMDIR,
        CALL_SYNC, // path, of a file or a folder
    } what;
    const char *path, *to;
    int fd; // of write, truncate, sync and create; else -1
    int64_t offset, size;
    const void *data;
};
typedef void call_fn(void *opaque, const struct call *c);
void calls_tell(call_fn *each, void *opaque); // NULL: nobody

#endif
