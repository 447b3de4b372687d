// First what nobody refers to, then what is too old, then the oldest until the folder is small
// enough. Everything goes through the functions that also serve the user's own deleting
// (result_delete, asset_delete…), which refuse what has come into use in the meantime.
#include "queue/retention.h"

#include "asset/asset.h"
#include "asset/upload.h"
#include "queue/batch.h"
#include "queue/result.h"
#include "store/fate.h"

#include "base/beneath.h"
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MINUTE_MS     (60 * 1000LL)
#define DAY_MS        (24 * 60 * MINUTE_MS)
#define ORPHAN_AGE_MS (10 * MINUTE_MS)
#define GONE_ROWS     10000
#define NOTICE_DAYS   7
#define MAX_DEPTH     4

// What may go by age: the result of a job, a content with all its assets, a face track.
struct item {
    enum { ITEM_RESULT, ITEM_CONTENT, ITEM_TRACK } what;
    int64_t time_ms;
    int64_t job;
    char *name; // below results/, files/ or tracks/
    bool gone;
};

struct run {
    struct store *s;
    const struct retention_params *params;
    retention_fn *each;
    void *opaque;
    struct retention_report *report;
    int64_t now_ms, cutoff_ms; // cutoff 0: nothing is too old
    struct item *items;
    size_t n_items;
};

static void run_free(struct run *r)
{
    for (size_t i = 0; i < r->n_items; i++)
        free(r->items[i].name);
    free(r->items);
}

static void add_item(struct run *r, struct item item)
{
    if ((r->n_items & (r->n_items - 1)) == 0) { // a power of two: full
        size_t n = r->n_items ? 2 * r->n_items : 1;
        struct item *grown = realloc(r->items, n * sizeof(*grown));
        if (!grown)
            abort();
        r->items = grown;
    }
    r->items[r->n_items++] = item;
}

// --- counting and telling

static int64_t size_below(int folder, int depth)
{
    int64_t sum = 0;
    DIR *d = fdopendir(folder);
    if (!d) {
        close(folder);
        return 0;
    }
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(st.st_mode))
            sum += st.st_size;
        if (!S_ISDIR(st.st_mode) || depth == 0)
            continue;
        int inner = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        sum += inner >= 0 ? size_below(inner, depth - 1) : 0;
    }
    closedir(d);
    return sum;
}

static int64_t folder_size(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? size_below(fd, MAX_DEPTH) : 0;
}

// Bytes of a file, -1 when there is none.
static int64_t file_size(const struct run *r, const char *kind, const char *name)
{
    CLEANUP(kb_freep) char *path = path_join(kind, name);
    return beneath_size(r->s->folder, path);
}

// A file had this size (-1: there was none). If it is gone, or would be, that counts.
static void tell(struct run *r, const char *kind, const char *name, int64_t size)
{
    if (size < 0 || (!r->params->dry_run && file_size(r, kind, name) >= 0))
        return;
    CLEANUP(kb_freep) char *path = kb_printf("%s/%s", kind, name);
    r->report->n_removed++;
    r->report->bytes_removed += size;
    r->report->bytes_left -= size;
    if (r->each)
        r->each(r->opaque, path, size);
}

static void remove_file(struct run *r, const char *kind, const char *name)
{
    int64_t size = file_size(r, kind, name);
    CLEANUP(kb_freep) char *path = path_join(kind, name);
    if (!r->params->dry_run) {
        beneath_unlink(r->s->folder, path);
        shelf_prune(r->s, name);
    }
    tell(r, kind, name, size);
}

// Something that was deleted or came into use since it was looked at is left alone.
static enum kb_code forgive(enum kb_code code)
{
    return code == KB_NOT_FOUND || code == KB_BAD_INPUT ? KB_OK : code;
}

// --- what nobody refers to

static bool is_old(const struct run *r, const struct stat *st)
{
    return st->st_mtim.tv_sec * 1000LL <= r->now_ms - ORPHAN_AGE_MS;
}

