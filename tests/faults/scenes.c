#include "tests/faults/scenes.h"

#include "tests/asset/assets.h"
#include "tests/faults/calls.h"

#include "asset/claim.h"
#include "asset/upload.h"
#include "base/file.h"
#include "queue/batch.h"
#include "queue/lease.h"
#include "queue/remote.h"
#include "queue/result.h"
#include "queue/retention.h"
#include "server/api/zip.h"
#include "server/pool.h"
#include "store/backup.h"
#include "store/lock.h"
#include "store/names.h"
#include "store/replace.h"
#include "worker/internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>

#define RETENTION_DAYS 30

static enum kb_code open_store(struct store **s, const char *folder, struct kb_error *err)
{
    return store_open(s, folder, true, err);
}

static bool wrong(char why[WORLD_WHY], const char *fmt, ...) KB_PRINTF(2, 3);
static bool wrong(char why[WORLD_WHY], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, WORLD_WHY, fmt, args);
    va_end(args);
    return false;
}

static const unsigned char *uploaded(void)
{
    static unsigned char bytes[SCENE_BYTES];
    world_bytes(bytes, sizeof(bytes), 77);
    return bytes;
}

// --- an upload in two parts, as tus sends it: what is missing, up to that offset

static enum kb_code send_up_to(struct store *s, struct ledger *l, int64_t end, struct kb_error *err)
{
    struct asset_upload *u = NULL;
    bool complete = false;
    enum kb_code code = asset_upload_open(&u, s, l->asset, err);
    if (code != KB_OK)
        return code;
    int64_t at = asset_upload_offset(u);
    if (at < l->offset)
        kb_fail(err, KB_INTERNAL, "only %lld of %lld kept bytes are there; look", (long long)at,
                (long long)l->offset);
    while (code == KB_OK && at < end) {
        size_t n = (size_t)KB_MIN(end - at, 20000);
        code = asset_upload_write(u, uploaded() + at, n, err);
        at += (int64_t)n;
    }
    enum kb_code closed = asset_upload_close(&u, s, false, &complete, code == KB_OK ? err : NULL);
    code = code == KB_OK ? closed : code;
    if (code == KB_OK)
        l->offset = at;
    l->filed = code == KB_OK && complete;
    return code;
}

static enum kb_code run_upload(struct store *s, const char *folder, struct ledger *l,
                               struct kb_error *err)
{
    const struct asset_params p = {
        .name = "new.mp4", .size_bytes = SCENE_BYTES, .client = "me", .lang = "en"};
    struct asset a = {0};
    char id[33];
    enum kb_code code = l->asset[0] ? KB_OK : asset_create(s, &p, id, err);
    (void)folder;
    if (code != KB_OK)
        return code;
    if (!l->asset[0])
        memcpy(l->asset, id, sizeof(id));
    code = asset_find(s, l->asset, &a, err);
    if (code == KB_OK && a.sha256[0]) { // the answer got lost, the file did not
        l->filed = true;
        return KB_OK;
    }
    if (code == KB_OK && l->offset < SCENE_BYTES / 2)
        code = send_up_to(s, l, SCENE_BYTES / 2, err);
    return code == KB_OK ? send_up_to(s, l, SCENE_BYTES, err) : code;
}

static bool check_upload(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    struct asset a = {0};
    struct kb_error err = {0};
    if (!l->asset[0])
        return true;
    if (asset_find(s, l->asset, &a, &err) != KB_OK)
        return wrong(why, "the upload was made and is gone: %s", err.text);
    if (l->filed && !a.sha256[0])
        return wrong(why, "the upload was answered as whole and is '%s'", a.state);
    CLEANUP(kb_freep) char *whole = a.sha256[0] ? asset_path(s, a.sha256) : NULL;
    CLEANUP(kb_freep) char *part = kb_printf("%s/uploads/%s.part", s->folder, l->asset);
    CLEANUP(file_unmap) struct file_map m = {0};
    file_map(&m, whole ? whole : part, &err);
    if ((int64_t)m.size < l->offset || m.size > SCENE_BYTES)
        return wrong(why, "%lld bytes were answered as kept, %zu are there", (long long)l->offset,
                     m.size);
    if (m.size > 0 && memcmp(m.data, uploaded(), (size_t)(whole ? (int64_t)m.size : l->offset)))
        return wrong(why, "the bytes of the upload are others than were sent");
    return true;
}

