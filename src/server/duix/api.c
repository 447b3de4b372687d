// The API of the Duix engine, so that its clients work with koubo unchanged; docs/easy.md says
// what is the same and what is better. All answers are 200 with a code of their own.
#include "server/internal.h"

#include "asset/asset.h"
#include "asset/signature.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/uri.h"
#include "base/utf8.h"
#include "queue/batch.h"
#include "queue/job.h"
#include "queue/result.h"
#include "server/api/fields.h"
#include "server/duix/codes.h"
#include "server/duix/delivery.h"
#include "server/errand.h"
#include "server/upload/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOTE_AGAIN_MS 200 // when what became of a code could not be noted

enum easy_code {
    EASY_OK = 10000,
    EASY_BUSY = 10001,
    EASY_BAD_PARAMETER = 10002,
    EASY_NO_TASK = 10004,
    EASY_SYSTEM_ERROR = 9999,
};

enum easy_status { EASY_RUNNING = 1, EASY_SUCCEEDED, EASY_FAILED };

// Sentences may quote names of any bytes, or be cut inside a letter by whoever kept them; JSON has
// no place for either.
static json_t *text_json(const char *sentence)
{
    CLEANUP(kb_freep) char *clean = utf8_clean(sentence);
    return json_string(clean);
}

// An answer as JSON; data becomes its own, NULL = {}.
static void add_answer(struct text *ret, enum easy_code code, const char *msg, json_t *data)
{
    json_t *answer =
        json_pack("{s:i, s:b, s:o, s:o}", "code", (int)code, "success", code == EASY_OK, "msg",
                  text_json(msg), "data", data ? data : json_object());
    char *json = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    text_add(ret, json ? json : "{\"code\":9999,\"success\":false,\"msg\":\"\",\"data\":{}}");
    free(json);
    json_decref(answer);
}

static void answer(struct request *r, enum easy_code code, const char *msg, json_t *data)
{
    CLEANUP(text_free) struct text json = {0};
    add_answer(&json, code, msg, data);
    reply_json(r, 200, text_get(&json));
}

// --- files of the shared folder

// The part of a name below the shared folder, which stands for the engine's /code/data.
static const char *below_share(const char *name, const char *share)
{
    static const char container[] = "/code/data/";
    size_t n = strlen(share);
    while (n > 1 && share[n - 1] == '/')
        n--;
    if (text_begins(name, container))
        name += strlen(container);
    else if (strncmp(name, share, n) == 0 && name[n] == '/')
        name += n;
    return name + strspn(name, "/");
}

static int open_beneath(int folder, const char *name)
{
    struct open_how how = {
        // Without O_NONBLOCK a named pipe would hold the thread.
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, folder, name, &how, sizeof(how));
}

// Names of files as programs on other machines write them are none here: which one to give instead.
static enum kb_code refuse_foreign(const char *field, const char *name, struct kb_error *err)
{
    const char *last = name;
    for (const char *c = name; *c; c++)
        if (*c == '/' || *c == '\\')
            last = c + 1;
    if (!*last)
        last = "person.mp4";
    const char *fmt = strncasecmp(name, "file:", 5) == 0
                          ? _("%s: '%.*s' is a file:// address, which is not read; put the file "
                              "into the shared folder and give its name, '%.*s', or give an "
                              "http(s) address")
                          : _("%s: '%.*s' is a path of Windows, which means nothing here; put the "
                              "file into the shared folder and give its name, '%.*s', or give an "
                              "http(s) address");
    return kb_fail(err, KB_BAD_INPUT, fmt, field, utf8_fit(name, 150), name, utf8_fit(last, 100),
                   last);
}

static bool is_foreign(const char *name)
{
    bool drive = ((name[0] | 0x20) >= 'a' && (name[0] | 0x20) <= 'z') && name[1] == ':' &&
                 (name[2] == '/' || name[2] == '\\');
    return strncasecmp(name, "file:", 5) == 0 || drive || strchr(name, '\\');
}

