// Bytes of assets: arriving in uploads/<id>.part, filed as files/<sha256>.
//
// The size of the part is the offset of the upload: there is no second truth that a crash could
// leave behind. Whoever writes holds flock() on it. When it is whole it is linked to its place
// under the database's write lock, the row says so in the same transaction, and only then the part
// goes. So at every moment the bytes can be found from what the database says: after a crash in
// between, the part is still there and the next close does it again.
#include "asset/upload.h"

#include "asset/internal.h"
#include "base/beneath.h"
#include "base/bytes.h"
#include "base/file.h"
#include "store/fate.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES      (1 << 20)
#define WRITE_BACK_BYTES (8 << 20)
#define CARE_BYTES       (16 << 20)

struct asset_upload {
    int fd;
    char id[33];
    char *folder, *path;      // path lies below the data folder
    int64_t offset, declared; // declared may be -1
    int64_t written_back;     // up to here the kernel was asked to write to the disk
    bool named_anew;          // uploads/ was not synced since the part has its name
    bool elsewhere;           // files/ is on another disk, or another mount
    char *copy;               // on that one, below the data folder; NULL: none yet
    char expected[65];        // what its hash is to be, "" = whatever it is
    EVP_MD_CTX *hash;         // of all bytes up to offset; NULL: read them again at the end
};

// --- small things

// The path still names the file that is open: nobody removed or replaced it before it was locked.
static bool is_same_file(int fd, const char *folder, const char *path)
{
    struct stat open_one, named;
    return fstat(fd, &open_one) == 0 && beneath_stat(folder, path, &named) &&
           open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev;
}

// Closing alone ends the lock only when no other process has the descriptor: one that was forked
// for a worker has it until it has become the worker.
static void unlock(int fd)
{
    flock(fd, LOCK_UN);
    close(fd);
}

bool upload_part_remove(const struct store *s, const char *id)
{
    CLEANUP(kb_freep) char *path = asset_part_path(id);
    int fd = beneath_open(s->folder, path, O_RDWR, 0);
    if (fd < 0)
        return errno == ENOENT;
    bool ours = flock(fd, LOCK_EX | LOCK_NB) == 0 && is_same_file(fd, s->folder, path);
    if (ours)
        beneath_unlink(s->folder, path);
    unlock(fd);
    return ours;
}

static enum kb_code cannot_store(struct kb_error *err, int number)
{
    if (number == ENOSPC || number == EDQUOT || number == EFBIG)
        return kb_fail(err, KB_NO_SPACE,
                       _("no space left on the server's disk; delete old results or files and try "
                         "again"));
    return kb_fail(err, number == EMFILE || number == ENFILE ? KB_UNAVAILABLE : KB_INTERNAL,
                   _("the file could not be stored: %s; check the data folder"),
                   beneath_reason(number));
}

static void hash_free(EVP_MD_CTX **c)
{
    EVP_MD_CTX_free(*c);
    *c = NULL;
}

static EVP_MD_CTX *hash_start(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
        abort(); // memory is out
    return c;
}

// Appends at u->offset. What was written of a failed call is cut off again.
static enum kb_code append(struct asset_upload *u, const char *data, size_t n, struct kb_error *err)
{
    int64_t offset = u->offset;
    size_t left = n;
    const char *from = data;
    while (left > 0) {
        ssize_t written = pwrite(u->fd, from, left, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            int number = written < 0 ? errno : ENOSPC;
            if (ftruncate(u->fd, u->offset) != 0)
                return kb_fail(err, KB_INTERNAL,
                               _("the file could not be stored: %s; check the "
                                 "data folder"),
                               kb_strerror(errno));
            return cannot_store(err, number);
        }
        from += written;
        offset += written;
        left -= (size_t)written;
    }
    if (u->hash)
        EVP_DigestUpdate(u->hash, data, n);
    u->offset = offset;
    // A hint, so that the sync at the end does not find everything still in memory. Not the page
    // that is being filled: the next write would wait for it.
    int64_t whole = u->offset - u->offset % WRITE_BACK_BYTES;
    if (whole > u->written_back) {
        sync_file_range(u->fd, u->written_back, whole - u->written_back, SYNC_FILE_RANGE_WRITE);
        u->written_back = whole;
    }
    return KB_OK;
}