// If that is still its fate: under the write lock, so that no row takes it at the same time.
static enum kb_code remove_if(struct run *r, enum fate wanted, const char *folder, const char *name,
                              const struct file_name *parsed, struct kb_error *err)
{
    enum fate fate;
    if (r->params->dry_run) {
        remove_file(r, folder, name);
        return KB_OK;
    }
    enum kb_code code = store_begin(r->s, err);
    if (code != KB_OK)
        return code;
    code = file_fate(r->s, folder, name, parsed, &fate, err);
    if (code == KB_OK && fate == wanted)
        remove_file(r, folder, name);
    return store_end(r->s, code, err);
}

// Looks again where somebody may have begun to use it.
static enum kb_code remove_loose(struct run *r, const char *folder, const char *name,
                                 const struct file_name *parsed, struct kb_error *err)
{
    int64_t size = file_size(r, folder, name);
    if (r->params->dry_run) {
        tell(r, folder, name, size);
    } else if (strcmp(folder, "files") == 0 && !parsed->half) {
        CLEANUP(kb_freep) char *thumb = kb_printf("%s.jpg", name);
        CLEANUP(kb_freep) char *part = kb_printf("%s.part", name);
        int64_t thumb_size = file_size(r, "thumbs", thumb), part_size = file_size(r, folder, part);
        content_release(r->s, name, NULL);
        tell(r, folder, name, size);
        tell(r, folder, part, part_size);
        tell(r, "thumbs", thumb, thumb_size);
    } else if (strcmp(folder, "uploads") == 0 && !parsed->half) {
        upload_part_remove(r->s, parsed->stem);
        tell(r, folder, name, size);
    } else {
        return remove_if(r, FATE_LOOSE, folder, name, parsed, err);
    }
    return KB_OK;
}

static enum kb_code look_at_file(void *opaque, const char *folder, const char *name,
                                 const struct file_name *parsed, const struct stat *st,
                                 struct kb_error *err)
{
    struct run *r = opaque;
    enum fate fate;
    enum kb_code code = file_fate(r->s, folder, name, parsed, &fate, err);
    if (code != KB_OK || fate == FATE_KEPT)
        return code;
    if (fate == FATE_LOST && parsed->foreign)
        return KB_OK; // perhaps somebody's own file, put beside ours
    if (fate == FATE_LOST && r->params->lost)
        return remove_if(r, FATE_LOST, folder, name, parsed, err); // the user wants it gone
    if (fate == FATE_LOST)
        lost_count(&r->report->lost, folder, parsed, st->st_size);
    else if (is_old(r, st) || !parsed->half) // half a file may be in the making
        return remove_loose(r, folder, name, parsed, err);
    return KB_OK;
}

static enum kb_code look_at_work(void *opaque, const char *folder, const char *name,
                                 const struct file_name *parsed, const struct stat *st,
                                 struct kb_error *err)
{
    struct run *r = opaque;
    (void)parsed, (void)err;
    if (is_old(r, st))
        remove_file(r, folder, name);
    return KB_OK;
}

// Temporary files of workers that are no more.
static enum kb_code remove_work(struct run *r, struct kb_error *err)
{
    DIR *d = beneath_list(r->s->folder, "work");
    enum kb_code code = KB_OK;
    if (!d)
        return KB_OK;
    for (struct dirent *e; code == KB_OK && (e = readdir(d));) {
        int64_t n = 0;
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISDIR(st.st_mode))
            continue;
        CLEANUP(kb_freep) char *folder = kb_printf("work/%s", e->d_name);
        code = store_query_int(r->s, &n, err, "SELECT count(*) FROM worker WHERE id = ?", "t",
                               e->d_name);
        if (code == KB_OK && n == 0)
            code = folder_for_each(r->s, folder, look_at_work, r, err);
    }
    closedir(d);
    return code;
}

// Calls act for the text of the first column of each row; the rows are read before, so act may
// change them.
static enum kb_code for_each_id(struct run *r, enum kb_code code, sqlite3_stmt **rows,
                                enum kb_code (*act)(struct run *, const char *, struct kb_error *),
                                struct kb_error *err)
{
    CLEANUP(text_free) struct text ids = {0};
    for (; code == KB_OK; code = store_step(r->s, *rows, err)) {
        store_add_column(&ids, *rows, 0);
        text_add_bytes(&ids, "", 1);
    }
    store_reset(rows);
    code = code == KB_EOF ? KB_OK : code;
    for (size_t at = 0; code == KB_OK && at < ids.size; at += strlen(ids.data + at) + 1)
        code = forgive(act(r, ids.data + at, err));
    return code;
}

