#include "worker/limits.h"

#include "store/names.h"
#include "worker/sandbox.h"

#include "base/file.h"
#include "base/log.h"
#include "base/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define CPU_S_EVERY_JOB 600
#define CPU_S_A_SECOND  60
#define MALLOC_ARENAS   8 // each takes 64 MiB of address space, and one a thread would be many

static void set_limit(int resource, int64_t bytes)
{
    if (bytes <= 0)
        return;
    struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
    setrlimit((__rlimit_resource_t)resource, &limit);
}

// work/<id>, without what an earlier process of this name left there, becomes $TMPDIR.
static enum kb_code take_work_folder(const struct worker_params *p, struct kb_error *err)
{
    CLEANUP(kb_freep) char *work = path_join(p->data, "work");
    CLEANUP(kb_freep) char *own = path_join(work, p->id);
    enum kb_code code = file_make_dirs(own, err);
    DIR *d = code == KB_OK ? opendir(own) : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_type == DT_REG && file_name_parse(NULL, "work", e->d_name))
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    setenv("TMPDIR", own, 1);
    return code;
}

// When memory runs out, the kernel is to end a worker, whose job is tried again, and not the
// server.
static void offer_to_be_ended(void)
{
    static const char more[] = "500";
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, more, sizeof(more) - 1) < 0)
        log_debug("oom_score_adj: %s", kb_strerror(errno));
    if (fd >= 0)
        close(fd);
}

enum kb_code limits_enter(const struct worker_params *p, struct kb_error *err)
{
    char missing[200] = "";
    enum kb_code code = take_work_folder(p, err);
    if (code != KB_OK)
        return code;
    offer_to_be_ended();
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    set_limit(RLIMIT_AS, p->memory_bytes);
    set_limit(RLIMIT_FSIZE, p->output_bytes);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    code = p->unconfined ? KB_OK : sandbox_enter(p->data, missing, err);
    log_debug("address space %lld MB, files %lld MB, %s", (long long)(p->memory_bytes >> 20),
              (long long)(p->output_bytes >> 20), p->unconfined ? "no cage" : "caged");
    if (missing[0])
        log_warn(_("this kernel lacks %s; the worker is confined without it"), missing);
    return code;
}

// The soft limit is moved along, so that it counts for each job; SIGXCPU then ends the process.
void limits_processor_time(const struct worker_params *p, int64_t output_us)
{
    struct rusage used;
    struct rlimit limit;
    if (getrusage(RUSAGE_SELF, &used) != 0 || getrlimit(RLIMIT_CPU, &limit) != 0)
        return;
    int factor = p->cpu_factor > 0 ? p->cpu_factor : CPU_S_A_SECOND;
    limit.rlim_cur = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + CPU_S_EVERY_JOB +
                     (rlim_t)(output_us / 1000000) * (rlim_t)factor;
    setrlimit(RLIMIT_CPU, &limit);
}

bool limits_memory_was_short(const struct worker_params *p)
{
    return p->memory_bytes > 0 &&
           proc_bytes("/proc/self/status", "VmPeak") >= p->memory_bytes / 4 * 3;
}