// --- a file of this machine (/easy/submit, --share)

static enum kb_code run_copy(struct store *s, const char *folder, struct ledger *l,
                             struct kb_error *err)
{
    const struct asset_params p = {.name = "shared.mp4", .client = "me", .lang = "en"};
    CLEANUP(kb_freep) char *path = kb_printf("%s.shared", folder); // beside it
    if (l->filed)
        return KB_OK;
    if (!file_exists(path) && file_write_cached(path, uploaded(), SCENE_BYTES, err) != KB_OK)
        return err->code;
    char id[33];
    enum kb_code code = asset_add_file(s, &p, path, id, err);
    if (code != KB_OK)
        return code;
    memcpy(l->asset, id, sizeof(id));
    l->offset = SCENE_BYTES;
    l->filed = true;
    return KB_OK;
}

// --- a batch

static enum kb_code run_batch(struct store *s, const char *folder, struct ledger *l,
                              struct kb_error *err)
{
    const char *const videos[] = {WORLD_FILM, WORLD_FILM};
    const struct batch_params p = {.audio = WORLD_SPEECH,
                                   .videos = (const char **)videos,
                                   .n_videos = 2,
                                   .name = "made",
                                   .priority = 5,
                                   .client = "me",
                                   .lang = "en"};
    int64_t id;
    (void)folder;
    enum kb_code code = l->job ? KB_OK : batch_create(s, &p, &id, err);
    if (code == KB_OK && !l->job)
        l->job = id;
    if (code == KB_OK && !l->done)
        code = batch_cancel(s, l->job, err);
    if (code == KB_BAD_INPUT && l->job && strstr(err->text, "has ended already"))
        code = KB_OK; // the answer got lost
    l->done = code == KB_OK;
    return code;
}

static bool check_batch(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    if (world_ask(s, "SELECT count(*) FROM batch b WHERE name = 'made' AND"
                     " (SELECT count(*) FROM job WHERE batch = b.id) <> 2") != 0)
        return wrong(why, "a batch has some of its jobs only");
    return l->job == 0 || world_ask(s, "SELECT count(*) FROM batch WHERE name = 'made'") > 0 ||
           wrong(why, "the batch was made and is not there");
}

// --- a job, from its claim to its end: the server's side of worker/broker.c, and a worker whose
// words are few

static bool hear(struct seat *seat, json_t *message)
{
    json_auto_t *m = message;
    return m && seat_hear(seat, m);
}

// What a worker does: it says how far it is, writes the film into its folder and says so.
static void work(struct seat *seat, const char *folder)
{
    static const unsigned char picture[] = {0xff, 0xd8, 0xff, 0xe0, 'k', 0xff, 0xd9};
    CLEANUP(kb_freep)
    char *film = kb_printf("%s/%s/%s.mp4", folder, seat->folder, seat->file);
    CLEANUP(kb_freep)
    char *thumb = kb_printf("%s/%s/%s.jpg", folder, seat->folder, seat->file);
    struct kb_error ignored = {0};
    if (world_film(film, &seat->why) != KB_OK) {
        seat->ending = ENDED_BADLY;
        return;
    }
    int pictured = file_write_atomic(thumb, picture, sizeof(picture), &ignored) == KB_OK;
    calls_pause_memory(); // a worker's own: it would end, and that is what "killed" tries
    if (!hear(seat,
              json_pack("{s:s, s:i, s:i, s:f, s:i, s:i, s:b, s:[f, f, f, f, f]}", "is", "done",
                        "frames", 2, "animated", 0, "seconds", 0.08, "width", 64, "height", 64,
                        "picture", pictured, "stages", 0.0, 0.1, 0.1, 0.1, 0.1)))
        seat->ending = ENDED_BACK;
    calls_resume_memory();
}

