// Real worker processes on a store of made-up batches: what test_worker.c and test_supervisor.c
// share. Materials are made once in the folder of the group, stores lie in folders of their own.
#ifndef TESTS_JOB_WORKERS_H
#define TESTS_JOB_WORKERS_H

#include "tests/cli/program.h"
#include "tests/queue/queue.h"

#include "asset/asset.h"
#include "worker/worker.h"
#include "queue/batch.h"

#include <ftw.h>
#include <signal.h>

#define PHOTO "node_modules/@vladmandic/face-api/demo/sample1.jpg"

// A still person is the quickest video; long_video gives time to see each stage. With
// ThreadSanitizer a third of it gives that: it makes looking for faces ten times as slow.
#ifdef __SANITIZE_THREAD__
#define LONG_VIDEO_S 2
#else
#define LONG_VIDEO_S 6
#endif
static const char *photo, *speech, *long_speech, *longest_speech, *long_video;

static inline int make_materials(void **state)
{
    // In its cage a worker cannot be looked at for leaks, and it is to die of a signal, not of a
    // report about one.
    setenv("ASAN_OPTIONS", "detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0", 1);
    if (folder_setup(state) != 0)
        return -1;
    photo = source_path(PHOTO);
    speech = make_tone("speech.wav", 0.6);
    long_speech = make_tone("long.wav", 6);
    longest_speech = make_tone("longest.wav", 30);
    long_video = in_folder("long.mp4");
    struct outcome r = {0};
    RUN(&r, "generate", "-a", make_tone("film.wav", LONG_VIDEO_S), "-i", photo, "-o", long_video,
        "--height", "360", "-q", "--no-cache");
    assert_status(&r, 0);
    free(r.out);
    free(r.err);
    return 0;
}

// The id of an uploaded copy of path, as the user calls it.
static inline const char *upload(struct queue_test *t, const char *name, const char *path)
{
    static char ids[8][33];
    char *id = ids[t->n_assets++ % 8];
    struct asset_params p = {.name = name, .size_bytes = -1, .client = "127.0.0.1", .lang = "en"};
    assert_ok(t->err, asset_add_file(t->s, &p, path, id, &t->err));
    return id;
}

// The batch of one speech and n videos.
static inline int64_t start_batch(struct queue_test *t, const char *audio,
                                  const char *const *videos, int n)
{
    struct batch_params p = {.audio = audio,
                             .videos = videos,
                             .n_videos = n,
                             .options = "{\"preset\":\"medium\"}",
                             .priority = 5,
                             .client = "127.0.0.1",
                             .lang = "en"};
    int64_t id = 0;
    assert_ok(t->err, batch_create(t->s, &p, &id, &t->err));
    return id;
}

static inline int64_t start_job(struct queue_test *t, const char *name, const char *path)
{
    const char *video = upload(t, "长.mp4", long_video);
    int64_t batch = start_batch(t, upload(t, name, path), &video, 1);
    return ask(t, "SELECT id FROM job WHERE batch = %lld", (long long)batch);
}

// One job that takes a second or a few.
static inline int64_t start_long_job(struct queue_test *t)
{
    return start_job(t, "long.wav", long_speech);
}

// One that is still at work when the test comes to ending it, however quick the machine is.
static inline int64_t start_longest_job(struct queue_test *t)
{
    return start_job(t, "longest.wav", longest_speech);
}

// Until the expression (SQL) is true; fails after a minute, or a few with sanitizers.
#define WAIT_FOR(t, ...)                                                                           \
    do {                                                                                           \
        int64_t end_ = kb_now_us() + 100000000;                                                    \
        while (!ask(t, __VA_ARGS__)) {                                                             \
            if (kb_now_us() > end_)                                                                \
                fail_msg("waited too long for: " __VA_ARGS__);                                     \
            usleep(3000);                                                                          \
        }                                                                                          \
    } while (0)

static inline void wait_for_state(struct queue_test *t, int64_t job, const char *state)
{
    WAIT_FOR(t,
             "SELECT state = '%s' OR (state IN " JOB_STATES_ENDED
             " AND '%s' NOT IN " JOB_STATES_ENDED ") FROM job WHERE id = %lld",
             state, state, (long long)job);
    if (!ask(t, "SELECT state = '%s' FROM job WHERE id = %lld", state, (long long)job)) {
        json_t *j = job_of(t, job);
        fail_msg("job %lld: waited for %s: %s", (long long)job, state, json_dumps(j, 0));
    }
}

// The sentence of a job's error, "" without one; free it.
static inline char *error_of(struct queue_test *t, int64_t job)
{
    json_t *j = job_of(t, job);
    const json_t *error = json_object_get(j, "error");
    char *text = kb_strdup(json_is_object(error) ? get_text(error, "text") : "");
    json_decref(j);
    return text;
}

// As output_of(), the whole path.
static inline char *output_path(struct queue_test *t, int64_t job, const char *tail)
{
    CLEANUP(kb_freep) char *name = output_of(t, job, tail);
    return path_join(t->folder, name);
}

static int n_entries;
static inline int count_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    n_entries += type == FTW_F;
    return 0;
}
static inline int count_files(struct queue_test *t, const char *kind)
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, kind);
    n_entries = 0;
    nftw(path, count_entry, 16, FTW_PHYS);
    return n_entries;
}

#endif
