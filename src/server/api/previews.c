// Looks before the long run: asked for here, made by a worker of their own (worker/previews.h).
#include "server/internal.h"

#include "asset/asset.h"
#include "base/sentence.h"
#include "queue/look.h"
#include "server/api/fields.h"
#include "worker/previews.h"
#include "worker/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS       5
#define SECONDS_LEAST 1
#define SECONDS_MOST  20
#define AT_MOST       60.0

// NULL: answered.
static struct previews *find_previews(struct request *r)
{
    struct server *s = request_server(r);
    if (s->supervisor && s->params.supervisor.previews)
        return supervisor_previews(s->supervisor);
    reply_problem(r, 503, "unavailable", _("this server makes no previews"));
    return NULL;
}

static void answer_why(struct request *r, const struct kb_error *why)
{
    CLEANUP(kb_freep) char *kept = sentence_of(why);
    struct kb_error said = {0};
    sentence_fail(&said, why->code, kept);
    reply_error(r, &said);
}

static bool refuse(struct request *r, const char *sentence)
{
    reply_problem(r, 400, "bad_input", sentence);
    return false;
}

// --- what is asked for

struct wish {
    const char *audio, *video, *options, *viewer;
    double face_at[1][3]; // x < 0: nobody chose
    int64_t seconds;
    double at; // < 0: the film
};

static bool is_between(const json_t *v, double most)
{
    return json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= most;
}

// [x, y] or [x, y, seconds]; NULL: nobody.
static bool take_face(struct request *r, const json_t *at, struct wish *ret)
{
    size_t n = json_array_size(at);
    ret->face_at[0][0] = ret->face_at[0][2] = -1;
    if (!at || json_is_null(at))
        return true;
    for (size_t i = 0; i < n && i < 3; i++) {
        if (!is_between(json_array_get(at, i), i < 2 ? 1 : 1e9))
            n = 0;
        else
            ret->face_at[0][i] = json_number_value(json_array_get(at, i));
    }
    return n == 2 || n == 3 ||
           refuse(r, _("'face_at' must be [x, y] with numbers from 0 to 1, or [x, y, seconds]"));
}

// Asks for it. False: answered.
static bool ask(struct request *r, struct previews *previews, const struct wish *w, char ret_id[33])
{
    struct kb_error err = {0};
    struct preview_order order = {.seconds = (double)w->seconds, .at = w->at};
    const struct batch_params p = {.audio = w->audio,
                                   .videos = &w->video,
                                   .n_videos = 1,
                                   .face_at = w->face_at,
                                   .options = w->options,
                                   .defaults = request_server(r)->params.defaults,
                                   .lang = request_lang(r)};
    if (w->viewer && strlen(w->viewer) > PREVIEW_VIEWER_BYTES)
        return refuse(r, _("'viewer' is too long"));
    enum kb_code code = look_claim(request_store(r), &p, &order.claim, &err);
    if (code == KB_OK)
        code = asset_words(request_store(r), w->audio, &order.words, &err);
    if (code == KB_OK)
        code = previews_ask(previews, &order, request_client_key(r), w->viewer ? w->viewer : "",
                            ret_id, &err);
    else
        preview_order_clear(&order);
    if (code != KB_OK)
        reply_error(r, &err);
    return code == KB_OK;
}

// --- films

static const char *state_name(enum preview_state state)
{
    static const char *const names[] = {"waiting", "running", "done", "failed"};
    return names[state];
}

static json_t *error_of(const struct preview_look *l)
{
    CLEANUP(kb_freep) char *kept = sentence_of(&l->why);
    CLEANUP(kb_freep) char *said = sentence_say(kept);
    return json_pack("{s:s, s:s}", "code", l->why.code == KB_CANCELLED ? "cancelled" : "failed",
                     "text", said);
}

static void answer_look(struct request *r, int status, const char *id, const struct preview_look *l)
{
    bool done = l->state == PREVIEW_DONE;
    CLEANUP(kb_freep) char *video = kb_printf("/api/v1/previews/%s/video", id);
    json_auto_t *json =
        json_pack("{s:s, s:s, s:s?, s:f, s:o, s:o, s:o, s:o, s:s?, s:o}", "id", id, "state",
                  state_name(l->state), "stage",
                  l->state == PREVIEW_RUNNING ? stage_id(l->report.stage) : NULL, "progress",
                  preview_progress(l), "seconds", done ? json_real(l->seconds) : json_null(),
                  "begins", done ? json_real(l->from_s) : json_null(), "width",
                  done ? json_integer(l->width) : json_null(), "height",
                  done ? json_integer(l->height) : json_null(), "video", done ? video : NULL,
                  "error", l->state == PREVIEW_FAILED ? error_of(l) : json_null());
    CLEANUP(kb_freep) char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(6));
    reply_json(r, status, text);
}

static void not_there(struct request *r)
{
    reply_problem(r, 404, "not_found",
                  _("this preview is not here any more; it is kept for half an hour at most"));
}

