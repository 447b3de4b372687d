// Files below a folder, reached so that no link leads out of it. Thread-safe.
//
// folder is trusted (the owner chose it; it may be a link). path lies below it, parts parted by
// single slashes; each part is opened as itself: a link anywhere (in the middle or at the end,
// links of /proc too), "..", ".", an empty part or a leading slash is refused, whoever made it and
// whenever. A database that lies about a name, or a program that put a link where a file was, so
// reaches nothing outside.
//
// All return -1, NULL or false with errno: ELOOP a link, EXDEV a path that leads elsewhere, EINVAL
// not a regular file (a folder, FIFO, socket, device), EPERM a file of another user, else as the
// call says. beneath_reason() words them.
#ifndef BASE_BENEATH_H
#define BASE_BENEATH_H

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>

// A regular file that belongs to this user, to root, or to the owner of folder or of the folder
// that holds it; one that this call makes is taken whoever the file system says it belongs to (an
// export of NFS that makes root's files nobody's). flags are open()'s, without waiting for a FIFO's
// other end; O_CREAT makes it with mode, O_TRUNC empties it only when it is what it should be. What
// is made and then fails does not stay. The descriptor is closed on exec.
int beneath_open(const char *folder, const char *path, int flags, mode_t mode);

// A folder to be read; path "" is folder itself. closedir().
DIR *beneath_list(const char *folder, const char *path);

// What lies there, as lstat() says: the link, not what it leads to.
bool beneath_stat(const char *folder, const char *path, struct stat *ret);
// The size of a regular file, -1 if none is there.
long long beneath_size(const char *folder, const char *path);

// A file goes (of a link, the link); an empty folder goes.
bool beneath_unlink(const char *folder, const char *path);
bool beneath_rmdir(const char *folder, const char *path);

// Both below folder. link() makes a second name of a regular file, where there is none yet.
bool beneath_rename(const char *folder, const char *from, const char *to);
bool beneath_link(const char *folder, const char *from, const char *to);

// The folder path and its parents below folder, which must be there. One that exists is fine.
bool beneath_make_dirs(const char *folder, const char *path, mode_t mode);

// What was renamed, made or removed in the folder path ("" = folder itself) survives a power cut.
// True as well where the file system syncs no folders (EINVAL, ENOTSUP: vboxsf, older CIFS): there
// is nothing to be done about it then, and what was done stands.
bool beneath_sync(const char *folder, const char *path);

// Of an errno of beneath_open(): no file is there that could be opened ever, but nothing, or what
// is none. Else one may be there and cannot be read now (permissions, a disk that fails, no
// memory).
bool beneath_is_gone(int number);

// Why one of the above failed, in the language of this thread.
const char *beneath_reason(int number);

#endif
