// The ends of other machines' jobs. With the lease the row of remote goes (store/schema.c), and
// with that its asset has nobody who waits for it: remote_sweep() takes it away, bytes and all, now
// or after a crash.
#include "queue/remote.h"

#include "queue/internal.h"

#include "asset/upload.h"
#include "base/beneath.h"
#include "base/file.h"
#include "base/sentence.h"
#include "store/fate.h"
#include "store/privacy.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_APART_S 1.0 // what was told and what was found of a length, or
#define MOST_APART   0.02
#define RETRY_MS     2000LL // times the attempts made

// --- what nobody waits for

#define AT_ONCE 32

struct leavings {
    char id[AT_ONCE][33], sha256[AT_ONCE][65];
    int n, n_contents; // of the contents the first ones
};

static enum kb_code find_leavings(struct store *s, struct leavings *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT id, sha256 FROM asset a WHERE job IS NOT NULL"
                                    " AND NOT EXISTS (SELECT 1 FROM remote r"
                                    "  WHERE r.job = a.job AND r.asset = a.id) LIMIT ?",
                                    "i", (int64_t)AT_ONCE);
    for (*ret = (struct leavings){0}; code == KB_OK; code = store_step(s, q, err)) {
        store_copy_column(ret->id[ret->n++], sizeof(ret->id[0]), q, 0);
        if (sqlite3_column_type(q, 1) != SQLITE_NULL)
            store_copy_column(ret->sha256[ret->n_contents++], sizeof(ret->sha256[0]), q, 1);
    }
    return code == KB_EOF ? KB_OK : code;
}

// The bytes of one that is still sent: they go, or somebody writes them and finds no row at the
// end.
static void drop_part(struct store *s, const char *id)
{
    CLEANUP(kb_freep) char *part = kb_printf("uploads/%s.part", id);
    bool was = beneath_size(s->folder, part) >= 0;
    if (upload_part_remove(s, id) && (!was || file_settle(s, "uploads", id)))
        file_forget(s, "uploads", id);
}

// Bytes before the end of the transaction: a row that comes back is again one that nobody names.
static enum kb_code drop(struct store *s, struct leavings *l, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < l->n; i++) {
        code = store_exec(s, NULL, err, "DELETE FROM asset WHERE id = ? AND job IS NOT NULL", "t",
                          l->id[i]);
        if (code == KB_OK)
            drop_part(s, l->id[i]);
    }
    return code == KB_OK ? contents_release(s, l->sha256, l->n_contents, err) : code;
}

static enum kb_code sweep_all(struct store *s, struct kb_error *err)
{
    for (;;) {
        struct leavings l;
        enum kb_code code = find_leavings(s, &l, err);
        if (code != KB_OK || l.n == 0)
            return code;
        code = store_begin(s, err);
        if (code == KB_OK)
            code = store_end(s, drop(s, &l, err), err);
        if (code != KB_OK)
            return code;
    }
}

enum kb_code remote_sweep(struct store *s, struct kb_error *err)
{
    if (s->depth > 0) // what a rollback brings back must have its bytes
        return KB_OK;
    bool durable = s->durable;
    store_set_durable(s, false); // a row that comes back goes again
    enum kb_code code = sweep_all(s, err);
    store_set_durable(s, durable);
    return code;
}

// --- the result gets its place

struct arrival {
    struct remote r;
    struct dub_result told;
    bool usable;           // a video, and what was told
    const char *complaint; // why it is not
    bool picture;
    char *cues; // that the inspector found in it (subtitles_pack()), or NULL
};

static void arrival_clear(struct arrival *a)
{
    free(a->cues);
}

static bool is_as_told(const struct dub_result *told, int64_t duration_ms, int width, int height)
{
    double apart = fabs((double)duration_ms / 1000 - told->seconds);
    return width == told->width && height == told->height &&
           apart <= KB_MAX(MOST_APART_S, MOST_APART * told->seconds);
}

// Those that were looked at.
#define ARRIVED                                                                                    \
    " FROM remote r LEFT JOIN asset a ON a.id = r.asset WHERE r.state = ?"                         \
    " AND r.sha256 <> '' AND (a.id IS NULL OR a.state IN ('ready', 'bad'))"