static void create_preview(struct request *r)
{
    static const char *const names[] = {"audio",   "video",  "options", "face_at",
                                        "seconds", "viewer", NULL};
    struct previews *previews = find_previews(r);
    struct wish w = {.seconds = SECONDS, .at = -1};
    CLEANUP(kb_freep) char *options = NULL;
    char id[33];
    bool there;
    json_t *body = previews ? request_json(r) : NULL;
    if (!body || !fields_known(r, body, names) ||
        !field_text(r, body, "audio", true, 64, &w.audio) ||
        !field_text(r, body, "video", true, 64, &w.video) ||
        !field_text(r, body, "viewer", false, PREVIEW_VIEWER_BYTES, &w.viewer) ||
        !field_object(r, body, "options", &options) ||
        !field_int(r, body, "seconds", SECONDS_LEAST, SECONDS_MOST, &w.seconds, &there) ||
        !take_face(r, json_object_get(body, "face_at"), &w))
        return;
    if (!there)
        w.seconds = SECONDS;
    w.options = options;
    if (!ask(r, previews, &w, id))
        return;
    const struct preview_look look = {.state = PREVIEW_WAITING};
    CLEANUP(kb_freep) char *location = kb_printf("/api/v1/previews/%s", id);
    reply_header(r, "Location", location);
    answer_look(r, 201, id, &look);
}

// One that is known, which is not a picture. False: answered.
static bool find_film(struct request *r, struct preview_look *ret)
{
    struct previews *previews = find_previews(r);
    if (previews && previews_look(previews, request_part(r, 0), ret) && !ret->picture)
        return true;
    if (previews)
        not_there(r);
    return false;
}

static void show_preview(struct request *r)
{
    struct preview_look look;
    if (find_film(r, &look))
        answer_look(r, 200, request_part(r, 0), &look);
}

static void reply_made(struct request *r, const char *id, const char *tail, const char *type)
{
    CLEANUP(kb_freep) char *path = kb_printf("%s/%s%s", PREVIEWS_FOLDER, id, tail);
    struct reply_file_params p = {
        .folder = request_server(r)->params.data, .path = path, .type = type};
    reply_file(r, &p);
}

static void get_film(struct request *r)
{
    struct preview_look look;
    if (!find_film(r, &look))
        return;
    if (look.state == PREVIEW_DONE)
        reply_made(r, request_part(r, 0), ".mp4", "video/mp4");
    else
        reply_problem(r, 409, "conflict", _("the preview is not made yet"));
}

static void delete_preview(struct request *r)
{
    struct previews *previews = find_previews(r);
    if (!previews)
        return;
    previews_drop(previews, request_part(r, 0));
    reply_empty(r, 204);
}

// --- one picture at once

struct waiting {
    struct previews *previews;
    char id[33];
};

// The client has it, or is gone: nobody else does.
static void waiting_free(void *ctx)
{
    struct waiting *w = ctx;
    previews_drop(w->previews, w->id);
    free(w);
}

static void wake_request(void *stream)
{
    struct stream *s = stream;
    stream_wake(s);
    stream_unref(&s);
}

static void wait_for(struct request *r, struct previews *previews, const char *id)
{
    struct stream *stream = NULL;
    struct waiting *w = kb_alloc(sizeof(*w));
    w->previews = previews;
    snprintf(w->id, sizeof(w->id), "%s", id);
    request_wait(r, waiting_free, w, &stream);
    if (!previews_await(previews, id, wake_request, stream))
        wake_request(stream);
}

// Woken: it is made, has failed, or a newer one took its place.
static void answer_still(struct request *r, const struct waiting *w)
{
    struct preview_look look;
    struct kb_error gone = {0};
    if (!previews_look(w->previews, w->id, &look)) {
        kb_fail(&gone, KB_CANCELLED, _("a newer preview was asked for"));
        reply_error(r, &gone);
    } else if (look.state == PREVIEW_DONE) {
        reply_made(r, w->id, ".jpg", "image/jpeg");
    } else if (look.state == PREVIEW_FAILED) {
        answer_why(r, &look.why);
    } // else woken for nothing: it waits on
}

// "0.3,0.4" or "0.3,0.4,12.5".
static bool query_face(struct request *r, struct wish *ret)
{
    const char *text = query_text(r, "face_at");
    ret->face_at[0][0] = ret->face_at[0][2] = -1;
    return !text || face_at_parse(text, ret->face_at[0]) ||
           refuse(r, _("'face_at' must be [x, y] with numbers from 0 to 1, or [x, y, seconds]"));
}

static bool query_at(struct request *r, double *ret)
{
    const char *text = query_text(r, "at");
    char *end = NULL;
    *ret = text ? strtod(text, &end) : 0;
    return (text && end == text) || (end && *end) || !(*ret >= 0 && *ret <= AT_MOST)
               ? refuse(r, _("'at' must be a number of seconds within the preview"))
               : true;
}

static void get_still(struct request *r)
{
    const struct waiting *before = request_waited(r);
    if (before) {
        answer_still(r, before);
        return;
    }
    struct previews *previews = find_previews(r);
    struct wish w = {.audio = query_text(r, "audio"),
                     .video = query_text(r, "video"),
                     .options = query_text(r, "options"),
                     .viewer = query_text(r, "viewer")};
    char id[33];
    if (!previews || !query_at(r, &w.at) || !query_face(r, &w) ||
        !request_query_int(r, "seconds", SECONDS_LEAST, SECONDS_MOST, SECONDS, &w.seconds))
        return;
    if (!w.audio || !w.video)
        refuse(r, _("'audio' and 'video' are needed: ids of uploaded files"));
    else if (ask(r, previews, &w, id))
        wait_for(r, previews, id);
}

const struct route api_previews_routes[] = {
    {"POST", "/api/v1/previews", create_preview, 0, NULL},
    {"GET", "/api/v1/previews/{id}", show_preview, 0, NULL},
    {"DELETE", "/api/v1/previews/{id}", delete_preview, 0, NULL},
    {"GET", "/api/v1/previews/{id}/video", get_film, 0, NULL},
    {"GET", "/api/v1/preview.jpg", get_still, 0, NULL},
    {0},
};