// KB_OK: go on.
static enum kb_code take_care(const struct asset_care *care, struct kb_error *err)
{
    enum kb_code code = care ? cancel_check(care->cancel, err) : KB_OK;
    return code == KB_OK && care && care->room ? care->room(care->ctx, err) : code;
}

// All of from, at most limit bytes, behind what is there.
static enum kb_code append_file(struct asset_upload *u, int from, int64_t limit,
                                const struct asset_care *care, struct kb_error *err)
{
    CLEANUP(kb_freep) char *buffer = kb_alloc(CHUNK_BYTES);
    int64_t next = u->offset;
    while (u->offset < limit) {
        enum kb_code goes_on = u->offset < next ? KB_OK : take_care(care, err);
        if (goes_on != KB_OK)
            return goes_on;
        if (u->offset >= next)
            next = u->offset + CARE_BYTES;
        ssize_t n = read(from, buffer, (size_t)KB_MIN(CHUNK_BYTES, limit - u->offset));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kb_fail(err, KB_BAD_INPUT, _("cannot read the file: %s"), kb_strerror(errno));
        if (n == 0)
            break;
        enum kb_code code = append(u, buffer, (size_t)n, err);
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

static void upload_free(struct asset_upload **upload)
{
    struct asset_upload *u = *upload;
    if (!u)
        return;
    if (u->fd >= 0)
        unlock(u->fd);
    hash_free(&u->hash);
    if (u->copy)
        beneath_unlink(u->folder, u->copy);
    free(u->copy);
    free(u->folder);
    free(u->path);
    free(u);
    *upload = NULL;
}

// --- opening

// A part that is also the filed content (a crash came between link and commit) must not be written
// to: make it a file of its own again.
static enum kb_code make_own(struct asset_upload *u, struct kb_error *err)
{
    CLEANUP(kb_freep) char *copy = kb_printf("%s.copy", u->path);
    beneath_unlink(u->folder, copy);
    int shared = u->fd;
    int64_t size = u->offset;
    u->fd = beneath_open(u->folder, copy, O_RDWR | O_CREAT | O_EXCL, 0640);
    if (u->fd < 0) {
        u->fd = shared;
        return cannot_store(err, errno);
    }
    u->offset = 0;
    enum kb_code code = append_file(u, shared, size, NULL, err);
    if (code == KB_OK &&
        (flock(u->fd, LOCK_EX | LOCK_NB) != 0 || !beneath_rename(u->folder, copy, u->path)))
        code = cannot_store(err, errno);
    close(shared);
    if (code != KB_OK)
        beneath_unlink(u->folder, copy);
    u->named_anew = true;
    return code;
}

// Was the file written to before this machine started? Then its last bytes may never have reached
// the disk, whatever its size says.
static bool is_from_before_boot(const struct stat *st)
{
    struct timespec wall, up;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &up);
    return st->st_mtim.tv_sec < wall.tv_sec - up.tv_sec;
}

// Opens and locks the part; it is made if it is missing.
static enum kb_code lock_part(struct asset_upload *u, struct kb_error *err)
{
    for (int attempt = 0; attempt < 10; attempt++) {
        u->fd = beneath_open(u->folder, u->path, O_RDWR | O_CREAT, 0640);
        if (u->fd < 0)
            return cannot_store(err, errno);
        if (flock(u->fd, LOCK_EX | LOCK_NB) != 0)
            break;
        if (is_same_file(u->fd, u->folder, u->path))
            return KB_OK;
        unlock(u->fd);
        u->fd = -1;
    }
    return kb_fail(err, KB_UNAVAILABLE,
                   _("this upload is being written to by another request; try again in a moment"));
}

static enum kb_code open_part(struct asset_upload **ret, struct store *s, const struct asset *a,
                              struct kb_error *err)
{
    CLEANUP(upload_free) struct asset_upload *u = kb_alloc(sizeof(*u));
    u->fd = -1;
    u->folder = kb_strdup(s->folder);
    u->path = asset_part_path(a->id);
    u->declared = a->size_bytes;
    memcpy(u->id, a->id, sizeof(u->id));
    struct stat st;
    enum kb_code code = lock_part(u, err);
    if (code != KB_OK)
        return code;
    if (fstat(u->fd, &st) != 0)
        return cannot_store(err, errno);
    u->offset = st.st_size;
    u->named_anew = a->received_bytes == 0;
    if (u->offset > a->received_bytes && is_from_before_boot(&st))
        u->offset = a->received_bytes; // what the last sync covered
    if (u->declared >= 0 && u->offset > u->declared)
        u->offset = u->declared;
    if (u->offset < st.st_size && ftruncate(u->fd, u->offset) != 0)
        return cannot_store(err, errno);
    if (st.st_nlink > 1)
        code = make_own(u, err);
    if (code != KB_OK)
        return code;
    u->written_back = u->offset;
    if (u->offset == 0)
        u->hash = hash_start();
    *ret = TAKE(u);
    return KB_OK;
}

enum kb_code asset_upload_open(struct asset_upload **ret, struct store *s, const char *id,
                               struct kb_error *err)
{
    struct asset a;
    enum kb_code code = asset_find(s, id, &a, err);
    if (code != KB_OK)
        return code;
    if (strcmp(a.state, "uploading") != 0 && strcmp(a.state, "fetching") != 0)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is complete; nothing can be added to it"),
                       a.name);
    return open_part(ret, s, &a, err);
}