// The file that name means, open for reading. A bare name lies in temp/, as clients expect.
static enum kb_code open_shared(const char *share, const char *field, const char *name, int *ret,
                                struct kb_error *err)
{
    if (!share)
        return kb_fail(err, KB_BAD_INPUT,
                       _("%s is a file name, but this server shares no folder: give an http(s) "
                         "address, or start it with --share FOLDER"),
                       field);
    int folder = open(share, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return kb_fail(err, KB_UNAVAILABLE, _("the shared folder cannot be opened: %s"),
                       kb_strerror(errno));
    const char *below = below_share(name, share);
    CLEANUP(kb_freep) char *in_temp = kb_printf("temp/%s", below);
    int fd = *below ? open_beneath(folder, in_temp) : -1;
    if (fd < 0 && *below)
        fd = open_beneath(folder, below);
    int saved = errno;
    close(folder);
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        if (signature_of_file(fd)) {
            *ret = fd;
            return KB_OK;
        }
        close(fd); // or the share would give away what else lies in it
        return kb_fail(err, KB_BAD_INPUT,
                       _("%s: '%.*s' is no sound, video or picture: its content does not begin "
                         "like one"),
                       field, utf8_fit(name, 200), name);
    }
    if (fd >= 0)
        close(fd);
    else if (saved == ENOSYS || saved == EPERM)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("this system cannot open files of a shared folder safely (openat2: %s)"),
                       kb_strerror(saved));
    if (is_foreign(name)) // here a backslash is a letter like others, so it was looked for first
        return refuse_foreign(field, name, err);
    return kb_fail(err, KB_NOT_FOUND,
                   _("%s: there is no file '%.*s' in the shared folder; give a name below it, or "
                     "an http(s) address"),
                   field, utf8_fit(name, 200), name);
}

// --- submitting

struct source {
    char *text; // address or name
    int fd;     // of the file, -1 for an address
};

struct submit {
    char *data, *client, *code;
    char lang[4];
    struct source audio, video;
    char *defaults; // the server's options
    bool pingpong;
    bool marked;        // with the AI label, whatever the server does otherwise
    int64_t keep_bytes; // --min-free
};

static void submit_free(void *ctx)
{
    struct submit *s = ctx;
    struct source *const sources[] = {&s->audio, &s->video};
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        if (sources[i]->fd >= 0)
            close(sources[i]->fd);
        free(sources[i]->text);
    }
    free(s->data);
    free(s->defaults);
    free(s->client);
    free(s->code);
    free(s);
}

// Others may be copying, too: what was free when the task was admitted need not be free any more.
static enum kb_code has_room(void *ctx, struct kb_error *err)
{
    const struct submit *s = ctx;
    return upload_check_room(s->data, s->keep_bytes, UPLOAD_CHECK_BYTES, err);
}

static enum kb_code make_asset(struct store *store, const struct submit *s,
                               const struct source *source, const struct cancel *cancel,
                               char ret_id[33], struct kb_error *err)
{
    const struct asset_care care = {cancel, has_room, (void *)s};
    struct asset_params p = {.client = s->client, .lang = s->lang, .size_bytes = -1, .care = &care};
    if (source->fd < 0)
        return asset_create_url(store, &p, source->text, ret_id, err);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", source->fd);
    p.name = path_name(source->text);
    return asset_add_file(store, &p, path, ret_id, err);
}

