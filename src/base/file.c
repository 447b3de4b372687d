#include "base/file.h"

#include "base/text.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#define COPY_BYTES (1 << 20)

enum kb_code file_map(struct file_map *ret, const char *path, struct kb_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kb_fail(err, errno == ENOENT ? KB_NOT_FOUND : KB_BAD_INPUT,
                       _("cannot open '%s': %s"), path, kb_strerror(errno));
    enum kb_code code = file_map_open(ret, fd, path, err);
    close(fd);
    return code;
}

enum kb_code file_map_open(struct file_map *ret, int fd, const char *path, struct kb_error *err)
{
    struct stat st;
    enum kb_code code = KB_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        code = kb_fail(err, KB_BAD_INPUT, _("'%s' is not a regular file"), path);
    } else if (st.st_size == 0) {
        code = kb_fail(err, KB_BAD_INPUT, _("'%s' is empty (0 bytes)"), path);
    } else {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            code = kb_fail(err, KB_NO_SPACE, _("cannot map '%s': %s"), path, kb_strerror(errno));
        } else {
            ret->data = p;
            ret->size = (size_t)st.st_size;
        }
    }
    return code;
}

void file_unmap(struct file_map *m)
{
    if (m->data)
        munmap((void *)m->data, m->size);
    *m = (struct file_map){0};
}

