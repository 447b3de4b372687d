// Who plays with a machine in test_node.c: the head with its depot, a Redis, and the machine's
// workers, which do quickly and plainly what the content of the video says.
#ifndef TESTS_CLUSTER_NODE_PLAY_H
#define TESTS_CLUSTER_NODE_PLAY_H

#include "tests/cluster/bad.h"
#include "tests/cluster/redis_server.h"
#include "tests/cli/program.h"

#include "asset/asset.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/place.h"
#include "cluster/node.h"
#include "cluster/node_internal.h"
#include "store/sql.h"
#include "worker/line.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PHOTO      "node_modules/@vladmandic/face-api/demo/sample1.jpg"
#define PATIENCE   (INT64_C(100) * 1000000) // on a machine that is very busy
#define MOST_FILES 64
#define GO_FILE    "go" // in the data folder: slow films end

// --- the depot

struct depot_play {
    struct bad server;
    struct {
        char sha256[65];
        char *data;
        size_t size;
    } files[MOST_FILES];
    int n_files;
    atomic_int n_gets, n_held;
    atomic_bool hold;   // a file does not come to its end
    atomic_size_t cut;  // so much of it comes first
    size_t spared;      // one of fewer bytes comes whole
    atomic_bool busy;   // no results now
    atomic_bool ranged; // somebody went on in the middle
    char *result;
    size_t size;
};

static void send_content(struct depot_play *d, int fd, const char *head)
{
    const char *sha256 = head + strlen("GET /api/v1/depot/files/");
    CLEANUP(kb_freep) char *range = bad_header(head, "Range");
    size_t from = range ? strtoul(range + strlen("bytes="), NULL, 10) : 0;
    int i = 0;
    while (i < d->n_files && strncmp(d->files[i].sha256, sha256, 64) != 0)
        i++;
    if (i == d->n_files) {
        bad_text(fd, "404 Gone", "");
        return;
    }
    d->n_gets++;
    if (range && from > 0)
        d->ranged = true;
    size_t size = d->files[i].size;
    CLEANUP(kb_freep)
    char *part = kb_printf("Content-Range: bytes %zu-%zu/%zu\r\n", from, size - 1, size);
    CLEANUP(kb_freep)
    char *answer = kb_printf("HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n",
                             range ? "206 Part" : "200 OK", size - from, range ? part : "");
    bad_say(fd, answer, strlen(answer));
    bool hold = d->hold && size >= d->spared;
    size_t first = hold ? KB_MIN(d->cut, size - from) : size - from;
    bad_say(fd, d->files[i].data + from, first);
    d->n_held += hold;
    pthread_mutex_unlock(&d->server.lock); // others are answered meanwhile
    for (struct pollfd p = {.fd = fd, .events = POLLIN}; hold && d->hold && poll(&p, 1, 20) == 0;)
        ; // until the client is gone
    pthread_mutex_lock(&d->server.lock);
    bad_say(fd, d->files[i].data + from + first, size - from - first);
}

static void take_bytes(struct depot_play *d, int fd, const char *head, const char *body, size_t n)
{
    const char *offset = strstr(head, "&offset="), *size = strstr(head, "&size=");
    assert_non_null(offset);
    assert_non_null(size);
    if (strtoul(offset + 8, NULL, 10) == 0)
        d->size = 0;
    d->result = realloc(d->result, d->size + n + 1);
    memcpy(d->result + d->size, body, n);
    d->size += n;
    d->result[d->size] = '\0';
    if (d->size == strtoul(size + 6, NULL, 10))
        bad_text(fd, "204 Done", "");
}

static void play_depot(struct bad *b, int fd, const char *head, const char *body, size_t n)
{
    struct depot_play *d = b->ctx;
    if (text_begins(head, "GET /api/v1/depot/files/"))
        send_content(d, fd, head);
    else if (d->busy)
        bad_text(fd, "503 Busy", "");
    else if (text_begins(head, "GET /api/v1/depot/results/"))
        bad_text(fd, "200 OK", "{\"offset\": 0}");
    else
        take_bytes(d, fd, head, body, n);
}