// Is the job done, as a page shows it? *err: else what it says instead.
static bool ended_well(struct store *s, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    calls_hold();
    bool done = world_ask(s, "SELECT count(*) FROM job WHERE id = 2 AND state = 'done'") == 1;
    if (!done) // nothing could be written: the sweep finds a job whose worker is gone
        kb_fail(err, KB_INTERNAL, "nothing is written down yet; the sweep will");
    if (!done &&
        store_query(s, &q, err, "SELECT say(error) FROM job WHERE id = 2 AND error IS NOT NULL",
                    "") == KB_OK)
        kb_fail(err, KB_INTERNAL, "%s", (const char *)sqlite3_column_text(q, 0));
    calls_go_on();
    return done;
}

static enum kb_code run_seat(struct store *s, struct seat *seat, struct ledger *l,
                             struct kb_error *err)
{
    enum kb_code code = harvest_clear(s->folder, seat->folder, err);
    if (code == KB_OK)
        code = seat_give_job(seat, s, 0, err);
    if (code == KB_EOF)
        return KB_OK; // done already, and the answer got lost
    if (code != KB_OK)
        return code;
    l->job = seat->claim.job;
    seat->report = (struct job_report){.stage = STAGE_GENERATING, .done = 1, .total = 2};
    seat->report_new = true;
    seat_write_job(seat, s, err); // a report that is lost costs nothing
    work(seat, s->folder);
    for (int i = 0; i < 3 && seat->has_job; i++) // the broker asks again and again
        code = seat_write_job(seat, s, err);
    if (code == KB_OK && !ended_well(s, err))
        code = KB_INTERNAL;
    l->done = l->done || code == KB_OK;
    return code;
}

static enum kb_code run_job(struct store *s, const char *folder, struct ledger *l,
                            struct kb_error *err)
{
    struct seat seat = {.worker = "w1", .folder = "work/w1", .pid = (int)getpid(), .clean = true};
    int ends[2];
    (void)folder;
    if (line_pair(ends, err) != KB_OK)
        return err->code;
    seat.line = ends[0];
    enum kb_code code = run_seat(s, &seat, l, err);
    seat_drop(&seat);
    close(ends[0]);
    close(ends[1]);
    return code;
}

// --- a job of another machine, from its claim until its result has its place

static const unsigned char thumb[] = {0xff, 0xd8, 0xff, 0xe0, 'k', 0xff, 0xd9};

// What is missing of the film, then what an inspector says of it.
static enum kb_code receive(struct store *s, const char *id, const struct file_map *film,
                            struct kb_error *err)
{
    struct asset_upload *u = NULL;
    struct asset a = {0};
    const struct asset_facts f = {.kind = "video",
                                  .duration_ms = 80,
                                  .width = 64,
                                  .height = 64,
                                  .n_faces = -1,
                                  .thumbnail = true};
    enum kb_code code = asset_find(s, id, &a, err);
    if (code == KB_OK && !a.sha256[0])
        code = asset_upload_open(&u, s, id, err);
    if (code == KB_OK && u) {
        size_t at = (size_t)asset_upload_offset(u);
        code = asset_upload_write(u, film->data + at, film->size - at, err);
        enum kb_code closed =
            asset_upload_close(&u, s, code == KB_OK, NULL, code == KB_OK ? err : NULL);
        code = code == KB_OK ? closed : code;
    }
    if (code == KB_OK)
        code = asset_find(s, id, &a, err);
    if (code != KB_OK || strcmp(a.state, "new") != 0)
        return code;
    CLEANUP(kb_freep) char *picture = kb_printf("%s/thumbs/%s.jpg", s->folder, a.sha256);
    code = file_write_atomic(picture, thumb, sizeof(thumb), err);
    return code == KB_OK ? asset_set_facts(s, id, &f, err) : code;
}

static enum kb_code find_remote(struct store *s, struct remote *ret, struct kb_error *err)
{
    struct job_claim c = {0};
    int n = 0;
    enum kb_code code = remote_get(s, WORLD_NEW_JOB, ret, err);
    if (code != KB_NOT_FOUND)
        return code;
    code = remote_claim(s, 0, &c, 1, &n, err);
    job_claim_free(&c);
    return code == KB_OK ? remote_get(s, WORLD_NEW_JOB, ret, err) : code;
}