// --- writing

int64_t asset_upload_offset(const struct asset_upload *u)
{
    return u->offset;
}

enum kb_code asset_upload_write(struct asset_upload *u, const void *data, size_t n,
                                struct kb_error *err)
{
    if (u->declared >= 0 && (uint64_t)n > (uint64_t)(u->declared - u->offset))
        return kb_fail(err, KB_BAD_INPUT,
                       _("more bytes arrived than the %lld that were announced; upload the file "
                         "again"),
                       (long long)u->declared);
    if ((uint64_t)n > (uint64_t)(INT64_MAX - u->offset))
        return cannot_store(err, EFBIG);
    return append(u, data, n, err);
}

enum kb_code asset_upload_truncate(struct asset_upload *u, int64_t offset, struct kb_error *err)
{
    if (offset < 0 || offset > u->offset)
        return kb_fail(err, KB_INTERNAL, "an upload of %lld bytes cannot be cut back to %lld",
                       (long long)u->offset, (long long)offset);
    if (offset == u->offset)
        return KB_OK;
    if (ftruncate(u->fd, offset) != 0)
        return cannot_store(err, errno);
    u->offset = offset;
    u->written_back = KB_MIN(u->written_back, offset);
    hash_free(&u->hash);
    if (offset == 0)
        u->hash = hash_start();
    return KB_OK;
}

void asset_upload_expect(struct asset_upload *u, const char *sha256)
{
    snprintf(u->expected, sizeof(u->expected), "%s", sha256);
}

// --- filing