// --- the head

static struct redis_server redis_server;

static int group_setup(void **state)
{
    redis_server_start(&redis_server, NULL);
    return folder_setup(state);
}

static int group_teardown(void **state)
{
    redis_server_stop(&redis_server);
    return folder_teardown(state);
}

struct play {
    char folder[256]; // the machine's
    char secret[NODE_SECRET_BYTES];
    char prefix[24]; // of its streams: the Redis is that of all tests
    struct redis *redis;
    struct depot_play depot;
    pid_t node;
    const char *head_state;
    char after[WIRE_ID_BYTES], boot[17], pulse[WIRE_NONCE_BYTES];
    int64_t pulse_us;
    json_t *told; // what was heard and not asked for yet, without beats
    json_t *beat; // the last one
    int n_beats, silence;
    struct kb_error err;
};

static inline void begin_pulse(struct play *t)
{
    while (wire_set_pulse(t->redis, t->pulse, &t->err) != KB_OK)
        usleep(10000);
    t->pulse_us = kb_now_us();
    snprintf(t->after, sizeof(t->after), "0");
}

static int play_setup(void **state)
{
    struct play *t = kb_alloc(sizeof(*t));
    const char *temporary = getenv("TMPDIR");
    snprintf(t->folder, sizeof(t->folder), "%s/koubo-node-XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(t->folder));
    kb_random_hex(t->secret, NODE_SECRET_BYTES - 1);
    kb_random_hex(t->pulse, WIRE_NONCE_BYTES - 1);
    snprintf(t->prefix, sizeof(t->prefix), "?prefix=%s", t->folder + strlen(t->folder) - 6);
    CLEANUP(kb_freep) char *url = redis_server_url(&redis_server, t->prefix);
    assert_ok(t->err, redis_open(&t->redis, &(struct redis_params){.url = url}, &t->err));
    bad_start(&t->depot.server, play_depot, &t->depot);
    t->told = json_array();
    t->head_state = "active";
    begin_pulse(t);
    *state = t;
    return 0;
}

static int stop_node(struct play *t, int number)
{
    int status = 0;
    if (!t->node)
        return 0;
    if (number)
        kill(t->node, number);
    waitpid(t->node, &status, 0);
    t->node = 0;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int play_teardown(void **state)
{
    struct play *t = *state;
    t->depot.hold = false;
    stop_node(t, SIGKILL);
    bad_stop(&t->depot.server);
    for (int i = 0; i < t->depot.n_files; i++)
        free(t->depot.files[i].data);
    free(t->depot.result);
    json_decref(t->told);
    json_decref(t->beat);
    redis_close(&t->redis);
    place_remove(t->folder);
    free(t);
    return 0;
}

// how: "workers=2", "koubo" (real ones), "cache=BYTES", "min-free=BYTES", "drain=MS", or NULL.
static inline void start_node(struct play *t, const char *how)
{
    CLEANUP(kb_freep) char *url = redis_server_url(&redis_server, t->prefix);
    CLEANUP(kb_freep) char *depot = kb_printf("http://127.0.0.1:%d", t->depot.server.port);
    CLEANUP(kb_freep) char *go_file = path_join(t->folder, GO_FILE);
    char *arguments[] = {(char *)"test", (char *)"node",           url, depot, t->secret,
                         t->folder,      (char *)(how ? how : ""), NULL};
    unlink(go_file);
    pid_t parent = getpid();
    t->node = fork();
    assert_true(t->node >= 0);
    if (t->node > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (how && strcmp(how, "koubo") == 0) // in its cage a worker cannot be looked at for leaks
        setenv("ASAN_OPTIONS", "detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0", 1);
    if (getppid() == parent)
        execv("/proc/self/exe", arguments);
    _exit(127);
}

static inline void kill_node(struct play *t)
{
    assert_int_equal(stop_node(t, SIGKILL), -SIGKILL);
    json_array_clear(t->told); // what comes from now on is of the next one
    struct wire_told told[64];
    for (int n = 1; n > 0;) {
        assert_ok(t->err, wire_hear(t->redis, t->after, 10, told, 64, &n, NULL, &t->err));
        for (int i = 0; i < n; i++)
            wire_told_free(&told[i]);
    }
}

static inline void let_go(struct play *t)
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, GO_FILE);
    assert_ok(t->err, file_write_atomic(path, "x", 1, &t->err));
}

static inline const char *get_text(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text ? text : "(none)";
}

static inline long long get_int(const json_t *json, const char *key)
{
    return (long long)json_number_value(json_object_get(json, key));
}

static inline void tell_order(struct play *t, json_t *body)
{
    assert_ok(t->err, wire_order(t->redis, "n1", t->secret, body, &t->err));
}

static inline void order(struct play *t, const char *is, int job, int lease)
{
    tell_order(t, json_pack("{s:s, s:i, s:i}", "is", is, "job", job, "lease", lease));
}

static inline void over(struct play *t, int job, int lease)
{
    order(t, "over", job, lease);
}

static inline void say_state(struct play *t)
{
    struct kb_error why = {0};
    kb_fail(&why, KB_BAD_INPUT, "this machine is %s", "of another version");
    json_t *body = json_pack("{s:s, s:s}", "is", "state", "state", t->head_state);
    if (strcmp(t->head_state, "refused") == 0)
        json_object_set_new(body, "why", json_string(why.kept));
    tell_order(t, body);
}

static inline void hear_beat(struct play *t, json_t *beat)
{
    const char *boot = get_text(beat, "boot");
    json_decref(t->beat);
    t->beat = json_incref(beat);
    t->n_beats++;
    if (strcmp(boot, t->boot) != 0) {
        snprintf(t->boot, sizeof(t->boot), "%s", boot);
        say_state(t);
    }
}

static inline void hear_all(struct play *t)
{
    struct wire_told told[64];
    int n = 0;
    if (kb_now_us() - t->pulse_us > 10000000)
        begin_pulse(t);
    assert_ok(t->err, wire_hear(t->redis, t->after, 50, told, 64, &n, NULL, &t->err));
    siginfo_t ended = {0};
    t->silence = n > 0 ? 0 : t->silence + 1;
    if (t->silence > 20 && t->node &&
        waitid(P_PID, (id_t)t->node, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid)
        fail_msg("the machine has ended");
    for (int i = 0; i < n; i++) {
        assert_true(wire_is_by(&told[i], t->secret));
        assert_string_equal(told[i].nonce, t->pulse);
        assert_string_equal(told[i].node, "n1");
        if (strcmp(wire_is(told[i].body), "beat") == 0)
            hear_beat(t, told[i].body);
        else
            json_array_append(t->told, told[i].body);
        wire_told_free(&told[i]);
    }
}

static inline json_t *take_told(struct play *t, const char *is, int job)
{
    for (size_t i = 0; i < json_array_size(t->told); i++) {
        json_t *m = json_array_get(t->told, i);
        if (strcmp(wire_is(m), is) != 0 || get_int(m, "job") != job)
            continue;
        json_incref(m);
        json_array_remove(t->told, i);
        return m;
    }
    return NULL;
}

static inline bool was_told(struct play *t, const char *is, int job)
{
    json_t *m = take_told(t, is, job);
    json_decref(m);
    return m != NULL;
}

// The next message of that name about that job.
static inline json_t *hear(struct play *t, const char *is, int job)
{
    for (int64_t end = kb_now_us() + PATIENCE; kb_now_us() < end; hear_all(t)) {
        json_t *m = take_told(t, is, job);
        if (m)
            return m;
    }
    CLEANUP(kb_freep) char *all = json_dumps(t->told, 0);
    CLEANUP(kb_freep) char *beat = t->beat ? json_dumps(t->beat, 0) : NULL;
    fail_msg("'%s' of job %d was not heard; but %s; %s", is, job, all, beat ? beat : "no beat");
    return NULL;
}

// A beat from now on in which key is that number.
static inline json_t *wait_beat(struct play *t, const char *key, int value)
{
    int n = t->n_beats;
    for (int64_t end = kb_now_us() + PATIENCE; kb_now_us() < end; hear_all(t))
        if (t->n_beats > n && json_object_get(t->beat, key) && get_int(t->beat, key) == value)
            return json_incref(t->beat);
    CLEANUP(kb_freep) char *beat = t->beat ? json_dumps(t->beat, 0) : NULL;
    fail_msg("no beat with %s %d; the last: %s", key, value, beat ? beat : "(none)");
    return NULL;
}

// The job in a beat from now on, when it has come to that stage.
static inline json_t *wait_stage(struct play *t, int job, enum stage stage)
{
    int n = t->n_beats;
    for (int64_t end = kb_now_us() + PATIENCE; kb_now_us() < end; hear_all(t)) {
        json_t *jobs = t->n_beats > n ? json_object_get(t->beat, "jobs") : NULL;
        for (size_t i = 0; i < json_array_size(jobs); i++) {
            json_t *j = json_array_get(jobs, i);
            if (get_int(j, "job") == job && get_int(j, "stage") == (int)stage)
                return json_incref(j);
        }
    }
    fail_msg("job %d did not come to stage %d", job, (int)stage);
    return NULL;
}

// No jobs are here.
static inline void wait_gone(struct play *t)
{
    int n = t->n_beats;
    for (int64_t end = kb_now_us() + PATIENCE; kb_now_us() < end; hear_all(t))
        if (t->n_beats > n && json_array_size(json_object_get(t->beat, "jobs")) == 0)
            return;
    fail_msg("jobs stay");
}

static inline void offer(struct play *t, int job, int lease)
{
    char id[WIRE_ID_BYTES];
    assert_ok(t->err, wire_offer(t->redis, job, lease, id, &t->err));
}

static inline void hash_of(char ret[65], const void *data, size_t n)
{
    unsigned char digest[32];
    EVP_Digest(data, n, digest, NULL, EVP_sha256(), NULL);
    bytes_hex(ret, digest, sizeof(digest));
}

// Puts a content into the depot, padded with blanks to pad bytes; it is taken.
static inline const char *put_content(struct play *t, char *data, size_t size, size_t pad)
{
    struct depot_play *d = &t->depot;
    assert_true(d->n_files < MOST_FILES);
    if (pad > size) {
        data = realloc(data, pad);
        memset(data + size, ' ', pad - size);
        size = pad;
    }
    char *name = d->files[d->n_files].sha256;
    hash_of(name, data, size);
    d->files[d->n_files].data = data;
    d->files[d->n_files].size = size;
    d->n_files++;
    return name;
}

struct given {
    const char *audio, *video, *mouth, *model; // contents
    const char *odd;                           // in a role that nobody knows
    const char *audio_path, *video_path;       // or files
    size_t pad;
    int64_t video_size; // that it is said to have
    bool unseen;        // no inspector has looked at them yet
    bool damaged;       // a byte of the video comes as another one
};

static inline void give(struct play *t, json_t *files, const struct given *g, const char *role,
                        const char *content, const char *path, const char *tail, int64_t size)
{
    if (!content && !path)
        return;
    struct file_map map = {0};
    if (path)
        assert_ok(t->err, file_map(&map, path, &t->err));
    size_t n = path ? map.size : strlen(content);
    char *data = malloc(n);
    memcpy(data, path ? (const char *)map.data : content, n);
    file_unmap(&map);
    const char *sha256 = put_content(t, data, n, g->pad);
    CLEANUP(kb_freep) char *name = kb_printf("%s%s", content ? content : "file", tail);
    bool sound = strcmp(role, "audio") == 0, model = strcmp(role, "model") == 0;
    json_t *facts = json_pack("{s:s, s:i, s:i, s:i, s:f, s:s, s:i, s:[], s:n, s:[]}", "kind",
                              sound ? "audio" : "video", "duration_ms", 1000, "width",
                              sound ? 0 : 64, "height", sound ? 0 : 64, "fps", 25.0, "codec",
                              "h264", "faces", 1, "face_boxes", "face_boxes_at", "warnings");
    if (model || g->unseen) {
        json_decref(facts);
        facts = json_null();
    }
    json_array_append_new(
        files,
        json_pack("{s:s, s:s, s:I, s:s, s:o}", "role", role, "sha256", sha256, "size",
                  (json_int_t)(size ? size : (int64_t)t->depot.files[t->depot.n_files - 1].size),
                  "name", name, "facts", facts));
}

static inline void go(struct play *t, int job, int lease, const struct given *g)
{
    json_t *files = json_array();
    give(t, files, g, "audio", g->audio, g->audio_path, ".wav", 0);
    give(t, files, g, "video", g->video, g->video_path, g->video_path ? ".jpg" : ".mp4",
         g->video_size);
    struct depot_play *d = &t->depot;
    if (g->damaged)
        d->files[d->n_files - 1].data[d->files[d->n_files - 1].size - 1] ^= 1;
    give(t, files, g, "mouth_from", g->mouth, NULL, ".mov", 0);
    give(t, files, g, "perfume", g->odd, NULL, ".bin", 0);
    give(t, files, g, "model", g->model, NULL, ".pth", 0);
    json_t *options = json_pack("{s:s}", "loop", "freeze");
    if (g->model)
        json_object_set_new(options, "model", json_string("net"));
    CLEANUP(kb_freep) char *note = kb_printf("{\"koubo\":1,\"job\":%d}", job);
    tell_order(t, json_pack("{s:s, s:i, s:i, s:i, s:o, s:o, s:s, s:s, s:[f, f, f], s:s, s:s}", "is",
                            "go", "job", job, "lease", lease, "attempt", 1, "files", files,
                            "options", options, "output_name", "film_speech.mp4", "note", note,
                            "face_at", -1.0, 0.0, -1.0, "lang", "en", "batch_name", "news"));
}

// Offered, taken, and let go: one speech and that video.
static inline void begin(struct play *t, int job, int lease, const char *video)
{
    offer(t, job, lease);
    json_decref(hear(t, "taken", job));
    go(t, job, lease, &(struct given){.audio = "speech", .video = video, .pad = 2000});
}

// What was sent is what was told; it holds what the worker was told.
static inline json_t *arrived(struct play *t, int job, const json_t *done)
{
    char sha256[65];
    hash_of(sha256, t->depot.result, t->depot.size);
    assert_string_equal(sha256, get_text(done, "sha256"));
    assert_int_equal(t->depot.size, get_int(done, "size"));
    json_t *json = json_loads(t->depot.result, 0, NULL);
    assert_non_null(json);
    return json;
}

// Files, in all folders below that one of the data folder.
static inline int count_below(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        CLEANUP(kb_freep) char *inner = path_join(path, e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || lstat(inner, &st) != 0)
            continue;
        n += S_ISDIR(st.st_mode) ? count_below(inner) : 1;
    }
    if (d)
        closedir(d);
    return n;
}

static inline int count_files(struct play *t, const char *folder)
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, folder);
    return count_below(path);
}