static enum kb_code make_batch(struct store *store, const struct submit *s, const char *audio,
                               const char *video, int64_t *ret_job, struct kb_error *err)
{
    CLEANUP(kb_freep)
    char *options = kb_printf("{\"loop\":\"%s\"%s}", s->pingpong ? "pingpong" : "restart",
                              s->marked ? ",\"ai_label\":\"corner\"" : "");
    struct batch_params p = {
        .name = s->code,
        .audio = audio,
        .videos = &video,
        .n_videos = 1,
        .options = options,
        .defaults = s->defaults,
        .priority = 5,
        .client = s->client,
        .lang = s->lang,
    };
    struct job_filter f = {.limit = 1};
    CLEANUP(kb_freep) struct job *jobs = NULL;
    int n = 0;
    enum kb_code code = batch_create(store, &p, &f.batch, err);
    if (code == KB_OK)
        code = job_list(store, &f, &jobs, &n, err);
    if (code != KB_OK)
        return code;
    if (n == 0) // somebody deleted it at once
        return kb_fail(err, KB_INTERNAL, "%s", _("the new batch has no job"));
    *ret_job = jobs[0].id;
    return KB_OK;
}

static enum kb_code submit_run(struct store *store, const struct submit *s,
                               const struct cancel *cancel, int64_t *ret_job, struct kb_error *err)
{
    char audio[33] = "", video[33] = "";
    enum kb_code code = make_asset(store, s, &s->audio, cancel, audio, err);
    if (code == KB_OK)
        code = make_asset(store, s, &s->video, cancel, video, err);
    if (code == KB_OK)
        code = make_batch(store, s, audio, video, ret_job, err);
    if (code != KB_OK) {
        if (*audio)
            asset_delete(store, audio, NULL);
        if (*video)
            asset_delete(store, video, NULL);
    }
    return code;
}

// A code that is noted as begun must come to its end, or it could not be used again: what holds
// the database or fills the disk is waited for. Cancelled: the next server notes it.
static enum kb_code note_end(struct store **store, const struct submit *s, int64_t job,
                             const struct kb_error *why, const struct cancel *cancel,
                             struct kb_error *err)
{
    enum kb_code code = KB_OK;
    do {
        if (code != KB_OK)
            nanosleep(&(struct timespec){.tv_nsec = NOTE_AGAIN_MS * 1000000L}, NULL);
        code = *store ? KB_OK : store_open(store, s->data, false, err);
        if (code == KB_OK)
            code = easy_end(*store, s->code, job, why, err);
    } while (code != KB_OK && !cancel_requested(cancel));
    return code;
}

// Copying a long video takes seconds, so this is an errand. The client hears of success only when
// the job is in the queue for good.
static void submit_work(void *ctx, const struct cancel *cancel, struct text *ret)
{
    const struct submit *s = ctx;
    struct kb_error err = {0}, untold = {0};
    CLEANUP(store_close) struct store *store = NULL;
    int64_t job = 0;
    enum kb_code code = store_open(&store, s->data, false, &err);
    if (code == KB_OK)
        code = submit_run(store, s, cancel, &job, &err);
    enum kb_code noted = note_end(&store, s, job, code == KB_OK ? NULL : &err, cancel, &untold);
    if (code == KB_OK && noted != KB_OK) {
        err = untold;
        code = noted;
    }
    if (code == KB_OK)
        add_answer(ret, EASY_OK, "success", NULL);
    else
        add_answer(ret, code == KB_BAD_INPUT ? EASY_BAD_PARAMETER : EASY_SYSTEM_ERROR, err.text,
                   NULL);
}

// "a=b&c=d" as an object of texts.
static json_t *form_json(const char *body, size_t size)
{
    json_t *form = json_object();
    CLEANUP(kb_freep) char *copy = kb_printf("%.*s", (int)size, body);
    char *rest = copy, *name;
    while ((name = strsep(&rest, "&"))) {
        char *value = strchr(name, '=');
        if (!value)
            continue;
        *value++ = '\0';
        uri_decode(name, true); // as the engine: what is broken stays
        uri_decode(value, true);
        json_t *text = json_string(value); // NULL if it is not UTF-8
        if (text)
            json_object_set_new(form, name, text);
    }
    return form;
}