static enum kb_code hash_again(struct asset_upload *u, struct kb_error *err)
{
    CLEANUP(kb_freep) char *buffer = kb_alloc(CHUNK_BYTES);
    CLEANUP(hash_free) EVP_MD_CTX *c = hash_start();
    int64_t at = 0;
    while (at < u->offset) {
        ssize_t n = pread(u->fd, buffer, (size_t)KB_MIN(CHUNK_BYTES, u->offset - at), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return cannot_store(err, n < 0 ? errno : EIO);
        EVP_DigestUpdate(c, buffer, (size_t)n);
        at += n;
    }
    u->hash = TAKE(c);
    return KB_OK;
}

static enum kb_code finish_hash(struct asset_upload *u, char ret_hex[65], struct kb_error *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    enum kb_code code = u->hash ? KB_OK : hash_again(u, err);
    if (code != KB_OK)
        return code;
    if (EVP_DigestFinal_ex(u->hash, digest, &n) != 1 || n != 32)
        return kb_fail(err, KB_INTERNAL, "SHA-256 failed");
    hash_free(&u->hash);
    bytes_hex(ret_hex, digest, 32);
    return KB_OK;
}

// Where files/ is another disk the bytes are copied there first: without the database's lock, as
// that may take minutes. The copy has a name of its own, as others may bring the same content.
static enum kb_code make_copy(struct asset_upload *u, const char *sha256,
                              const struct asset_care *care, struct kb_error *err)
{
    char number[8];
    kb_random_hex(number, sizeof(number) - 1);
    u->copy = kb_printf("files/%s.%ld.part", sha256, strtol(number, NULL, 16) + 1);
    int fd = beneath_open(u->folder, u->copy, O_WRONLY | O_CREAT | O_EXCL, 0640);
    if (fd < 0) {
        int number_of = errno;
        free(TAKE(u->copy));
        return cannot_store(err, number_of);
    }
    bool ok = file_copy(fd, u->fd, u->offset, care ? care->cancel : NULL) && fsync(fd) == 0;
    int saved = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        saved = errno;
    }
    if (!ok && saved == ECANCELED && care)
        return cancel_check(care->cancel, err);
    return ok ? KB_OK : cannot_store(err, saved);
}

static bool place_copy(struct asset_upload *u, const char *path)
{
    u->elsewhere = !u->copy;
    if (u->elsewhere || !beneath_rename(u->folder, u->copy, path))
        return false;
    free(TAKE(u->copy));
    return true;
}

// The part gets its name as a content too, or the content that is there already is taken.
static enum kb_code place(struct asset_upload *u, struct store *s, const char *sha256,
                          struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join("files", sha256);
    bool there = beneath_size(s->folder, path) == u->offset;
    // What is there otherwise is damaged, or a link, and this one heals it: rename replaces. Disks
    // without links (exFAT, shared folders of virtual machines) have rename alone, too.
    if (!there && !beneath_link(s->folder, u->path, path) &&
        !beneath_rename(s->folder, u->path, path) && (errno != EXDEV || !place_copy(u, path)))
        return u->elsewhere ? kb_fail(err, KB_INTERNAL, "files/ is elsewhere")
                            : cannot_store(err, errno);
    return file_settle(s, "files", sha256) ? KB_OK : cannot_store(err, errno);
}

// What an inspector found out about the same content need not be found out again, the subtitles of
// a file among it; what a speech says belongs to how it was made. It looks at other things, and
// fewer of them, in what becomes a result.
static enum kb_code copy_facts(struct store *s, const char *id, const char *sha256,
                               struct kb_error *err)
{
    return store_exec(
        s, NULL, err,
        "UPDATE asset SET (state, kind, duration_ms, width, height, fps, codec, faces, face_boxes,"
        " face_boxes_at, warnings, peaks, thumbnail, words) = (SELECT state, kind, duration_ms,"
        " width, height, fps, codec, faces, face_boxes, face_boxes_at, warnings, peaks, thumbnail,"
        " coalesce(asset.words, iif(kind = 'text', o.words, NULL))"
        " FROM asset o WHERE sha256 = ?2 AND state = 'ready' AND job IS NULL LIMIT 1)"
        " WHERE id = ?1 AND job IS NULL AND EXISTS (SELECT 1 FROM asset WHERE sha256 = ?2"
        "  AND state = 'ready'"
        "  AND job IS NULL)",
        "tt", id, sha256);
}