// Until a file in that folder has so many bytes.
static inline void wait_bytes(struct play *t, const char *folder, int64_t n)
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, folder);
    for (int64_t end = kb_now_us() + PATIENCE; kb_now_us() < end; usleep(5000)) {
        int64_t most = 0;
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));) {
            struct stat st;
            if (fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
                most = KB_MAX(most, (int64_t)st.st_size);
        }
        if (d)
            closedir(d);
        if (most >= n)
            return;
    }
    fail_msg("nothing comes into %s", folder);
}

// A job of the machine's own queue that rests before its next attempt need not.
static inline void end_pauses(struct play *t)
{
    struct store *s = NULL;
    int n = 0;
    assert_ok(t->err, store_open(&s, t->folder, false, &t->err));
    for (int64_t end = kb_now_us() + PATIENCE; n == 0 && kb_now_us() < end; usleep(10000))
        assert_ok(t->err,
                  store_exec(s, &n, &t->err,
                             "UPDATE job SET not_before_ms = 0 WHERE not_before_ms > 0", ""));
    store_close(&s);
    assert_true(n > 0);
}

static inline char *read_log(struct play *t)
{
    struct file_map map = {0};
    CLEANUP(kb_freep) char *log = path_join(t->folder, "logs/koubo.log");
    assert_ok(t->err, file_map(&map, log, &t->err));
    char *text = kb_printf("%.*s", (int)map.size, (const char *)map.data);
    file_unmap(&map);
    return text;
}