static enum kb_code expire_one(struct run *r, const char *id, struct kb_error *err)
{
    CLEANUP(kb_freep) char *name = kb_printf("%s.part", id);
    int64_t size = file_size(r, "uploads", name);
    bool removed = r->params->dry_run;
    enum kb_code code = removed ? KB_OK : asset_expire(r->s, id, &removed, err);
    if (removed)
        tell(r, "uploads", name, size);
    return code;
}

static enum kb_code expire_uploads(struct run *r, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        r->s, &q, err, "SELECT id FROM asset WHERE state = 'uploading' AND expires_ms < ?", "i",
        r->now_ms);
    return for_each_id(r, code, &q, expire_one, err);
}

static enum kb_code remove_leftovers(struct run *r, struct kb_error *err)
{
    static const char *const folders[] = {"results", "files", "thumbs", "uploads", "tracks"};
    enum kb_code code = expire_uploads(r, err);
    for (size_t i = 0; code == KB_OK && i < ARRAY_LEN(folders); i++)
        code = folder_for_each(r->s, folders[i], look_at_file, r, err);
    if (!r->params->dry_run)
        shelf_prune_all(r->s); // a crash may have come between the last file and its folder
    return code == KB_OK ? remove_work(r, err) : code;
}

// --- what may go by age

static enum kb_code list_results(struct run *r, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        r->s, &q, err, "SELECT id, result, ended_ms FROM job WHERE result IS NOT NULL", "");
    for (; code == KB_OK; code = store_step(r->s, q, err))
        add_item(r, (struct item){.what = ITEM_RESULT,
                                  .job = sqlite3_column_int64(q, 0),
                                  .name = store_column(q, 1),
                                  .time_ms = sqlite3_column_int64(q, 2)});
    return code == KB_EOF ? KB_OK : code;
}

// Contents are as old as their last use: the newest asset or batch that has them. Those that an
// unfinished job needs are not listed, nor those of people, nor those that are being looked at or
// become a result.
static enum kb_code list_contents(struct run *r, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        r->s, &q, err,
        "SELECT sha256, max(max(a.created_ms,"
        "  coalesce((SELECT max(b.created_ms) FROM batch b WHERE b.audio = a.id), 0),"
        "  coalesce((SELECT max(b.created_ms) FROM job j JOIN batch b ON b.id = j.batch"
        "            WHERE j.video = a.id), 0),"
        "  coalesce((SELECT max(b.created_ms) FROM job j JOIN batch b ON b.id = j.batch"
        "            WHERE j.audio = a.id), 0), coalesce(m.used_ms, 0)))"
        " FROM asset a LEFT JOIN (SELECT id, max(used_ms) AS used_ms FROM"
        "  (SELECT m.asset AS id, b.created_ms AS used_ms FROM material m"
        "   JOIN batch b ON b.id = m.batch) GROUP BY id) m ON m.id = a.id"
        " WHERE sha256 IS NOT NULL"
        " GROUP BY sha256 HAVING NOT max("
        "  a.job IS NOT NULL OR coalesce(a.lease_ms, 0) > ? OR"
        "  EXISTS (SELECT 1 FROM job j WHERE j.video = a.id AND j.state NOT IN " JOB_STATES_ENDED
        "  ) OR"
        "  EXISTS (SELECT 1 FROM job j WHERE j.audio = a.id AND j.state NOT IN " JOB_STATES_ENDED
        "  ) OR"
        "  EXISTS (SELECT 1 FROM batch b JOIN job j ON j.batch = b.id WHERE b.audio = a.id"
        "          AND j.state NOT IN " JOB_STATES_ENDED ") OR"
        "  a.id IN (SELECT m.asset FROM material m JOIN batch b ON b.id = m.batch"
        "           WHERE b.ended_ms IS NULL) OR"
        "  a.id IN (SELECT asset FROM person_asset))",
        "i", r->now_ms);
    for (; code == KB_OK; code = store_step(r->s, q, err))
        add_item(r, (struct item){.what = ITEM_CONTENT,
                                  .name = store_column(q, 0),
                                  .time_ms = sqlite3_column_int64(q, 1)});
    return code == KB_EOF ? KB_OK : code;
}

