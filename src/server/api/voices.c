// Who speaks a text: espeak-ng's voices, and those of services and programs that were added
// (voices/voices.h); adding and trying them.
#include "server/api/voices.h"

#include "asset/asset.h"
#include "base/log.h"
#include "base/utf8.h"
#include "media/recital.h"
#include "media/voice.h"
#include "server/api/fields.h"
#include "server/errand.h"
#include "server/internal.h"
#include "server/speaker.h"
#include "server/upload/upload.h"
#include "voices/voices.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLE_LETTERS 300
#define SAMPLE_MS      120000 // that long a sample is waited for

// One change at a time of the file of voices.
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;

static const struct voice {
    const char *name, *title;
} own_voices[] = {
    {"zh", N_("Chinese (Mandarin)")},
    {"cmn+f3", N_("Chinese (Mandarin), a woman")},
    {"yue", N_("Chinese (Cantonese)")},
    {"en", N_("English")},
    {"en-us", N_("English (America)")},
    {"en-us+f3", N_("English (America), a woman")},
    {"en-gb", N_("English (Great Britain)")},
    {"ja", N_("Japanese")},
    {"ko", N_("Korean")},
    {"de", N_("German")},
    {"fr", N_("French")},
    {"es", N_("Spanish")},
    {"it", N_("Italian")},
    {"pt-br", N_("Portuguese (Brazil)")},
    {"ru", N_("Russian")},
    {"vi", N_("Vietnamese")},
    {"th", N_("Thai")},
    {"id", N_("Indonesian")},
    {"ar", N_("Arabic")},
    {"hi", N_("Hindi")},
};

static bool is_own(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(own_voices); i++)
        if (strcmp(own_voices[i].name, name) == 0)
            return true;
    return false;
}

// --- listing

// The added ones first: who adds one wants it.
static void list_voices(struct request *r)
{
    json_auto_t *items = json_array(), *added = NULL;
    struct kb_error err = {0};
    // A file that cannot be read now is told where it is looked after: system view and doctor.
    if (voices_load_all(&added, request_server(r)->params.data, &err) != KB_OK)
        log_warn("%s", err.text);
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *v = json_array_get(added, i);
        const char *title = voice_text(v, "title"), *name = voice_text(v, "name");
        json_t *languages = json_object_get(v, "languages");
        json_t *item = json_pack("{s:s, s:s, s:s, s:b}", "name", name, "title",
                                 *title ? title : name, "kind", voice_text(v, "kind"), "words", 0);
        json_object_set_new(item, "languages", languages ? json_incref(languages) : json_array());
        json_array_append_new(items, item);
    }
    for (size_t i = 0; i < ARRAY_LEN(own_voices); i++) {
        const char *name = own_voices[i].name;
        CLEANUP(kb_freep) char *language = strndup(name, strcspn(name, "-+"));
        if (strcmp(language, "cmn") == 0)
            memcpy(language, "zh", 3);
        json_array_append_new(items, json_pack("{s:s, s:s, s:s, s:b, s:[s]}", "name", name, "title",
                                               _(own_voices[i].title), "kind", "espeak-ng", "words",
                                               1, "languages", language));
    }
    json_auto_t *answer =
        json_pack("{s:i, s:O}", "total", (int)json_array_size(items), "items", items);
    CLEANUP(kb_freep) char *text = json_dumps(answer, JSON_COMPACT);
    reply_json(r, 200, text);
}

// --- a text to speak

// A number within bounds; *ret_there: it is not absent or null.
static bool take_number(struct request *r, json_t *body, const char *name, double low, double high,
                        double *ret, bool *ret_there)
{
    const json_t *value = json_object_get(body, name);
    *ret_there = value && !json_is_null(value);
    if (!*ret_there)
        return true;
    *ret = json_number_value(value);
    if (json_is_number(value) && *ret >= low && *ret <= high)
        return true;
    CLEANUP(kb_freep)
    char *sentence = kb_printf(_("%s: a number from %g to %g is wanted"), name, low, high);
    reply_problem(r, 400, "bad_input", sentence);
    return false;
}

static bool take_text(struct request *r, const json_t *body, const char **ret)
{
    const char *text = json_string_value(json_object_get(body, "text"));
    if (!text || text[strspn(text, " \t\r\n")] == '\0') {
        reply_problem(r, 400, "bad_input", _("text: there is nothing to speak"));
        return false;
    }
    if (utf8_count(text) > SPEECH_LETTERS) {
        CLEANUP(kb_freep)
        char *sentence =
            kb_printf(_("text: longer than %d characters; make several of it"), SPEECH_LETTERS);
        reply_problem(r, 400, "bad_input", sentence);
        return false;
    }
    *ret = text;
    return true;
}