static inline void wait_log(struct play *t, const char *text)
{
    for (int64_t end = kb_now_us() + PATIENCE; kb_now_us() < end; hear_all(t)) {
        CLEANUP(kb_freep) char *log = read_log(t);
        if (strstr(log, text))
            return;
    }
    fail_msg("the log never says '%s'", text);
}

// --- the machine

static struct cancel play_cancel, play_hurry;

static void play_signal(int number)
{
    (void)number;
    if (cancel_requested(&play_cancel))
        cancel_request(&play_hurry);
    cancel_request(&play_cancel);
}

static int play_node(int argc, char **argv)
{
    assert_int_equal(argc, 7);
    const char *how = argv[6], *value = strchr(how, '=');
    long long number = value ? atoll(value + 1) : 0;
    struct kb_error err = {0};
    bool real = strcmp(how, "koubo") == 0;
    struct node_params p = {
        .name = "n1",
        .redis = argv[2],
        .depot = argv[3],
        .secret = argv[4],
        .version = "9.9.9",
        .cache_bytes = text_begins(how, "cache=") ? number : -1,
        .drain_ms = text_begins(how, "drain=") ? number : 60000,
        .cancel = &play_cancel,
        .hurry = &play_hurry,
        .supervisor = {.data = argv[5],
                       .program = real ? getenv("KOUBO_PROGRAM") : NULL,
                       .n_workers = text_begins(how, "workers=") ? (int)number : 1,
                       .worker = {.parent_fd = -1,
                                  .min_free_bytes = text_begins(how, "min-free=") ? number : 0}}};
    signal(SIGTERM, play_signal);
    signal(SIGPIPE, SIG_IGN);
    enum kb_code code = node_run(&p, &err);
    if (code != KB_OK)
        fprintf(stderr, "# node: %s\n", err.text);
    return code == KB_OK ? 0 : 1;
}