static json_t *read_body(struct request *r)
{
    size_t size;
    const char *body = request_body(r, &size);
    if (media_type_is(request_header(r, "Content-Type"), "application/x-www-form-urlencoded"))
        return form_json(body ? body : "", body ? size : 0);
    json_t *json = body ? json_loadb(body, size, 0, NULL) : NULL;
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

// A number that clients send as 1 or "1".
static int number_field(json_t *body, const char *name, int fallback)
{
    json_t *value = json_object_get(body, name);
    if (json_is_integer(value))
        return json_integer_value(value) != 0;
    if (json_is_string(value) && *json_string_value(value))
        return strcmp(json_string_value(value), "0") != 0;
    return fallback;
}

// Clients number their tasks: 42 and 42.0 are the code "42" from here on. Another number stays.
static void code_as_text(json_t *body)
{
    json_t *value = json_object_get(body, "code");
    double real = json_real_value(value); // 0 of anything else
    if (!json_is_number(value) || real != floor(real) || fabs(real) > 1e15)
        return;
    char text[32];
    snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT,
             json_is_integer(value) ? json_integer_value(value) : (json_int_t)real);
    json_object_set_new(body, "code", json_string(text));
}

static bool code_is_good(const char *code)
{
    for (const char *c = code; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return strlen(code) <= EASY_CODE_BYTES;
}

// Answered when false.
static bool take_source(struct request *r, json_t *body, const char *field, struct source *ret)
{
    const char *share = request_server(r)->params.share;
    struct kb_error err = {0};
    const char *text = json_string_value(json_object_get(body, field));
    ret->text = kb_strdup(text);
    enum kb_code code = uri_http(text) ? KB_OK : open_shared(share, field, text, &ret->fd, &err);
    if (code != KB_OK)
        answer(r, code == KB_UNAVAILABLE ? EASY_SYSTEM_ERROR : EASY_BAD_PARAMETER, err.text, NULL);
    return code == KB_OK;
}

static int64_t source_size(const struct source *source)
{
    struct stat st;
    return source->fd >= 0 && fstat(source->fd, &st) == 0 ? st.st_size : -1;
}

// What is copied and fetched for a task is held to the same limits as uploads. Answered when false.
static bool admit(struct request *r, const struct submit *s)
{
    struct kb_error err = {0};
    struct upload_wish wish = {.n_files = 2,
                               .sizes = {source_size(&s->audio), source_size(&s->video)}};
    enum kb_code code = upload_allowed(request_server(r), request_store(r), s->client, &wish, &err);
    if (code != KB_OK)
        answer(r,
               code == KB_BAD_INPUT     ? EASY_BAD_PARAMETER
               : code == KB_UNAVAILABLE ? EASY_BUSY
                                        : EASY_SYSTEM_ERROR,
               err.text, NULL);
    return code == KB_OK;
}

// Answered when false.
static bool begin_code(struct request *r, const struct submit *s)
{
    struct kb_error err = {0};
    enum kb_code code = easy_begin(request_store(r), s->code, &err);
    if (code != KB_OK)
        answer(r, code == KB_UNAVAILABLE ? EASY_BUSY : EASY_SYSTEM_ERROR, err.text, NULL);
    return code == KB_OK;
}

static void submit_body(struct request *r, json_t *body)
{
    // The engine's own words, which clients look for.
    static const char *const fields[] = {"audio_url", "video_url", "code"};
    code_as_text(body);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const json_t *field = json_object_get(body, fields[i]);
        const char *value = json_string_value(field);
        if (value && *value)
            continue;
        bool missing = value || !field || json_is_null(field);
        CLEANUP(kb_freep)
        char *msg = missing ? kb_printf("%s参数缺失", fields[i])
                            : kb_printf(_("%s must be a text, or in the case of code a whole "
                                          "number"),
                                        fields[i]);
        answer(r, EASY_BAD_PARAMETER, msg, NULL);
        return;
    }
    const char *code = json_string_value(json_object_get(body, "code"));
    if (!code_is_good(code)) {
        CLEANUP(kb_freep)
        char *msg = kb_printf(_("code must have at most %d bytes and no control characters"),
                              EASY_CODE_BYTES);
        answer(r, EASY_BAD_PARAMETER, msg, NULL);
        return;
    }
    struct server *server = request_server(r);
    struct submit *s = kb_alloc(sizeof(*s));
    s->audio.fd = s->video.fd = -1;
    s->data = kb_strdup(server->params.data);
    s->client = kb_strdup(request_client_key(r));
    s->code = kb_strdup(code);
    s->keep_bytes = server->params.supervisor.worker.min_free_bytes;
    s->pingpong = number_field(body, "pn", 1) != 0;
    s->marked = number_field(body, "digital_auth", 0) || number_field(body, "watermark_switch", 0);
    s->defaults = kb_strdup(server->params.defaults);
    snprintf(s->lang, sizeof(s->lang), "%s", request_lang(r));
    // Its place comes first: a code that is noted as begun must come to an end.
    struct errand *errand = errand_enter(server->errands);
    if (!errand) {
        answer(r, EASY_BUSY,
               _("the server is working on many such requests; try again in a moment"), NULL);
        submit_free(s);
    } else if (take_source(r, body, "audio_url", &s->audio) &&
               take_source(r, body, "video_url", &s->video) && admit(r, s) && begin_code(r, s)) {
        reply_errand_entered(r, errand, submit_work, submit_free, s);
    } else {
        errand_leave(errand);
        submit_free(s);
    }
}