static bool take_voice(struct request *r, json_t *body, const char **ret, bool *ret_fetched)
{
    json_auto_t *added = NULL;
    struct kb_error err = {0};
    *ret_fetched = false;
    if (!field_text(r, body, "voice", false, VOICES_NAME_BYTES, ret))
        return false;
    if (*ret && !**ret)
        *ret = NULL;
    if (!*ret)
        return true;
    if (voices_load_all(&added, request_server(r)->params.data, &err) == KB_OK)
        *ret_fetched = voices_find(added, *ret);
    else if (!is_own(*ret)) {
        reply_error(r, &err);
        return false;
    }
    if (*ret_fetched || is_own(*ret))
        return true;
    reply_problem(r, 400, "bad_input",
                  _("voice: there is no such voice; /api/v1/voices lists them"));
    return false;
}

bool speech_fields(struct request *r, json_t *body, const char **ret_text, const char **ret_voice,
                   struct asset_speech *ret)
{
    double pause_s = 0;
    bool has_speed;
    *ret = (struct asset_speech){0};
    if (!take_text(r, body, ret_text) || !take_voice(r, body, ret_voice, &ret->fetched) ||
        !take_number(r, body, "speed", VOICE_LEAST_SPEED, VOICE_MOST_SPEED, &ret->speed,
                     &has_speed) ||
        !take_number(r, body, "pause", 0, RECITAL_MOST_PAUSE_MS / 1000.0, &pause_s,
                     &ret->has_pause))
        return false;
    ret->pause_ms = (int)(pause_s * 1000 + 0.5);
    return true;
}

// --- hearing a sentence

struct sample {
    char *data, id[33];
    int most_ms;
};

static void sample_free(void *ctx)
{
    struct sample *s = ctx;
    free(s->data);
    free(s);
}

// Wait until it is whole; "" = go on waiting.
static char *sample_answer(struct store *store, const struct sample *s)
{
    struct asset a;
    struct kb_error err = {0};
    enum kb_code code = asset_find(store, s->id, &a, &err);
    bool bad = code == KB_OK && strcmp(a.state, "bad") == 0;
    CLEANUP(kb_freep) char *error = bad ? asset_error(store, s->id) : NULL;
    if (code == KB_OK && !error && strcmp(a.state, "ready") != 0)
        return NULL;
    if (code != KB_OK && code != KB_NOT_FOUND)
        return NULL; // the database is locked
    CLEANUP(kb_freep) char *content = kb_printf("/api/v1/assets/%s/content", s->id);
    CLEANUP(kb_freep) char *sentence = utf8_clean(error ? error : err.text);
    bool ready = code == KB_OK && !error;
    json_auto_t *answer = json_pack(
        "{s:b, s:s*, s:I, s:s*}", "ok", ready, "content", ready ? content : NULL, "duration",
        (json_int_t)(ready ? a.duration_ms : 0), "error", ready ? NULL : sentence);
    return answer ? json_dumps(answer, JSON_COMPACT) : kb_strdup("{\"ok\":false}");
}

static void sample_work(void *ctx, const struct cancel *cancel, struct text *ret)
{
    const struct sample *s = ctx;
    CLEANUP(store_close) struct store *store = NULL;
    CLEANUP(kb_freep) char *answer = NULL;
    int64_t until_us = kb_now_us() + s->most_ms * INT64_C(1000);
    while (!answer && !cancel_requested(cancel) && kb_now_us() < until_us) {
        if (store || store_open(&store, s->data, false, NULL) == KB_OK)
            answer = sample_answer(store, s);
        if (!answer)
            usleep(50000);
    }
    if (!answer) {
        CLEANUP(kb_freep) char *held = store ? asset_error(store, s->id) : NULL;
        CLEANUP(kb_freep) char *why = held ? utf8_clean(held) : NULL;
        json_auto_t *late = json_pack("{s:b, s:s}", "ok", 0, "error",
                                      why ? why
                                          : _("the sentence is not spoken yet; the voice or the "
                                              "server is busy, try again later"));
        answer = json_dumps(late, JSON_COMPACT);
    }
    text_add(ret, answer ? answer : "{\"ok\":false}");
}

