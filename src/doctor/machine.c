// The machine: processor, memory, GPU, disk.
#include "doctor/internal.h"

#include "base/cache.h"
#include "base/file.h"
#include "base/proc.h"
#include "base/text.h"
#include "lipsync/lips.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define DISK_SAMPLE_BYTES  (32 << 20)
#define SLOW_DISK_MB_S     20 // a 1080p result is written at about 1 MB/s
#define MEMORY_NEEDED      (1LL << 30)
#define DISK_USUAL_RESERVE 10 // GB, the server's --min-free

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
            return true;
    return false;
}

static void look_at_processor(struct doctor *d)
{
    static const char *const wanted[][2] = {
        {"avx2", "AVX2"},        {"avx512f", "AVX-512"}, {"avx512_vnni", "VNNI"},
        {"avx512_bf16", "BF16"}, {"amx_bf16", "AMX"},
    };
    char model[256], flags[4096], list[128] = "";
    double load = 0;
    proc_value("/proc/cpuinfo", "model name", model, sizeof(model));
    proc_value("/proc/cpuinfo", "flags", flags, sizeof(flags));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        size_t used = strlen(list);
        if (has_word(flags, wanted[i][0]))
            snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", wanted[i][1]);
    }
    getloadavg(&load, 1);
    int cores = kb_cpu_count();
    bool old = !has_word(flags, "avx2"), measured;
    CLEANUP(kb_freep) char *networks = kb_printf("%s/networks", d->data);
    CLEANUP(kb_freep) char *own = cache_folder("networks"); // of commands without a server
    const char *precision = precision_name(lips_auto(networks, true, &measured));
    if (!measured)
        precision = precision_name(lips_auto(own, true, &measured));
    CLEANUP(kb_freep)
    char *why = kb_printf(
        measured ? _("%s (measured here)") : _("%s (by the processor's instructions)"), precision);
    bool busy = load > 2.0 * cores + 1;
    doctor_add(
        d, "processor", _("processor"), old || busy ? FINDING_WARNING : FINDING_OK,
        old    ? _("this processor is old; expect it to be many times slower")
        : busy ? _("the machine has more to do than it can; end other programs, or make fewer "
                   "videos at the same time (koubo serve --workers 1)")
               : NULL,
        _("%s, %d cores for koubo, %s; load %.1f; networks run in %s"),
        model[0] ? model : _("unknown model"), cores, list[0] ? list : _("no AVX2"), load, why);
}

static void look_at_memory(struct doctor *d)
{
    char has[TEXT_SIZE_BYTES], all[TEXT_SIZE_BYTES];
    int64_t free_bytes = proc_bytes("/proc/meminfo", "MemAvailable");
    int64_t all_bytes = proc_bytes("/proc/meminfo", "MemTotal");
    bool low = free_bytes < MEMORY_NEEDED;
    doctor_add(
        d, "memory", _("memory"), low ? FINDING_WARNING : FINDING_OK,
        low ? _("each video that is made takes about 0.5 GB; close other programs, or make one "
                "at a time (koubo serve --workers 1)")
            : NULL,
        _("%s of %s available"), text_size(has, free_bytes), text_size(all, all_bytes));
}

static void look_at_gpu(struct doctor *d)
{
    glob_t found = {0};
    char model[128] = "";
    if (glob("/proc/driver/nvidia/gpus/*/information", 0, NULL, &found) == 0)
        proc_value(found.gl_pathv[0], "Model", model, sizeof(model));
    if (found.gl_pathc > 0)
        doctor_add(d, "gpu", _("GPU"), FINDING_OK, NULL,
                   _("%zu found (%s); this version of koubo computes on the processor"),
                   found.gl_pathc, model);
    else
        doctor_add(d, "gpu", _("GPU"), FINDING_OK, NULL, "%s",
                   _("none found; none is needed, koubo computes on the processor"));
    globfree(&found);
}

// Megabytes a second of writing and syncing, negative on failure (*err).
static double disk_speed(const char *folder, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(folder, ".koubo-doctor-XXXXXX");
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        kb_fail(err, KB_BAD_INPUT, "%s", kb_strerror(errno));
        return -1;
    }
    unlink(path);
    size_t chunk = 1 << 20;
    CLEANUP(kb_freep) char *data = kb_alloc(chunk);
    int64_t begin = kb_now_us();
    bool whole = true;
    for (int i = 0; i < DISK_SAMPLE_BYTES >> 20 && whole; i++)
        whole = write(fd, data, chunk) == (ssize_t)chunk;
    whole = whole && fsync(fd) == 0;
    if (!whole)
        kb_fail(err, KB_NO_SPACE, "%s", kb_strerror(errno));
    close(fd);
    double seconds = (double)(kb_now_us() - begin) / 1e6;
    return whole ? DISK_SAMPLE_BYTES / 1e6 / KB_MAX(seconds, 1e-6) : -1;
}

static void look_at_disk(struct doctor *d)
{
    CLEANUP(kb_freep) char *above = path_folder(d->data);
    const char *folder = file_is_dir(d->data) ? d->data : file_is_dir(above) ? above : "/";
    struct statvfs v;
    if (statvfs(folder, &v) != 0) {
        doctor_add(d, "disk", _("disk"), FINDING_PROBLEM,
                   _("choose another data folder with --data"), _("cannot look at '%s': %s"),
                   folder, kb_strerror(errno));
        return;
    }
    char has[TEXT_SIZE_BYTES], all[TEXT_SIZE_BYTES];
    int64_t free_bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    text_size(has, free_bytes);
    text_size(all, (int64_t)v.f_blocks * (int64_t)v.f_frsize);
    struct kb_error err = {0};
    double speed = disk_speed(folder, &err);
    if (speed < 0) {
        doctor_add(d, "disk", _("disk"), FINDING_PROBLEM,
                   _("free some space or choose another data folder with --data"),
                   _("cannot write in '%s': %s; %s of %s free"), folder, err.text, has, all);
        return;
    }
    bool low = (double)free_bytes < DISK_USUAL_RESERVE * KB_GB, slow = speed < SLOW_DISK_MB_S;
    doctor_add(d, "disk", _("disk"), low || slow ? FINDING_WARNING : FINDING_OK,
               low ? _("new jobs wait while less than --min-free (usually 10 GB) is free; delete "
                       "old results or run koubo clean --keep-days 30")
               : slow ? _("this disk is slow; put the data folder on another one with --data")
                      : NULL,
               _("%s of %s free in '%s', writes %.0f MB/s"), has, all, folder, speed);
}

void doctor_look_at_machine(struct doctor *d)
{
    look_at_processor(d);
    look_at_memory(d);
    look_at_gpu(d);
    look_at_disk(d);
}