// In a transaction: the row is still unfinished, the content in its place, the row says so.
static enum kb_code file_locked(struct asset_upload *u, struct store *s, const char *sha256,
                                struct kb_error *err)
{
    int n = 0;
    enum kb_code code = store_exec(
        s, &n, err,
        "UPDATE asset SET state = 'new', sha256 = ?, size = ?2, received = ?2, expires_ms = NULL,"
        " error = NULL, worker = NULL, lease_ms = NULL, attempts = 0, pieces = NULL,"
        " progress = NULL"
        " WHERE id = ?3 AND state IN ('uploading', 'fetching', 'making')",
        "tit", sha256, u->offset, u->id);
    if (code == KB_OK && n == 0)
        code = kb_fail(err, KB_NOT_FOUND,
                       _("the file was deleted while it was being uploaded; upload it again"));
    if (code == KB_OK)
        code = place(u, s, sha256, err);
    if (code == KB_OK)
        code = copy_facts(s, u->id, sha256, err);
    if (code == KB_OK)
        file_forget(s, "files", sha256);
    return code;
}

static enum kb_code file_once(struct asset_upload *u, struct store *s, const char *sha256,
                              struct kb_error *err)
{
    // The content gets its place before the transaction that names it is over: should that never
    // end, the database still knows whose the content is.
    enum kb_code code = file_loosen(s, "files", sha256, err);
    if (code == KB_OK)
        code = store_begin(s, err);
    return code == KB_OK ? store_end(s, file_locked(u, s, sha256, err), err) : code;
}

enum kb_code asset_upload_record(struct asset_upload *u, struct store *s, struct kb_error *err)
{
    int n = 0;
    if (fdatasync(u->fd) != 0)
        return cannot_store(err, errno);
    if (u->named_anew && !file_settle(s, "uploads", path_name(u->path)))
        return cannot_store(err, errno);
    enum kb_code code = store_exec(s, &n, err,
                                   "UPDATE asset SET received = ?1, expires_ms ="
                                   " iif(state = 'uploading' AND job IS NULL, ?3, expires_ms)"
                                   " WHERE id = ?2"
                                   " AND state IN ('uploading', 'fetching')",
                                   "iti", u->offset, u->id, kb_wall_ms() + UPLOAD_KEEP_MS);
    if (code == KB_OK && n == 0) { // deleted meanwhile
        beneath_unlink(u->folder, u->path);
        return kb_fail(err, KB_NOT_FOUND,
                       _("the file was deleted while it was being uploaded; upload it again"));
    }
    return code;
}

// What came is not what was announced: nothing of it is worth keeping.
static enum kb_code begin_anew(struct asset_upload *u, struct store *s, struct kb_error *err)
{
    enum kb_code code = asset_upload_truncate(u, 0, err);
    if (code == KB_OK)
        code = asset_upload_record(u, s, err);
    return code != KB_OK ? code
                         : kb_fail(err, KB_BAD_INPUT,
                                   _("the file that arrived is not the one that was announced (its "
                                     "SHA-256 differs); send it again"));
}

static enum kb_code file_content(struct asset_upload *u, struct store *s,
                                 const struct asset_care *care, struct kb_error *err)
{
    char sha256[65];
    if (u->offset == 0)
        return kb_fail(err, KB_BAD_INPUT, _("the file is empty (0 bytes); choose another one"));
    enum kb_code code = finish_hash(u, sha256, err);
    if (code != KB_OK)
        return code;
    if (u->expected[0] && strcmp(u->expected, sha256) != 0)
        return begin_anew(u, s, err);
    if (fsync(u->fd) != 0)
        return cannot_store(err, errno);
    code = file_once(u, s, sha256, err);
    if (u->elsewhere) {
        code = make_copy(u, sha256, care, err);
        if (code == KB_OK)
            code = file_once(u, s, sha256, err);
    }
    if (code == KB_OK || code == KB_NOT_FOUND)
        beneath_unlink(u->folder, u->path);
    return code;
}

