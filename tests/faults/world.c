#include "tests/faults/world.h"

#include "tests/asset/assets.h"
#include "tests/faults/calls.h"

#include "media/writer.h"
#include "queue/retention.h"
#include "queue/sweep.h"
#include "store/fate.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define DAY_MS    (24 * 3600 * 1000LL)
#define N_CONTENT 40000

// --- bytes

void world_bytes(unsigned char *bytes, size_t n, uint32_t seed)
{
    make_bytes(bytes, n, seed);
}

static AVFrame *grey(void)
{
    AVFrame *frame = av_frame_alloc();
    frame->width = frame->height = 64;
    frame->format = AV_PIX_FMT_YUV420P;
    assert_int_equal(av_frame_get_buffer(frame, 0), 0);
    for (int i = 0; i < 3; i++)
        memset(frame->data[i], 120, (size_t)frame->linesize[i] * (i ? 32 : 64));
    return frame;
}

enum kb_code world_film(const char *path, struct kb_error *err)
{
    const struct writer_params p = {.width = 64,
                                    .height = 64,
                                    .frame_rate = {25, 1},
                                    .crf = 40,
                                    .preset = "ultrafast",
                                    .threads = 1};
    CLEANUP(writer_close) struct writer *w = NULL;
    calls_pause_memory();
    CLEANUP(av_frame_free) AVFrame *frame = grey();
    enum kb_code code = writer_open(&w, path, &p, err);
    for (int i = 0; code == KB_OK && i < 2; i++) {
        frame->pts = i * 40000;
        code = writer_put(w, frame, err);
    }
    if (code == KB_OK)
        code = writer_finish(w, err);
    writer_close(&w);
    calls_resume_memory();
    return code;
}

// --- making

static void put_file(const char *folder, const char *name, const void *bytes, size_t n)
{
    CLEANUP(kb_freep) char *path = path_join(folder, name);
    struct kb_error err = {0};
    assert_ok(err, file_write_atomic(path, bytes, n, &err));
}

static void age(const char *folder, const char *name)
{
    CLEANUP(kb_freep) char *path = path_join(folder, name);
    const struct timespec long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
}

static const unsigned char picture[] = {0xff, 0xd8, 0xff, 0xe0, 'k', 0xff, 0xd9};

// An asset that an inspector has looked at, with a thumbnail, under an id that tests know.
static void add_content(struct queue_test *t, const char *id, const char *kind, uint32_t seed,
                        const char *name)
{
    static unsigned char bytes[N_CONTENT];
    char made[33], sha256[65], thumb[80];
    world_bytes(bytes, sizeof(bytes), seed);
    upload(t, name, bytes, sizeof(bytes), made);
    assert_ok(t->err, store_exec(t->s, NULL, &t->err,
                                 "UPDATE asset SET id = ?1, state = 'ready', kind = ?3, thumbnail ="
                                 " 1, duration_ms = 1000, width = 64, height = 64 WHERE id = ?2",
                                 "ttt", id, made, kind));
    sha256_hex(sha256, bytes, sizeof(bytes));
    snprintf(thumb, sizeof(thumb), "thumbs/%s.jpg", sha256);
    put_file(t->folder, thumb, picture, sizeof(picture));
}

static int64_t add_batch_of(struct queue_test *t, const char *speech, const char *film)
{
    const char *const videos[] = {film};
    const struct batch_params p = {.audio = speech,
                                   .videos = (const char **)videos,
                                   .n_videos = 1,
                                   .priority = 5,
                                   .client = "127.0.0.1",
                                   .lang = "en"};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    return id;
}

// The next job, done with a film and its picture.
static void do_job(struct queue_test *t, int64_t wanted)
{
    struct job_claim c = claim(t, "w1");
    const struct dub_result r = {.frames = 2, .seconds = 0.08, .width = 64, .height = 64};
    assert_int_equal(c.job, wanted);
    assert_ok(t->err, world_film(c.output, &t->err));
    CLEANUP(kb_freep) char *thumb = result_beside(c.output, ".jpg");
    assert_ok(t->err, file_write_atomic(thumb, picture, sizeof(picture), &t->err));
    assert_ok(t->err, job_done(t->s, &c, &r, true, NULL, &t->err));
    job_claim_free(&c);
}

// What clean-ups find: an upload nobody went on with, a lost attempt's half, a content without a
// row, a track and a worker's file of last year.
static void add_waste(struct queue_test *t)
{
    static const char hex32[] = "abcdef0123456789abcdef0123456789";
    char id[33], sha256[65], name[120];
    struct asset_upload *u = NULL;
    create(t, "begun.mp4", 1000, id);
    assert_ok(t->err, asset_upload_open(&u, t->s, id, &t->err));
    assert_ok(t->err, asset_upload_write(u, "abc", 3, &t->err));
    assert_ok(t->err, asset_upload_close(&u, t->s, false, NULL, &t->err));
    run_sql(t, "UPDATE asset SET expires_ms = 1 WHERE state = 'uploading'");
    sha256_hex(sha256, "loose", 5);
    snprintf(name, sizeof(name), "files/%s", sha256);
    put_file(t->folder, name, "loose", 5);
    assert_ok(t->err, file_loosen(t->s, "files", sha256, &t->err));
    snprintf(name, sizeof(name), "tracks/%s.kbt", hex32);
    put_file(t->folder, name, "track", 5);
    age(t->folder, name);
    CLEANUP(kb_freep) char *work = path_join(t->folder, "work/w9");
    assert_ok(t->err, file_make_dirs(work, &t->err));
    snprintf(name, sizeof(name), "work/w9/%s.wav", hex32);
    put_file(t->folder, name, "speech", 6);
    age(t->folder, name);
    CLEANUP(kb_freep) char *shelf = path_join(t->folder, "results/9_gone");
    assert_ok(t->err, file_make_dirs(shelf, &t->err));
    put_file(t->folder, "results/9_gone/a_b_2025-01-01.mp4.part", "half", 4);
    age(t->folder, "results/9_gone/a_b_2025-01-01.mp4.part");
    assert_ok(t->err, file_loosen(t->s, "halves", "9_gone/a_b_2025-01-01", &t->err));
}

