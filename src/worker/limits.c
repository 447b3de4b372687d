#include "worker/limits.h"

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
#include <sys/stat.h>
#include <unistd.h>

#define CPU_S_EVERY_JOB 600
#define CPU_S_A_SECOND  60
#define MODELS_DEPTH    3
#define MALLOC_ARENAS   8 // each takes 64 MiB of address space, and one a thread would be many

static void set_limit(int resource, int64_t bytes)
{
    if (bytes <= 0)
        return;
    struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
    setrlimit((__rlimit_resource_t)resource, &limit);
}

char *work_folder(const struct worker_params *p)
{
    CLEANUP(kb_freep) char *all = path_join(p->data, "work");
    return path_join(all, p->id);
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

// Landlock's rules follow no link that lies in a folder: of a shipped or a user's model that is
// one, the file itself is to be read.
static void add_models(struct sandbox_paths *reads, const char *folder, int depth)
{
    sandbox_add(reads, folder);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        CLEANUP(kb_freep) char *path = path_join(folder, e->d_name);
        struct stat st; // d_type is DT_UNKNOWN on some file systems
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISLNK(st.st_mode))
            sandbox_add(reads, path);
        else if (S_ISDIR(st.st_mode) && depth < MODELS_DEPTH)
            add_models(reads, path, depth + 1);
    }
    if (d)
        closedir(d);
}

// What a worker reads beside its own folder and the libraries: what users gave, and what the server
// lets it have of the caches. Nothing else of the data folder: not the database, not the results,
// not what other workers are at.
static enum kb_code enter_cage(const struct worker_params *p, const char *own,
                               char ret_missing[200], struct kb_error *err)
{
    static const char *const folders[] = {"files", "tracks", "networks"};
    struct sandbox_paths reads = {0};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        CLEANUP(kb_freep) char *path = path_join(p->data, folders[i]);
        sandbox_add(&reads, path);
    }
    for (int i = 0; i < MODEL_FOLDERS; i++) {
        CLEANUP(kb_freep) char *path = model_folder(i);
        if (path)
            add_models(&reads, path, 0);
    }
    enum kb_code code = sandbox_enter(own, &reads, ret_missing, err);
    sandbox_paths_free(&reads);
    return code;
}

enum kb_code limits_enter(const struct worker_params *p, struct kb_error *err)
{
    char missing[200] = "";
    CLEANUP(kb_freep) char *own = work_folder(p);
    setenv("TMPDIR", own, 1);
    offer_to_be_ended();
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    set_limit(RLIMIT_AS, p->memory_bytes);
    set_limit(RLIMIT_FSIZE, p->output_bytes);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    enum kb_code code = p->unconfined ? KB_OK : enter_cage(p, own, missing, err);
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
