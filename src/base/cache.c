#include "base/cache.h"

#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_LIMIT_MB 1024

char *cache_folder(const char *kind)
{
    const char *own = getenv("KOUBO_CACHE"), *shared = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (own && *own)
        return kb_strdup(own);
    if (shared && *shared)
        return kb_printf("%s/koubo/%s", shared, kind);
    return kb_printf("%s/.cache/koubo/%s", home && *home ? home : "/tmp", kind);
}

int64_t cache_limit(void)
{
    const char *text = getenv("KOUBO_CACHE_MB");
    char *end = NULL;
    errno = 0;
    long mb = text && *text ? strtol(text, &end, 10) : DEFAULT_LIMIT_MB;
    if ((end && *end) || errno || mb < 0 || mb > 1 << 30)
        mb = DEFAULT_LIMIT_MB;
    return (int64_t)mb << 20;
}

void cache_touch(const char *path)
{
    utimensat(AT_FDCWD, path, NULL, 0);
}

struct cached {
    char *name;
    int64_t size;
    struct timespec used;
};

static int by_use(const void *a, const void *b)
{
    const struct timespec *x = &((const struct cached *)a)->used;
    const struct timespec *y = &((const struct cached *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

void cache_trim(const char *folder, const char *suffix, int64_t limit)
{
    DIR *d = opendir(folder);
    if (!d)
        return;
    struct cached *files = NULL;
    size_t n = 0, capacity = 0;
    int64_t total = 0;
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (!text_ends(e->d_name, suffix) ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (n == capacity) {
            capacity = KB_MAX(2 * capacity, 64);
            struct cached *grown = realloc(files, capacity * sizeof(*files));
            if (!grown)
                break; // another time
            files = grown;
        }
        files[n++] = (struct cached){kb_strdup(e->d_name), st.st_size, st.st_mtim};
        total += st.st_size;
    }
    if (n > 0)
        qsort(files, n, sizeof(*files), by_use);
    for (size_t i = 0; i < n; i++) {
        if (total > limit && i < n - 1 && unlinkat(dirfd(d), files[i].name, 0) == 0)
            total -= files[i].size;
        free(files[i].name);
    }
    free(files);
    closedir(d);
}