static enum kb_code list_track(void *opaque, const char *folder, const char *name,
                               const struct file_name *parsed, const struct stat *st,
                               struct kb_error *err)
{
    (void)folder, (void)err;
    if (!parsed->half)
        add_item(opaque, (struct item){.what = ITEM_TRACK,
                                       .name = kb_strdup(name),
                                       .time_ms = st->st_mtim.tv_sec * 1000LL});
    return KB_OK;
}

static int by_age(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

static enum kb_code delete_asset(struct run *r, const char *id, struct kb_error *err)
{
    return asset_delete(r->s, id, err);
}

// The assets that had the content when it was looked at; one that came since keeps it.
static enum kb_code delete_assets(struct run *r, const struct item *item, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(r->s, &q, err, "SELECT id FROM asset WHERE sha256 = ? AND created_ms <= ?",
                    "ti", item->name, r->now_ms);
    return for_each_id(r, code, &q, delete_asset, err);
}

static enum kb_code remove_item(struct run *r, struct item *item, struct kb_error *err)
{
    static const char *const kinds[] = {"results", "files", "tracks"};
    const char *kind = kinds[item->what];
    CLEANUP(kb_freep)
    char *thumb = item->what == ITEM_RESULT ? result_beside(item->name, ".jpg")
                                            : kb_printf("%s.jpg", item->name);
    const char *thumb_kind = item->what == ITEM_RESULT ? "results" : "thumbs";
    int64_t size = file_size(r, kind, item->name);
    int64_t thumb_size = item->what == ITEM_TRACK ? -1 : file_size(r, thumb_kind, thumb);
    enum kb_code code = KB_OK;
    item->gone = true;
    if (item->what == ITEM_TRACK) {
        remove_file(r, kind, item->name);
        return KB_OK;
    }
    if (!r->params->dry_run)
        code = item->what == ITEM_RESULT ? forgive(result_delete(r->s, item->job, err))
                                         : delete_assets(r, item, err);
    tell(r, kind, item->name, size);
    tell(r, thumb_kind, thumb, thumb_size);
    return code;
}

static enum kb_code delete_batch(struct run *r, const char *id, struct kb_error *err)
{
    return batch_delete(r->s, strtoll(id, NULL, 10), err);
}

// Rows that have no file (any more): batches, and addresses that could not be fetched.
static enum kb_code remove_old_rows(struct run *r, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code =
        store_query(r->s, &q, err, "SELECT id FROM batch WHERE ended_ms < ?", "i", r->cutoff_ms);
    code = for_each_id(r, code, &q, delete_batch, err);
    if (code != KB_OK)
        return code;
    code = store_query(r->s, &q, err,
                       "SELECT id FROM asset WHERE state = 'bad' AND sha256 IS NULL"
                       " AND created_ms < ?",
                       "i", r->cutoff_ms);
    return for_each_id(r, code, &q, delete_asset, err);
}

static enum kb_code remove_old(struct run *r, struct kb_error *err)
{
    const struct retention_params *p = r->params;
    enum kb_code code = list_results(r, err);
    if (code == KB_OK)
        code = list_contents(r, err);
    if (code == KB_OK)
        code = folder_for_each(r->s, "tracks", list_track, r, err);
    if (code != KB_OK)
        return code;
    if (r->n_items > 0)
        qsort(r->items, r->n_items, sizeof(*r->items), by_age);
    for (size_t i = 0; code == KB_OK && i < r->n_items; i++)
        if (r->items[i].time_ms < r->cutoff_ms)
            code = remove_item(r, &r->items[i], err);
    if (code == KB_OK && r->cutoff_ms > 0 && !p->dry_run)
        code = remove_old_rows(r, err);
    for (size_t i = 0; code == KB_OK && p->keep_bytes > 0 && i < r->n_items &&
                       r->report->bytes_left > p->keep_bytes;
         i++)
        if (!r->items[i].gone)
            code = remove_item(r, &r->items[i], err);
    return code;
}

// --- records that only grow

static enum kb_code trim_records(struct run *r, struct kb_error *err)
{
    int64_t oldest = 0;
    enum kb_code code = store_begin(r->s, err);
    if (code != KB_OK)
        return code;
    code = store_query_int(r->s, &oldest, err,
                           "SELECT rev FROM gone ORDER BY rev DESC LIMIT 1 OFFSET ?", "i",
                           (int64_t)GONE_ROWS);
    // Whoever knows a revision before this one has to load everything again.
    if (code == KB_OK && oldest > 0)
        code = store_exec(r->s, NULL, err, "DELETE FROM gone WHERE rev <= ?", "i", oldest);
    if (code == KB_OK && oldest > 0)
        code = store_exec(r->s, NULL, err, "UPDATE clock SET oldest = max(oldest, ?)", "i", oldest);
    if (code == KB_OK)
        code =
            store_exec(r->s, NULL, err, "DELETE FROM notice WHERE state <> 'due' AND next_ms < ?",
                       "i", r->now_ms - NOTICE_DAYS * DAY_MS);
    return store_end(r->s, code, err);
}

// What was to go and is gone. One that is young may be of a file that is yet to come.
static enum kb_code trim_loose(struct run *r, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(text_free) struct text gone = {0}; // kind, name, each with its NUL
    enum kb_code code =
        store_query(r->s, &q, err, "SELECT kind, name FROM loose WHERE since_ms < ?", "i",
                    r->now_ms - ORPHAN_AGE_MS);
    for (; code == KB_OK; code = store_step(r->s, q, err)) {
        const char *kind = (const char *)sqlite3_column_text(q, 0);
        const char *stem = (const char *)sqlite3_column_text(q, 1);
        bool halves = strcmp(kind, "halves") == 0, films = halves || strcmp(kind, "results") == 0;
        CLEANUP(kb_freep) char *film = films ? result_of_mark(stem) : kb_strdup(stem);
        const char *tail = halves || strcmp(kind, "uploads") == 0 ? ".part" : "";
        CLEANUP(kb_freep) char *name = kb_printf("%s%s", film, tail);
        CLEANUP(kb_freep) char *picture = result_beside(film, ".jpg");
        const char *folder = halves ? "results" : kind;
        const char *pictures = strcmp(kind, "files") == 0 ? "thumbs" : folder;
        if (file_size(r, folder, name) < 0 && (halves || file_size(r, pictures, picture) < 0)) {
            text_add_bytes(&gone, kind, strlen(kind) + 1);
            text_add_bytes(&gone, stem, strlen(stem) + 1);
        }
    }
    store_reset(&q);
    for (size_t at = 0; at < gone.size;) {
        const char *kind = gone.data + at, *stem = kind + strlen(kind) + 1;
        const char *folder = strcmp(kind, "halves") == 0 ? "results" : kind;
        if (file_settle(r->s, folder, stem) &&
            (strcmp(kind, "files") != 0 || file_settle(r->s, "thumbs", stem)))
            file_forget(r->s, kind, stem);
        at += strlen(kind) + strlen(stem) + 2;
    }
    return code == KB_EOF ? KB_OK : code;
}

enum kb_code retention_run(struct store *s, const struct retention_params *p, retention_fn *each,
                           void *opaque, struct retention_report *ret, struct kb_error *err)
{
    *ret = (struct retention_report){.bytes_left = folder_size(s->folder)};
    CLEANUP(run_free)
    struct run r = {
        .s = s, .params = p, .each = each, .opaque = opaque, .report = ret, .now_ms = kb_wall_ms()};
    if (p->of_any_age)
        r.cutoff_ms = r.now_ms + 1;
    else if (p->keep_days > 0)
        r.cutoff_ms = r.now_ms - p->keep_days * DAY_MS;
    enum kb_code code = remove_leftovers(&r, err);
    if (code == KB_OK)
        code = remove_old(&r, err);
    if (code == KB_OK && !p->dry_run)
        code = trim_records(&r, err);
    if (code == KB_OK && !p->dry_run)
        code = trim_loose(&r, err);
    if (code == KB_OK && !p->dry_run)
        code = lost_remember(s, &ret->lost, err);
    return code;
}