// The first one.
static enum kb_code find_arrival(struct store *s, struct arrival *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT r.job, r.lease, r.node, r.entry, r.sha256,"
        " a.state IS 'ready' AND a.kind = 'video', r.sha256 = a.sha256 AND r.size = a.size,"
        " a.duration_ms, a.width, a.height, a.thumbnail, json_extract(r.facts, '$.frames'),"
        " json_extract(r.facts, '$.animated'), json_extract(r.facts, '$.seconds'),"
        " json_extract(r.facts, '$.width'), json_extract(r.facts, '$.height'),"
        " json_extract(r.facts, '$.stages[0]'), json_extract(r.facts, '$.stages[1]'),"
        " json_extract(r.facts, '$.stages[2]'), json_extract(r.facts, '$.stages[3]'),"
        " json_extract(r.facts, '$.stages[4]'), a.words" ARRIVED
        " ORDER BY r.since_ms, r.job LIMIT 1",
        "i", (int64_t)REMOTE_HERE);
    if (code != KB_OK)
        return code;
    *ret = (struct arrival){
        .r = {.job = sqlite3_column_int64(q, 0), .lease = sqlite3_column_int64(q, 1)},
        .told = {.frames = sqlite3_column_int64(q, 11),
                 .frames_animated = sqlite3_column_int64(q, 12),
                 .seconds = sqlite3_column_double(q, 13),
                 .width = sqlite3_column_int(q, 14),
                 .height = sqlite3_column_int(q, 15)},
        .picture = sqlite3_column_int(q, 10),
        .cues = store_column(q, 21),
    };
    for (int i = 0; i < N_STAGES; i++)
        ret->told.stage_s[i] = sqlite3_column_double(q, 16 + i);
    store_copy_column(ret->r.node, sizeof(ret->r.node), q, 2);
    store_copy_column(ret->r.entry, sizeof(ret->r.entry), q, 3);
    store_copy_column(ret->r.sha256, sizeof(ret->r.sha256), q, 4);
    bool video = sqlite3_column_int(q, 5), same = sqlite3_column_int(q, 6);
    ret->usable = video && same &&
                  is_as_told(&ret->told, sqlite3_column_int64(q, 7), sqlite3_column_int(q, 8),
                             sqlite3_column_int(q, 9));
    if (!ret->usable)
        ret->complaint = video ? N_("the machine sent another video than it had told of")
                               : N_("the machine sent what is no video");
    return KB_OK;
}

// Did an earlier try, which a crash ended, put it there?
static bool is_same(struct store *s, const char *path, const char *other)
{
    struct stat a, b;
    char hash[33], other_hash[33];
    if (!beneath_stat(s->folder, path, &a) || !beneath_stat(s->folder, other, &b) ||
        !S_ISREG(a.st_mode) || !S_ISREG(b.st_mode))
        return false;
    if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return true;
    CLEANUP(kb_freep) char *full = path_join(s->folder, path);
    CLEANUP(kb_freep) char *full_other = path_join(s->folder, other);
    return a.st_size == b.st_size && file_hash(hash, full, NULL) == KB_OK &&
           file_hash(other_hash, full_other, NULL) == KB_OK && strcmp(hash, other_hash) == 0;
}