enum kb_code asset_upload_close(struct asset_upload **upload, struct store *s, bool whole,
                                bool *ret_complete, struct kb_error *err)
{
    CLEANUP(upload_free) struct asset_upload *u = TAKE(*upload);
    bool complete = u->declared >= 0 ? u->offset == u->declared : whole;
    if (ret_complete)
        *ret_complete = false;
    enum kb_code code = complete ? file_content(u, s, NULL, err) : asset_upload_record(u, s, err);
    if (ret_complete)
        *ret_complete = complete && code == KB_OK;
    return code;
}

void asset_upload_drop(struct asset_upload **upload)
{
    upload_free(upload);
}

// --- files of this machine

// The bytes of path into the part of asset id, then filed. The size must be what was declared.
static enum kb_code copy_and_file(struct store *s, const struct asset *a, int from,
                                  const struct asset_care *care, struct kb_error *err)
{
    CLEANUP(upload_free) struct asset_upload *u = NULL;
    enum kb_code code = open_part(&u, s, a, err);
    if (code != KB_OK)
        return code;
    assert(u);
    if (u->offset > 0)
        code = asset_upload_truncate(u, 0, err);
    if (code != KB_OK)
        return code;
    // Where the disk can share blocks the copy costs nothing.
    struct stat st;
    if (ioctl(u->fd, FICLONE, from) == 0 && fstat(u->fd, &st) == 0) {
        hash_free(&u->hash);
        u->offset = st.st_size;
    } else {
        code = append_file(u, from, a->size_bytes, care, err);
    }
    if (code == KB_OK && u->offset != a->size_bytes)
        code = kb_fail(err, KB_BAD_INPUT, _("the file changed while it was being read"));
    return code == KB_OK ? file_content(u, s, care, err) : code;
}

static enum kb_code open_source(const char *path, int *ret_fd, int64_t *ret_size,
                                struct kb_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not block
    if (fd < 0)
        return kb_fail(err, errno == ENOENT ? KB_NOT_FOUND : KB_BAD_INPUT,
                       _("cannot open '%s': %s"), path, kb_strerror(errno));
    enum kb_code code = KB_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        code = kb_fail(err, KB_BAD_INPUT, _("'%s' is not a regular file"), path);
    else if (st.st_size == 0)
        code = kb_fail(err, KB_BAD_INPUT, _("'%s' is empty (0 bytes)"), path);
    if (code != KB_OK) {
        close(fd);
        return code;
    }
    *ret_fd = fd;
    *ret_size = st.st_size;
    return KB_OK;
}

enum kb_code asset_add_file(struct store *s, const struct asset_params *p, const char *path,
                            char ret_id[33], struct kb_error *err)
{
    struct asset_params params = *p;
    struct asset a = {0};
    int from;
    enum kb_code code = open_source(path, &from, &params.size_bytes, err);
    if (code != KB_OK)
        return code;
    // Until it is whole it is an upload like others, and goes as they go after a crash.
    if (params.expires_ms == 0)
        params.expires_ms = kb_wall_ms() + 60 * 60 * 1000;
    if (!params.name || !*params.name)
        params.name = path;
    code = asset_insert(s, &params, "uploading", NULL, NULL, a.id, err);
    if (code == KB_OK) {
        a.size_bytes = params.size_bytes;
        code = copy_and_file(s, &a, from, p->care, err);
        if (code != KB_OK)
            asset_delete(s, a.id, NULL);
    }
    close(from);
    if (code == KB_OK)
        memcpy(ret_id, a.id, sizeof(a.id));
    return code;
}

enum kb_code asset_set_content(struct store *s, const char *id, const char *path,
                               struct kb_error *err)
{
    struct asset a;
    int from;
    enum kb_code code = asset_find(s, id, &a, err);
    if (code != KB_OK)
        return code;
    code = open_source(path, &from, &a.size_bytes, err);
    if (code != KB_OK)
        return code;
    code = copy_and_file(s, &a, from, NULL, err);
    if (code != KB_OK)
        upload_part_remove(s, a.id);
    close(from);
    return code;
}