static void submit(struct request *r)
{
    json_t *body = read_body(r);
    if (body)
        submit_body(r, body);
    else
        answer(r, EASY_BAD_PARAMETER,
               _("the body must be a JSON object with audio_url, video_url and code"), NULL);
    json_decref(body);
}

// --- asking

// What the job does now, in words.
static const char *state_words(const struct job *job)
{
    static const struct {
        const char *waiting, *words;
    } table[] = {
        {"worker", N_("waiting for a free worker")}, {"paused", N_("paused")},
        {"disk", N_("waiting for free disk space")}, {"speech", N_("the speech is being made")},
        {"download", N_("downloading the files")},   {"retry", N_("will be tried again")},
    };
    if (job->state == JOB_DONE)
        return _("done");
    if (job->state != JOB_QUEUED)
        return stage_title(job->stage);
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(table[i].waiting, job->waiting) == 0)
            return _(table[i].words);
    return _("queued");
}

static json_t *make_data(const char *code, enum easy_status status, int progress, const char *msg)
{
    return json_pack("{s:s, s:i, s:i, s:o, s:s, s:I, s:i, s:i, s:f}", "code", code, "status",
                     (int)status, "progress", progress, "msg", text_json(msg), "result", "",
                     "video_duration", (json_int_t)0, "width", 0, "height", 0, "cost", 0.0);
}

static json_t *done_data(const char *code, const struct job *job, const struct result *result)
{
    json_t *data = make_data(code, EASY_SUCCEEDED, 100, state_words(job));
    CLEANUP(kb_freep) char *name = easy_result_name(code);
    CLEANUP(kb_freep) char *path = kb_printf("/%s", name);
    double seconds = (double)(job->ended_ms - job->started_ms) / 1e3;
    json_object_set_new(data, "result", json_string(path));
    json_object_set_new(data, "video_duration", json_integer(result->duration_ms));
    json_object_set_new(data, "width", json_integer(result->width));
    json_object_set_new(data, "height", json_integer(result->height));
    json_object_set_new(data, "cost", json_real(job->started_ms ? KB_MAX(seconds, 0) : 0));
    return data;
}