// --- its workers

static char *read_content(const char *folder, const char *name)
{
    struct file_map map = {0};
    CLEANUP(kb_freep) char *path = name ? path_join(folder, name) : NULL;
    if (!path || file_map(&map, path, NULL) != KB_OK)
        return kb_strdup("");
    char *text = kb_printf("%.*s", (int)map.size, (const char *)map.data);
    file_unmap(&map);
    text[strcspn(text, "\n")] = '\0';
    for (size_t n = strlen(text); n > 0 && text[n - 1] == ' ';)
        text[--n] = '\0';
    return text;
}

static void say(json_t *message)
{
    if (!line_send(STDIN_FILENO, false, message))
        _exit(0);
}

static void say_row(const char *state)
{
    say(json_pack("{s:s, s:s, s:i}", "is", "worker", "state", state, "rss", 1));
}

// The next message within ms, or NULL.
static json_t *next_message(int ms)
{
    json_t *m = NULL;
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    poll(&p, 1, ms);
    enum line_state state = line_receive(STDIN_FILENO, &m);
    if (state == LINE_ENDED || state == LINE_BAD)
        _exit(0);
    return state == LINE_MESSAGE ? m : NULL;
}

static void say_failed(enum kb_code code, const char *text)
{
    struct kb_error why = {0};
    kb_fail(&why, code, "%s", text);
    say(line_error("failed", &why));
}