void world_make(const char *folder)
{
    struct queue_test t = {0};
    static const char old_speech[] = "00000000000000000000000000000003";
    static const char old_film[] = "00000000000000000000000000000004";
    snprintf(t.folder, sizeof(t.folder), "%s", folder);
    assert_ok(t.err, store_open(&t.s, folder, true, &t.err));
    add_content(&t, WORLD_SPEECH, "audio", 1, "speech.wav");
    add_content(&t, WORLD_FILM, "video", 2, "film.mp4");
    add_content(&t, old_speech, "audio", 3, "old.wav");
    add_content(&t, old_film, "video", 4, "old.mp4");
    add_batch_of(&t, WORLD_SPEECH, WORLD_FILM);
    do_job(&t, WORLD_KEPT_JOB);
    add_batch_of(&t, WORLD_SPEECH, WORLD_FILM);
    run_sql(&t, "UPDATE batch SET paused = 1 WHERE id = 2");
    add_batch_of(&t, old_speech, old_film);
    do_job(&t, WORLD_OLD_JOB);
    run_sql(&t, "UPDATE batch SET paused = 0 WHERE id = 2");
    add_waste(&t);
    run_sql(&t, "UPDATE asset SET created_ms = 1 WHERE name LIKE 'old%';"
                "UPDATE job SET created_ms = 1, ended_ms = 1 WHERE id = 3;"
                "UPDATE batch SET created_ms = 1, ended_ms = 1 WHERE id = 3");
    store_close(&t.s);
}

// Its results lie in results/ itself; nothing of what came later is there.
void world_make_old(const char *folder, int version)
{
    struct kb_error err = {0};
    struct queue_test t = {0};
    CLEANUP(kb_freep) char *path = path_join(folder, "koubo.db");
    char sha256[65], name[80], film[300];
    sqlite3 *db = NULL;
    assert_ok(err, store_open(&t.s, folder, true, &err)); // makes the folders
    store_close(&t.s);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (int v = 1; v <= version; v++)
        assert_int_equal(sqlite3_exec(db, v == 1 ? store_schema : store_schema_2, NULL, NULL, NULL),
                         SQLITE_OK);
    sha256_hex(sha256, "content", 7);
    snprintf(name, sizeof(name), "files/%s", sha256);
    put_file(folder, name, "content", 7);
    snprintf(film, sizeof(film), "%s/results/1-1.mp4", folder);
    assert_ok(err, world_film(film, &err));
    struct stat st;
    assert_int_equal(stat(film, &st), 0);
    CLEANUP(kb_freep)
    char *sql = kb_printf(
        "PRAGMA journal_mode = WAL; PRAGMA user_version = %d;"
        "INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, lang, created_ms)"
        " VALUES (1, 'b', 'a', 'a.wav', '{}', 5, 1, 'en', 1);"
        "INSERT INTO job(id, batch, video, name, result_name, position, attempts, state,"
        " state_since_ms, created_ms, result, result_size) VALUES"
        " (1, 1, 'v', 'v', 'v.mp4', 1, 1, 'done', 1, 1, '1-1.mp4', %lld),"
        " (2, 1, 'v', 'v', 'w.mp4', 2, 0, 'queued', 1, 1, NULL, NULL);"
        "INSERT INTO asset(id, state, kind, name, size, sha256, faces, attempts, created_ms) VALUES"
        " ('v', 'ready', 'video', 't', 7, '%s', 2, 1, 1), ('a', 'ready', 'audio', 'o', 7, '%s', 0,"
        " 1, 1)",
        version, (long long)st.st_size, sha256, sha256);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

void world_choose_disk(void)
{
    struct statvfs memory;
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &memory) == 0 &&
        memory.f_bavail * memory.f_frsize > 256000000)
        setenv("TMPDIR", "/dev/shm", 0);
}

// --- copying

static struct {
    const char *from, *to;
} copying;

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)at;
    CLEANUP(kb_freep) char *to = kb_printf("%s%s", copying.to, path + strlen(copying.from));
    if (type == FTW_D)
        return mkdir(to, 0755);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    bool ok = in >= 0 && out >= 0 && file_copy(out, in, st->st_size, NULL);
    futimens(out, times);
    close(in);
    close(out);
    return ok ? 0 : -1;
}

void world_copy(const char *to, const char *from)
{
    copying.from = from;
    copying.to = to;
    if (nftw(from, copy_one, 16, FTW_PHYS) != 0)
        fail_msg("cannot copy %s to %s", from, to);
}