enum kb_code file_hash(char ret_hex[33], const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map m = {0};
    enum kb_code code = file_map(&m, path, err);
    if (code != KB_OK)
        return code;
    XXH128_hash_t h = XXH3_128bits(m.data, m.size);
    snprintf(ret_hex, 33, "%016llx%016llx", (unsigned long long)h.high64,
             (unsigned long long)h.low64);
    return KB_OK;
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

char *file_part_path(const char *path, int writer)
{
    char number[16] = "";
    if (writer)
        snprintf(number, sizeof(number), ".%d", writer);
    const char *name = path_name(path);
    if (strlen(name) + strlen(number) + strlen(".part") <= NAME_MAX)
        return kb_printf("%s%s.part", path, number);
    return kb_printf("%.*s.koubo-%016llx%s.part", (int)(name - path), path,
                     (unsigned long long)XXH3_64bits(name, strlen(name)), number);
}

static enum kb_code cannot_write(const char *path, int number, struct kb_error *err)
{
    return kb_fail(err, number == ENOSPC || number == EDQUOT ? KB_NO_SPACE : KB_BAD_INPUT,
                   _("cannot write '%s': %s; check the disk and the permissions of its folder"),
                   path, kb_strerror(number));
}

static void sync_folder_of(const char *path)
{
    CLEANUP(kb_freep) char *folder = path_folder(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

static enum kb_code write_and_rename(const char *path, const void *data, size_t size, bool sync,
                                     struct kb_error *err)
{
    // The process number keeps two writers of the same file apart.
    CLEANUP(kb_freep) char *part = file_part_path(path, (int)getpid());
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return cannot_write(path, errno, err);
    bool ok = write_all(fd, data, size) && (!sync || fsync(fd) == 0);
    int saved = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        saved = errno;
    }
    if (ok && rename(part, path) != 0) {
        ok = false;
        saved = errno;
    }
    if (ok && sync)
        sync_folder_of(path); // some file systems refuse; the file itself is safe
    if (ok)
        return KB_OK;
    unlink(part);
    return cannot_write(path, saved, err);
}

enum kb_code file_write_atomic(const char *path, const void *data, size_t size,
                               struct kb_error *err)
{
    return write_and_rename(path, data, size, true, err);
}

enum kb_code file_write_cached(const char *path, const void *data, size_t size,
                               struct kb_error *err)
{
    return write_and_rename(path, data, size, false, err);
}

bool file_copy(int to, int from, int64_t size, const struct cancel *cancel)
{
    struct stat st;
    if (fstat(from, &st) == 0 && st.st_size == size && ioctl(to, FICLONE, from) == 0)
        return true;
    // Not sendfile(): some shared folders refuse it.
    CLEANUP(kb_freep) char *buffer = kb_alloc(COPY_BYTES);
    for (int64_t at = 0; at < size;) {
        ssize_t n = pread(from, buffer, (size_t)KB_MIN(size - at, COPY_BYTES), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0 || !write_all(to, buffer, (size_t)n))
            return false;
        at += n;
        if (at < size && cancel_requested(cancel)) {
            errno = ECANCELED;
            return false;
        }
    }
    return true;
}

enum kb_code file_check_writable(const char *path, int64_t min_free, struct kb_error *err)
{
    CLEANUP(kb_freep) char *folder = path_folder(path);
    if (!file_is_dir(folder))
        return kb_fail(err, KB_NOT_FOUND,
                       _("the output folder '%s' does not exist; create it first"), folder);
    if (file_is_dir(path))
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is a folder; give a file name for the output"),
                       path);
    // A real file, because permissions alone do not tell (root, read-only mounts, quotas). One
    // without a name where the disk has such: a program that is killed here leaves nothing behind.
    CLEANUP(kb_freep) char *probe = kb_printf("%s/.koubo-%d.part", folder, (int)getpid());
    int fd = open(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
    bool named = fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR);
    if (named)
        fd = open(probe, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return kb_fail(err, errno == ENOSPC ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot write into the folder '%s': %s; choose another output folder"),
                       folder, kb_strerror(errno));
    close(fd);
    if (named)
        unlink(probe);

    struct statvfs vfs;
    if (statvfs(folder, &vfs) == 0) {
        int64_t available = (int64_t)vfs.f_bavail * (int64_t)vfs.f_frsize;
        char has[TEXT_SIZE_BYTES], needs[TEXT_SIZE_BYTES];
        if (available < min_free)
            return kb_fail(err, KB_NO_SPACE,
                           _("only %s are free in '%s' and at least %s are needed; "
                             "free some space or choose another output folder"),
                           text_size(has, available), folder, text_size(needs, min_free));
    }
    return KB_OK;
}

enum kb_code file_make_dirs(const char *path, struct kb_error *err)
{
    CLEANUP(kb_freep) char *copy = kb_strdup(path);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        mkdir(copy, 0755); // a failure shows at the last folder
        *p = '/';
    }
    if (mkdir(copy, 0755) != 0 && !file_is_dir(path))
        return kb_fail(err, errno == ENOSPC || errno == EDQUOT ? KB_NO_SPACE : KB_BAD_INPUT,
                       _("cannot create the folder '%s': %s; check the disk and the permissions of "
                         "the folder above it"),
                       path, kb_strerror(errno));
    return KB_OK;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool file_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

char *path_join(const char *folder, const char *name)
{
    size_t n = strlen(folder);
    return kb_printf("%s%s%s", folder, n > 0 && folder[n - 1] == '/' ? "" : "/", name);
}

char *path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return kb_strdup(".");
    return slash == path ? kb_strdup("/") : kb_printf("%.*s", (int)(slash - path), path);
}

// What Windows keeps for devices, whatever stands behind a dot.
static bool is_device(const char *name)
{
    static const char *const devices[] = {"con", "prn", "aux", "nul"};
    size_t n = strcspn(name, ".");
    for (size_t i = 0; i < ARRAY_LEN(devices); i++)
        if (n == 3 && strncasecmp(name, devices[i], 3) == 0)
            return true;
    return n == 4 && name[3] >= '1' && name[3] <= '9' &&
           (strncasecmp(name, "com", 3) == 0 || strncasecmp(name, "lpt", 3) == 0);
}

char *path_safe_name(const char *name, int max_bytes)
{
    CLEANUP(kb_freep) char *clean = utf8_clean(name);
    CLEANUP(text_free) struct text t = {0};
    int length;
    for (const char *p = clean; *p; p += length) {
        int32_t c = utf8_next(p, &length);
        if (c == '\t' || c == '\n' || (c < 0x80 && c > 0 && strchr("/\\:*?\"<>|", c)))
            text_add(&t, "_");
        else if (!utf8_is_hidden(c) && !(t.size == 0 && (c == '.' || c == ' ')))
            text_add_bytes(&t, p, (size_t)length);
    }
    CLEANUP(kb_freep)
    char *safe = kb_printf("%s%s", is_device(text_get(&t)) ? "_" : "", text_get(&t));
    size_t n = (size_t)utf8_fit(safe, max_bytes);
    while (n > 0 && (safe[n - 1] == '.' || safe[n - 1] == ' '))
        n--;
    safe[n] = '\0';
    return n > 0 ? TAKE(safe) : kb_strdup("_");
}

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *path_stem(const char *path)
{
    const char *name = path_name(path);
    const char *dot = strrchr(name, '.');
    return dot && dot != name ? kb_printf("%.*s", (int)(dot - name), name) : kb_strdup(name);
}

char *path_beside_program(const char *relative)
{
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';
    CLEANUP(kb_freep) char *bin = path_folder(exe);
    return path_join(bin, relative);
}

char *model_folder(int i)
{
    if (i == 0)
        return kb_strdup(getenv("KOUBO_MODELS"));
    if (i == MODEL_FOLDERS - 1)
        return kb_strdup(getenv("KOUBO_FETCHED_MODELS"));
    return path_beside_program(i == 1 ? "../models" : "../share/koubo/models");
}

enum kb_code model_locate(char **ret, const char *name, struct kb_error *err)
{
    for (int i = 0; i < MODEL_FOLDERS; i++) {
        CLEANUP(kb_freep) char *folder = model_folder(i);
        CLEANUP(kb_freep) char *path = folder ? path_join(folder, name) : NULL;
        if (path && file_exists(path)) {
            *ret = TAKE(path);
            return KB_OK;
        }
    }
    return kb_fail(err, KB_NOT_FOUND,
                   _("the model file '%s' is missing; run ./start.sh once to fetch it, or set "
                     "KOUBO_MODELS to the folder that holds it"),
                   name);
}

bool model_is_file(const char *name)
{
    static const char *const extensions[] = {".safetensors", ".pth", ".pt", ".ckpt", ".onnx"};
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        if (text_ends(name, extensions[i]))
            return true;
    return false;
}

enum kb_code model_find(char **ret, const char *model, struct kb_error *err)
{
    model = model ? model : MODEL_BUNDLED;
    if (strchr(model, '/') || strchr(model, '.')) {
        *ret = kb_strdup(model);
        return KB_OK;
    }
    CLEANUP(kb_freep) char *file = kb_printf("%s.safetensors", model);
    return model_locate(ret, file, err);
}