static enum kb_code job_data(struct store *s, const char *code, const struct job *job, json_t **ret,
                             struct kb_error *err)
{
    CLEANUP(result_free) struct result result = {0};
    if (job->state == JOB_FAILED || job->state == JOB_CANCELLED) {
        *ret = make_data(code, EASY_FAILED, 100, job->error[0] ? job->error : _("cancelled"));
        return KB_OK;
    }
    if (job->state != JOB_DONE) {
        int percent = (int)(job->progress * 100);
        *ret = make_data(code, EASY_RUNNING, KB_MAX(0, KB_MIN(percent, 99)), state_words(job));
        return KB_OK;
    }
    enum kb_code found = result_find(s, job->id, &result, err);
    if (found == KB_NOT_FOUND)
        *ret = make_data(code, EASY_FAILED, 100, _("the result was deleted"));
    else if (found == KB_OK)
        *ret = done_data(code, job, &result);
    return found == KB_NOT_FOUND ? KB_OK : found;
}

// What has become of a code. KB_NOT_FOUND: never submitted.
static enum kb_code task_data(struct request *r, const char *code, json_t **ret,
                              struct kb_error *err)
{
    struct easy e;
    enum kb_code found = easy_find(request_store(r), code, &e, err);
    if (found != KB_OK)
        return found;
    if (!e.job) {
        *ret = make_data(code, e.error[0] ? EASY_FAILED : EASY_RUNNING, e.error[0] ? 100 : 0,
                         e.error[0] ? e.error : _("queued"));
        return KB_OK;
    }
    struct job job;
    found = job_get(request_store(r), e.job, &job, err);
    if (found == KB_NOT_FOUND) {
        *ret = make_data(code, EASY_FAILED, 100, _("the job was deleted"));
        return KB_OK;
    }
    return found == KB_OK ? job_data(request_store(r), code, &job, ret, err) : found;
}

static void query(struct request *r)
{
    const char *code = query_text(r, "code");
    json_t *data = NULL;
    struct kb_error err = {0};
    if (!code) {
        answer(r, EASY_BAD_PARAMETER, "code参数缺失", NULL);
        return;
    }
    enum kb_code found = task_data(r, code, &data, &err);
    if (found == KB_OK)
        answer(r, EASY_OK, "", data);
    else if (found == KB_NOT_FOUND)
        answer(r, EASY_NO_TASK, _("there is no such task"), NULL);
    else
        answer(r, EASY_SYSTEM_ERROR, err.text, NULL);
}

// --- fetching the result

// The job of a result's name, by its code as it was given or percent-encoded.
static enum kb_code find_by_name(struct store *s, const char *name, struct easy *ret,
                                 struct kb_error *err)
{
    static const char ending[] = "-r.mp4";
    if (!text_ends(name, ending))
        return kb_fail(err, KB_NOT_FOUND, _("there is no result '%.*s'"), utf8_fit(name, 200),
                       name);
    CLEANUP(kb_freep) char *code = kb_printf("%.*s", (int)(strlen(name) - strlen(ending)), name);
    enum kb_code found = easy_find(s, code, ret, err);
    if (found != KB_NOT_FOUND || !strchr(code, '%'))
        return found;
    uri_decode(code, false);
    return easy_find(s, code, ret, err);
}

static void download(struct request *r)
{
    const char *name = request_part(r, 0);
    struct easy e;
    struct kb_error err = {0};
    CLEANUP(result_free) struct result result = {0};
    if (find_by_name(request_store(r), name, &e, &err) != KB_OK ||
        result_find(request_store(r), e.job, &result, &err) != KB_OK) {
        reply_error(r, &err);
        return;
    }
    CLEANUP(kb_freep) char *as = easy_result_name(e.code);
    struct reply_file_params p = {.folder = request_server(r)->params.data,
                                  .path = result.file,
                                  .type = "video/mp4",
                                  .download = as};
    reply_file(r, &p);
}

const struct route api_easy_routes[] = {
    {"POST", "/easy/submit", submit, ROUTE_FOREIGN, NULL},
    {"GET", "/easy/query", query, ROUTE_FOREIGN, NULL},
    {"GET", "/easy/download/{name}", download, ROUTE_FOREIGN, NULL},
    {0},
};