static void hear_sample(struct request *r)
{
    static const char *const names[] = {"text", "voice", "speed", NULL};
    struct server *server = request_server(r);
    struct asset_speech speech;
    struct kb_error err = {0};
    const char *text, *voice;
    json_t *body = request_json(r);
    if (!body || !fields_known(r, body, names) || !speech_fields(r, body, &text, &voice, &speech))
        return;
    if (utf8_count(text) > SAMPLE_LETTERS) {
        CLEANUP(kb_freep)
        char *sentence =
            kb_printf(_("text: longer than %d characters; hear one sentence"), SAMPLE_LETTERS);
        reply_problem(r, 400, "bad_input", sentence);
        return;
    }
    if (!upload_admit(
            r, &(struct upload_wish){.n_files = 1, .sizes = {-1}, .letters = SAMPLE_LETTERS}))
        return;
    speech.sample = true;
    const struct asset_params p = {.size_bytes = -1,
                                   .client = request_client_key(r),
                                   .lang = request_lang(r),
                                   .speech = &speech};
    struct errand *errand = errand_enter(server->errands);
    struct sample *s = kb_alloc(sizeof(*s));
    s->data = kb_strdup(server->params.data);
    s->most_ms = server->params.sample_ms > 0 ? server->params.sample_ms : SAMPLE_MS;
    enum kb_code code = errand ? asset_create_speech(request_store(r), &p, text, voice, s->id, &err)
                               : kb_fail(&err, KB_UNAVAILABLE, "%s",
                                         _("the server is busy; try again in a moment"));
    if (code == KB_OK) {
        speaker_wake(server->speaker);
        reply_errand_entered(r, errand, sample_work, sample_free, s);
        return;
    }
    if (errand)
        errand_leave(errand);
    sample_free(s);
    reply_error(r, &err);
}

// --- settings

static void reply_voices(struct request *r)
{
    struct server *server = request_server(r);
    CLEANUP(kb_freep) char *path = voices_data_path(server->params.data);
    json_auto_t *all = NULL, *here = NULL, *items = json_array();
    struct kb_error err = {0};
    enum kb_code code = voices_load(&here, path, &err);
    if (code == KB_OK)
        code = voices_load_all(&all, server->params.data, &err);
    if (code != KB_OK) {
        reply_error(r, &err);
        return;
    }
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *shown = voice_shown(json_array_get(all, i));
        // Those of the user's own file are changed with koubo voice.
        bool ours = voices_find(here, voice_text(shown, "name"));
        json_object_set_new(shown, "changeable", json_boolean(ours));
        json_object_del(shown, "page");
        json_array_append_new(items, shown);
    }
    json_auto_t *answer =
        json_pack("{s:i, s:O}", "total", (int)json_array_size(items), "items", items);
    CLEANUP(kb_freep) char *text = json_dumps(answer, JSON_COMPACT);
    reply_json(r, 200, text);
}

static enum kb_code put_voice(const struct server *server, json_t *voice, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = voices_data_path(server->params.data);
    json_auto_t *list = NULL;
    enum kb_code code = voice_check(voice, true, err);
    if (code == KB_OK)
        code = voices_load(&list, path, err);
    if (code == KB_OK)
        code = voice_fill_key(voice, voices_find(list, voice_text(voice, "name")), err);
    if (code == KB_OK)
        code = voices_put(list, voice, err);
    return code == KB_OK ? voices_save(list, path, err) : code;
}

static void save_voice(struct request *r)
{
    struct kb_error err = {0};
    json_t *body = request_json(r);
    if (!body)
        return;
    json_object_del(body, "changeable"); // as it was shown
    pthread_mutex_lock(&changing);
    enum kb_code code = put_voice(request_server(r), body, &err);
    pthread_mutex_unlock(&changing);
    if (code != KB_OK)
        reply_error(r, &err);
    else
        reply_voices(r);
}

static void remove_voice(struct request *r)
{
    CLEANUP(kb_freep) char *path = voices_data_path(request_server(r)->params.data);
    json_auto_t *list = NULL;
    struct kb_error err = {0};
    pthread_mutex_lock(&changing);
    enum kb_code code = voices_load(&list, path, &err);
    if (code == KB_OK && !voices_remove(list, request_part(r, 0)))
        code = kb_fail(&err, KB_NOT_FOUND,
                       _("there is no such voice here; what koubo voice add wrote down for this "
                         "user is removed with koubo voice remove"));
    if (code == KB_OK)
        code = voices_save(list, path, &err);
    pthread_mutex_unlock(&changing);
    if (code != KB_OK)
        reply_error(r, &err);
    else
        reply_voices(r);
}

const struct route api_voices_routes[] = {
    {"GET", "/api/v1/voices", list_voices, 0, NULL},
    {"POST", "/api/v1/voices/sample", hear_sample, 0, NULL},
    {"GET", "/api/v1/settings/voices", reply_voices, 0, NULL},
    {"POST", "/api/v1/settings/voices", save_voice, 0, NULL},
    {"DELETE", "/api/v1/settings/voices/{name}", remove_voice, 0, NULL},
    {0},
};