// Where no second name can be given to a file, as results/ is another disk or knows none. part is
// this attempt's.
static bool copy(struct store *s, const char *from, const char *part, const char *to)
{
    struct stat st;
    int in = beneath_open(s->folder, from, O_RDONLY, 0);
    int out = in >= 0 ? beneath_open(s->folder, part, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    bool ok =
        out >= 0 && fstat(in, &st) == 0 && file_copy(out, in, st.st_size, NULL) && fsync(out) == 0;
    int number = errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    errno = number;
    if (!ok || beneath_link(s->folder, part, to))
        return ok;
    if (errno == EEXIST || beneath_stat(s->folder, to, &st)) {
        errno = EEXIST;
        return false;
    }
    return beneath_rename(s->folder, part, to);
}

// A second name for a file of the data folder, or a copy; never over what is there. Its mode is
// that of part, which was made as results are, unless the file is somebody's upload, too: that
// keeps its own.
static bool put(struct store *s, const char *from, const char *part, const char *to, bool shared)
{
    struct stat st;
    bool has_mode = !shared && beneath_stat(s->folder, part, &st) && S_ISREG(st.st_mode);
    bool there = beneath_link(s->folder, from, to);
    if (!there && errno == ENOENT) {
        CLEANUP(kb_freep) char *folder = path_folder(to);
        there = privacy_make_folder(s->folder, folder) && beneath_link(s->folder, from, to);
    }
    if (!there && errno != EEXIST && errno != ENOENT && errno != ENOSPC)
        there = copy(s, from, part, to);
    if (!there && errno != EEXIST)
        return false;
    if (!there && !is_same(s, from, to)) {
        errno = EEXIST;
        return false;
    }
    int fd = has_mode ? beneath_open(s->folder, to, O_RDONLY, 0) : -1;
    if (fd >= 0) {
        fchmod(fd, st.st_mode & 0777);
        close(fd);
    }
    return true;
}

// The picture that the inspector made is the result's; what lies there is of an earlier try.
static bool put_picture(struct store *s, const char *sha256, const char *to)
{
    CLEANUP(kb_freep) char *from = kb_printf("thumbs/%s.jpg", sha256);
    CLEANUP(kb_freep) char *name = result_beside(to, ".jpg");
    CLEANUP(kb_freep) char *part = file_part_path(name, 0);
    if (beneath_size(s->folder, from) <= 0)
        return false;
    bool there = beneath_link(s->folder, from, name);
    if (!there && errno == EEXIST)
        there = beneath_unlink(s->folder, name) && beneath_link(s->folder, from, name);
    there = there || copy(s, from, part, name);
    beneath_unlink(s->folder, part);
    return there;
}

// The name that was taken for it, or, where somebody else's file is by now, as after an older
// backup was put back, another one.
static enum kb_code put_result(struct store *s, const struct arrival *a, struct job_claim *c,
                               bool *ret_picture, struct kb_error *err)
{
    CLEANUP(kb_freep) char *from = path_join("files", a->r.sha256);
    int64_t shared = 0;
    enum kb_code asked = store_query_int(
        s, &shared, err, "SELECT EXISTS (SELECT 1 FROM asset WHERE sha256 = ? AND job IS NULL)",
        "t", a->r.sha256);
    if (asked != KB_OK)
        return asked;
    for (int tries = 0; tries < 2; tries++) {
        CLEANUP(kb_freep) char *to = path_join("results", c->output_name);
        CLEANUP(kb_freep) char *part = file_part_path(to, 0);
        if (*c->output_name && put(s, from, part, to, shared)) {
            beneath_unlink(s->folder, part);
            *ret_picture = a->picture && put_picture(s, a->r.sha256, to);
            return KB_OK;
        }
        if (*c->output_name && errno != EEXIST)
            break;
        job_drop_part(s, c);
        enum kb_code code = store_begin(s, err);
        if (code == KB_OK)
            code = store_end(s, job_choose_output(s, c, err), err);
        if (code != KB_OK)
            return code;
    }
    return kb_fail(err, errno == ENOSPC || errno == EDQUOT ? KB_NO_SPACE : KB_INTERNAL,
                   _("the result '%s' cannot be moved to its place: %s; check the disk and "
                     "repeat the job"),
                   c->output_name, beneath_reason(errno));
}

static enum kb_code end_well(struct store *s, const struct arrival *a, struct remote_end *ret,
                             struct kb_error *err)
{
    CLEANUP(job_claim_free) struct job_claim c = {0};
    bool picture = false;
    enum kb_code code = remote_output(s, &a->r, &c, err);
    if (code == KB_OK)
        code = put_result(s, a, &c, &picture, err);
    if (code == KB_OK)
        code = job_done(s, &c, &a->told, picture, a->cues, err);
    if (code == KB_NOT_FOUND && c.output_name) // taken back meanwhile
        job_remove_output(s, &c);
    ret->good = code == KB_OK;
    if (code == KB_INTERNAL) {
        ret->why = *err;
        job_remove_output(s, &c);
        return job_failed(s, &c, &ret->why, err);
    }
    return code;
}

static enum kb_code lose(struct store *s, const struct remote *r, const char *reason,
                         struct kb_error *err)
{
    CLEANUP(job_claim_free) struct job_claim c = {0};
    enum kb_code code = remote_output(s, r, &c, err);
    return code == KB_OK ? job_lose(s, r->job, reason, false, false, err) : code;
}

static enum kb_code end_lost(struct store *s, const struct remote *r, const char *reason,
                             struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    return code == KB_OK ? remote_end_told(s, lose(s, r, reason, err), err) : code;
}

enum kb_code remote_arrived(struct store *s, bool *ret, struct kb_error *err)
{
    int64_t any = 0;
    enum kb_code code = store_query_int(s, &any, err, "SELECT EXISTS (SELECT 1" ARRIVED ")", "i",
                                        (int64_t)REMOTE_HERE);
    *ret = any != 0;
    return code;
}

enum kb_code remote_settle(struct store *s, struct remote_end *ret, struct kb_error *err)
{
    for (;;) {
        CLEANUP(arrival_clear) struct arrival a = {0};
        struct remote_end end = {0};
        enum kb_code code = find_arrival(s, &a, err);
        if (code == KB_EOF) // once for all that ended
            remote_sweep(s, NULL);
        if (code != KB_OK)
            return code;
        end.job = a.r.job;
        end.lease = a.r.lease;
        memcpy(end.node, a.r.node, sizeof(end.node));
        memcpy(end.entry, a.r.entry, sizeof(end.entry));
        memcpy(end.sha256, a.r.sha256, sizeof(end.sha256));
        if (a.usable) {
            code = end_well(s, &a, &end, err);
        } else {
            kb_fail(&end.why, KB_BAD_INPUT, "%s", _(a.complaint));
            code = end_lost(s, &a.r, a.complaint, err);
        }
        if (code == KB_NOT_FOUND)
            continue;
        if (code == KB_OK)
            *ret = end;
        return code;
    }
}

// --- the other ends

enum kb_code remote_failed(struct store *s, const struct remote *r, const struct kb_error *why,
                           struct kb_error *err)
{
    CLEANUP(job_claim_free) struct job_claim c = {0};
    enum kb_code code = remote_output(s, r, &c, err);
    if (code == KB_OK)
        code = job_failed(s, &c, why, err);
    if (code == KB_OK)
        remote_sweep(s, NULL);
    return code;
}

static enum kb_code try_again(struct store *s, const struct job_claim *c,
                              const struct kb_error *why, struct kb_error *err)
{
    CLEANUP(kb_freep) char *text = sentence_of(why);
    enum kb_code code = job_lap(s, c->job, kb_wall_ms(), err);
    if (code == KB_OK)
        code = job_requeue(s, c->job, RETRY_MS * c->attempt, "retry", "crashed", text, err);
    if (code == KB_OK)
        job_drop_part(s, c);
    return code;
}

enum kb_code remote_crashed(struct store *s, const struct remote *r, const struct kb_error *why,
                            struct kb_error *err)
{
    CLEANUP(job_claim_free) struct job_claim c = {0};
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = remote_output(s, r, &c, err);
    if (code == KB_OK)
        code =
            c.attempt < JOB_MAX_ATTEMPTS ? try_again(s, &c, why, err) : job_failed(s, &c, why, err);
    code = remote_end_told(s, code, err);
    if (code == KB_OK)
        remote_sweep(s, NULL);
    return code;
}

enum kb_code remote_back(struct store *s, const struct remote *r, struct kb_error *err)
{
    CLEANUP(job_claim_free) struct job_claim c = {0};
    enum kb_code code = remote_output(s, r, &c, err);
    if (code == KB_OK)
        code = job_give_back(s, &c, err);
    if (code == KB_OK)
        remote_sweep(s, NULL);
    return code;
}

enum kb_code remote_lost(struct store *s, const struct remote *r, const char *reason,
                         struct kb_error *err)
{
    enum kb_code code = end_lost(s, r, reason, err);
    if (code == KB_OK)
        remote_sweep(s, NULL);
    return code;
}

enum kb_code remote_take_back(struct store *s, const char *node, struct kb_error *err)
{
    for (;;) {
        int64_t job = 0;
        enum kb_code code = store_query_int(
            s, &job, err, "SELECT job FROM remote WHERE ?1 IS NULL OR node = ?1 LIMIT 1", "t",
            node);
        if (code != KB_OK || job == 0)
            return code;
        code = job_take_back(s, job, err);
        if (code != KB_OK)
            return code;
    }
}

enum kb_code remote_disband(struct store *s, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    if (code == KB_OK)
        code = store_end(s, remote_take_back(s, NULL, err), err);
    if (code == KB_OK)
        remote_sweep(s, NULL);
    return code;
}
