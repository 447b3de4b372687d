#include "base/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define MOST (1 << 20)

int descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024; // every system's least default
    rlim_t most = limit.rlim_max < MOST ? limit.rlim_max : MOST;
    if (limit.rlim_cur < most) {
        struct rlimit raised = {most, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    return limit.rlim_cur < MOST ? (int)limit.rlim_cur : MOST;
}

bool descriptors_used_up(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd < 0 && (errno == EMFILE || errno == ENFILE);
}