static void write_result(const char *data, const char *id, const json_t *job)
{
    CLEANUP(kb_freep) char *files = path_join(data, "files");
    const json_t *material = json_array_get(json_object_get(job, "materials"), 0);
    CLEANUP(kb_freep)
    char *mouth = read_content(files, json_string_value(json_object_get(material, "sha256")));
    json_t *options = json_loads(get_text(job, "options"), 0, NULL);
    const char *models = getenv("KOUBO_FETCHED_MODELS");
    CLEANUP(kb_freep)
    char *model =
        read_content(models ? models : "", json_string_value(json_object_get(options, "model")));
    json_t *result = json_deep_copy(job);
    json_object_set_new(result, "mouth_holds", json_string(mouth));
    json_object_set_new(result, "model_holds", json_string(model));
    CLEANUP(kb_freep) char *text = json_dumps(result, 0);
    CLEANUP(kb_freep) char *name = kb_printf("work/%s/%s.mp4", id, get_text(job, "file"));
    CLEANUP(kb_freep) char *path = path_join(data, name);
    file_write_atomic(path, text, strlen(text), NULL);
    json_decref(options);
    json_decref(result);
}

// Until the file "go" is there (true), or it is cancelled.
static bool take_time(const char *data)
{
    CLEANUP(kb_freep) char *path = path_join(data, GO_FILE);
    for (int i = 1;; i++) {
        json_t *m = next_message(20);
        bool stop = m != NULL;
        json_decref(m);
        if (stop)
            return false;
        if (access(path, F_OK) == 0)
            return true;
        if (i % 10 == 1)
            say(json_pack("{s:s, s:i, s:i, s:i, s:f}", "is", "at", "stage", STAGE_GENERATING,
                          "done", KB_MIN(i, 10000), "total", 10000, "fps", 25.0));
    }
}