static enum kb_code bring(struct store *s, const struct remote *r, const struct file_map *film,
                          struct kb_error *err)
{
    char sha256[65], id[33];
    const struct dub_result told = {.frames = 2, .seconds = 0.08, .width = 64, .height = 64};
    struct remote_report p = {.job = r->job, .lease = r->lease, .at = {STAGE_GENERATING, 1, 2, 0}};
    sha256_hex(sha256, film->data, film->size);
    enum kb_code code = remote_offered(s, r->job, r->lease, "1-0", err);
    if (code == KB_OK)
        code = remote_taken(s, r->job, r->lease, "n1", err);
    if (code == KB_OK)
        remote_report(s, "n1", &p, 1, err); // one that is lost costs nothing
    if (code == KB_OK)
        code = remote_result(s, r->job, r->lease, "n1", sha256, (int64_t)film->size, &told, err);
    if (code == KB_OK)
        code = remote_asset(s, r->job, r->lease, "n1", id, err);
    return code == KB_OK ? receive(s, id, film, err) : code;
}

static enum kb_code run_remote(struct store *s, const char *folder, struct ledger *l,
                               struct kb_error *err)
{
    struct remote r = {0};
    struct remote_end end;
    CLEANUP(file_unmap) struct file_map film = {0};
    CLEANUP(kb_freep) char *path = kb_printf("%s.shared", folder); // beside it
    enum kb_code code = file_exists(path) ? KB_OK : world_film(path, err);
    if (code == KB_OK)
        code = file_map(&film, path, err);
    if (code == KB_OK)
        code = find_remote(s, &r, err);
    if (code == KB_EOF)
        return KB_OK; // it has ended, and the answer got lost
    l->job = r.job;
    if (code == KB_OK)
        code = bring(s, &r, &film, err);
    while (code == KB_OK)
        code = remote_settle(s, &end, err);
    code = code == KB_EOF ? KB_OK : code;
    if (code == KB_OK && !ended_well(s, err))
        code = KB_INTERNAL;
    l->done = l->done || code == KB_OK;
    return code;
}

static bool check_job(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    return !l->done ||
           world_ask(s, "SELECT count(*) FROM job WHERE id = 2 AND state = 'done'"
                        " AND result IS NOT NULL") == 1 ||
           wrong(why, "the job was answered as done and is not");
}

// --- a result gets another name, and goes

static enum kb_code run_result(struct store *s, const char *folder, struct ledger *l,
                               struct kb_error *err)
{
    (void)folder;
    enum kb_code code = l->renamed ? KB_OK : result_rename(s, WORLD_KEPT_JOB, "better", err);
    l->renamed = l->renamed || code == KB_OK;
    if (code == KB_OK)
        code = result_delete(s, WORLD_OLD_JOB, err);
    if (code == KB_NOT_FOUND)
        code = KB_OK; // gone already
    l->deleted = l->deleted || code == KB_OK;
    return code;
}

static bool check_result(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    CLEANUP(result_free) struct result r = {0};
    struct kb_error err = {0};
    if (result_find(s, WORLD_KEPT_JOB, &r, &err) != KB_OK)
        return wrong(why, "the result that was to be renamed is gone: %s", err.text);
    if (l->renamed && strcmp(r.name, "better.mp4") != 0) // its file may keep its name (result.h)
        return wrong(why, "the result was renamed and is called %s", r.name);
    CLEANUP(result_free) struct result old = {0};
    if (l->deleted && result_find(s, WORLD_OLD_JOB, &old, &err) == KB_OK)
        return wrong(why, "the result was deleted and is there");
    return true;
}

// --- both results as a zip

static struct pool *zip_pool;

static enum kb_code begin_zip(struct store **s, const char *folder, struct kb_error *err)
{
    zip_pool = pool_create(folder);
    return open_store(s, folder, err);
}

