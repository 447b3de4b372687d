#include "store/lock.h"

#include "base/beneath.h"
#include "store/names.h"
#include "store/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static enum kb_code is_taken(int fd, const char *folder, struct kb_error *err)
{
    char content[300] = "";
    ssize_t n = pread(fd, content, sizeof(content) - 1, 0);
    content[KB_MAX(n, 0)] = '\0';
    long pid = strtol(content, NULL, 10);
    const char *address = strchr(content, '\n');
    int length = address ? (int)strcspn(address + 1, "\n") : 0;
    if (length == 0)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("another koubo (process %ld) is at work on the data folder '%s'; wait "
                         "until it is ready, or choose another folder with --data"),
                       pid, folder);
    return kb_fail(err, KB_UNAVAILABLE,
                   _("a koubo server (process %ld) already uses the data folder '%s'; its page is "
                     "%.*s. Stop it first, or choose another folder with --data"),
                   pid, folder, length, address + 1);
}

enum kb_code folder_lock(int *ret_fd, const char *folder, struct kb_error *err)
{
    int fd = beneath_open(folder, LOCK_NAME, O_RDWR | O_CREAT, 0644);
    if (fd < 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("cannot write into the data folder '%s': %s; choose another with --data"),
                       folder, beneath_reason(errno));
    enum kb_code code = flock(fd, LOCK_EX | LOCK_NB) == 0 ? KB_OK : is_taken(fd, folder, err);
    if (code == KB_OK)
        code = replace_finish(folder, err);
    if (code == KB_OK)
        *ret_fd = fd;
    else
        close(fd);
    return code;
}

bool folder_lock_tell(int fd, const char *address)
{
    CLEANUP(kb_freep)
    char *content =
        kb_printf("%ld\n%s%s", (long)getpid(), address ? address : "", address ? "\n" : "");
    return ftruncate(fd, 0) == 0 &&
           pwrite(fd, content, strlen(content), 0) == (ssize_t)strlen(content);
}

void folder_unlock(int fd)
{
    if (fd < 0)
        return;
    if (ftruncate(fd, 0) != 0)
        errno = 0; // what it says is of no harm: nobody holds it
    close(fd);
}