static void do_job(const char *data, const char *id, const json_t *job)
{
    CLEANUP(kb_freep) char *files = path_join(data, "files");
    CLEANUP(kb_freep) char *film = read_content(files, get_text(job, "video"));
    CLEANUP(kb_freep) char *crashed = path_join(data, "crashed");
    say(json_pack("{s:s}", "is", "loaded"));
    json_t *m = NULL;
    while (!(m = next_message(100)))
        ;
    json_decref(m);
    if (text_begins(film, "bad")) {
        say_failed(KB_BAD_INPUT, "there is no face in it");
    } else if (text_begins(film, "once") && access(crashed, F_OK) != 0) {
        file_write_atomic(crashed, "x", 1, NULL);
        _exit(3);
    } else if (text_begins(film, "slow") && !take_time(data)) {
        say_failed(KB_CANCELLED, "cancelled");
    } else {
        write_result(data, id, job);
        say(json_pack("{s:s, s:i, s:i, s:f, s:i, s:i, s:b, s:[f, f, f, f, f]}", "is", "done",
                      "frames", 10, "animated", 9, "seconds", 0.4, "width", 64, "height", 64,
                      "picture", 0, "stages", 0.0, 0.1, 0.2, 0.3, 0.1));
    }
}

_Noreturn static void play_worker(int argc, char **argv)
{
    const char *data = NULL, *id = NULL;
    for (int i = 2; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--data") == 0)
            data = argv[i + 1];
        else if (strcmp(argv[i], "--id") == 0)
            id = argv[i + 1];
    }
    assert_non_null(data);
    assert_non_null(id);
    say_row("idle");
    say(json_pack("{s:s}", "is", "next"));
    for (;;) {
        json_t *m = next_message(500);
        if (m && strcmp(line_is(m), "job") == 0) {
            say_row("busy");
            do_job(data, id, m);
            say_row("idle");
            say(json_pack("{s:s}", "is", "next"));
        }
        say_row("idle");
        json_decref(m);
    }
}

#endif