static enum kb_code run_zip(struct store *s, const char *folder, struct ledger *l,
                            struct kb_error *err)
{
    static char block[10000];
    int64_t n = 0;
    (void)s;
    snprintf(l->zip, sizeof(l->zip), "%s.zip", folder);
    int fd = open(l->zip, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct zip_stream *z = zip_stream_create(folder, zip_pool, "Missing:");
    zip_stream_add(z, WORLD_KEPT_JOB, "a", "one.mp4");
    zip_stream_add(z, WORLD_OLD_JOB, "a", "one.mp4");
    bool written = true;
    while ((n = zip_stream_read(z, block, sizeof(block))) > 0)
        written = write(fd, block, (size_t)n) == n && written;
    zip_stream_free(z);
    pool_free(&zip_pool);
    close(fd);
    if (n == -1 && written)
        l->done = true;
    return n == -1 ? KB_OK : kb_fail(err, KB_INTERNAL, "broken off; said in the log");
}

// One that ended well holds both, or says which is missing.
static bool check_zip(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    (void)s;
    if (!l->done)
        return true;
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    char *all = NULL;
    int n = 0;
    bool missing = false, ok = true;
    archive_read_support_format_zip(a);
    ok = archive_read_open_filename(a, l->zip, 10240) == ARCHIVE_OK;
    while (ok && archive_read_next_header(a, &e) == ARCHIVE_OK) {
        int64_t size = archive_entry_size(e);
        all = realloc(all, (size_t)size + 1);
        ok = archive_read_data(a, all, (size_t)size) == size;
        missing = missing || strcmp(archive_entry_pathname(e), "MISSING.txt") == 0;
        n += strstr(archive_entry_pathname(e), "one") != NULL;
    }
    free(all);
    archive_read_free(a);
    return (ok && (n == 2 || missing)) ||
           wrong(why, "the zip ended well and holds %d of 2%s", n, ok ? "" : ", unreadable");
}

// --- the clean-up

static enum kb_code run_retention(struct store *s, const char *folder, struct ledger *l,
                                  struct kb_error *err)
{
    const struct retention_params p = {.keep_days = RETENTION_DAYS};
    struct retention_report report;
    (void)folder;
    enum kb_code code = retention_run(s, &p, NULL, NULL, &report, err);
    l->done = code == KB_OK;
    return code;
}

static bool check_retention(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    if (world_ask(s, "SELECT count(*) FROM job WHERE id IN (1, 2)") != 2 ||
        world_ask(s, "SELECT count(*) FROM job WHERE id = 1 AND result IS NOT NULL") != 1 ||
        world_ask(s, "SELECT count(*) FROM asset WHERE name IN ('speech.wav', 'film.mp4')") != 2)
        return wrong(why, "the clean-up took what is young");
    return !l->done || world_ask(s, "SELECT count(*) FROM asset WHERE name LIKE 'old%'") == 0 ||
           wrong(why, "the clean-up ended well and left what is old");
}

// --- opening: a new folder, and those of older versions

static enum kb_code run_open(struct store *s, const char *folder, struct ledger *l,
                             struct kb_error *err)
{
    struct store *opened = NULL;
    (void)s;
    enum kb_code code = store_open(&opened, folder, true, err);
    store_close(&opened);
    l->done = l->done || code == KB_OK;
    return code;
}

// --- a backup, and one that takes the database's place

static enum kb_code run_backup(struct store *s, const char *folder, struct ledger *l,
                               struct kb_error *err)
{
    (void)s;
    enum kb_code code = backup_make(folder, "daily", NULL, NULL, err);
    l->n_backups += code == KB_OK;
    return code;
}

static bool check_backup(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    struct kb_error err = {0};
    int n = 0, daily = 0;
    if (backup_list(s->folder, &list, &n, &err) != KB_OK)
        return wrong(why, "the backups cannot be listed: %s", err.text);
    for (int i = 0; i < n; i++)
        daily += strcmp(list[i].why, "daily") == 0;
    return daily >= l->n_backups ||
           wrong(why, "%d backups were made, %d are there", l->n_backups, daily);
}

// The folder has one, and a batch more than that.
static enum kb_code begin_exchange(struct store **s, const char *folder, struct kb_error *err)
{
    (void)s;
    CLEANUP(store_close) struct store *opened = NULL;
    enum kb_code code = backup_make(folder, "daily", NULL, NULL, err);
    if (code == KB_OK)
        code = store_open(&opened, folder, true, err);
    return code == KB_OK ? batch_rename(opened, 2, "later", err) : code;
}

static enum kb_code exchange(const char *folder, struct kb_error *err)
{
    CLEANUP(kb_freep) struct backup *list = NULL;
    CLEANUP(kb_freep) char *to = path_join(folder, "koubo.db.part");
    int n = 0;
    enum kb_code code = backup_list(folder, &list, &n, err);
    while (code == KB_OK && n > 0 && strcmp(list[n - 1].why, "daily") != 0)
        n--;
    if (code == KB_OK && n == 0)
        return kb_fail(err, KB_NOT_FOUND, "the backup is gone; look");
    CLEANUP(kb_freep)
    char *from = code == KB_OK ? kb_printf("%s/backups/%s", folder, list[n - 1].name) : NULL;
    if (code == KB_OK)
        code = backup_copy(from, to, NULL, err);
    return code == KB_OK ? replace_database(folder, "koubo.db.part", NULL, err) : code;
}

static enum kb_code run_exchange(struct store *s, const char *folder, struct ledger *l,
                                 struct kb_error *err)
{
    int lock = -1;
    (void)s;
    enum kb_code code = folder_lock(&lock, folder, err);
    if (code == KB_OK)
        code = exchange(folder, err);
    folder_unlock(lock);
    l->done = l->done || code == KB_OK;
    return code;
}

// Either of the two is there, whole.
static bool check_exchange(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    int64_t later = world_ask(s, "SELECT name = 'later' FROM batch WHERE id = 2");
    if (later < 0)
        return wrong(why, "neither the old database nor the new one is there");
    return !l->done || later == 0 || wrong(why, "the backup was put back and is not there");
}

static bool check_migrated(struct store *s, const struct ledger *l, char why[WORLD_WHY])
{
    (void)l;
    return world_ask(s, "SELECT (SELECT count(*) FROM job) = 2 AND (SELECT count(*) FROM asset)"
                        " = 2 AND (SELECT count(*) FROM job WHERE result = '1-1.mp4') = 1") == 1 ||
           wrong(why, "rows of the old version are missing");
}

const struct scene scenes[] = {
    {.name = "upload",
     .every_cut = true,
     .begin = open_store,
     .run = run_upload,
     .check = check_upload},
    {.name = "copy", .begin = open_store, .run = run_copy, .check = check_upload},
    {.name = "batch", .begin = open_store, .run = run_batch, .check = check_batch},
    {.name = "job", .every_cut = true, .begin = open_store, .run = run_job, .check = check_job},
    {.name = "remote", .begin = open_store, .run = run_remote, .check = check_job},
    {.name = "result", .begin = open_store, .run = run_result, .check = check_result},
    {.name = "zip", .begin = begin_zip, .run = run_zip, .check = check_zip},
    {.name = "retention", .begin = open_store, .run = run_retention, .check = check_retention},
    {.name = "backup", .begin = open_store, .run = run_backup, .check = check_backup},
    {.name = "exchange",
     .alone = true,
     .begin = begin_exchange,
     .run = run_exchange,
     .check = check_exchange},
    {.name = "open", .alone = true, .empty = true, .run = run_open},
    {.name = "migration 1", .alone = true, .version = 1, .run = run_open, .check = check_migrated},
    {.name = "migration 2", .alone = true, .version = 2, .run = run_open, .check = check_migrated},
};
const int n_scenes = (int)ARRAY_LEN(scenes);

void scene_play(const struct scene *sc, const char *folder, struct ledger *l, void (*armed)(void *),
                void *opaque)
{
    struct store *s = NULL;
    struct kb_error err = {0};
    calls_watch(folder);
    enum kb_code code = sc->begin ? sc->begin(&s, folder, &err) : KB_OK;
    if (code == KB_OK) {
        armed(opaque);
        code = sc->run(s, folder, l, &err);
    }
    calls_mend();
    snprintf(l->text, sizeof(l->text), "%s", code == KB_OK ? "" : err.text);
    l->code = code;
    l->ended = true;
    store_close(&s);
}
