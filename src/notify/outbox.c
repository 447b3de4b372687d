// The outbox. What happened is written into the table "notice" in the transaction that makes it
// happen, one row for each target, and sent later by a notifier (notifier.c).
#include "base/utf8.h"
#include "notify/internal.h"
#include "store/sql.h"

#include "base/log.h"
#include "base/sentence.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FAILURES "10" // failed videos that a message names

// --- what happened

// Its sentences are in the language of the batch, whoever has ended it.
static enum kb_code view_json(struct store *s, const char *sql, int64_t id, const char *lang,
                              json_t **ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_language before = kb_language_set_thread(kb_language_of(lang));
    enum kb_code code = store_query(s, &q, err, sql, "i", id);
    kb_language_set_thread(before);
    if (code != KB_OK)
        return code == KB_EOF ? kb_fail(err, KB_NOT_FOUND, "no batch or job %lld", (long long)id)
                              : code;
    // Sentences may have been cut inside a character, which jansson does not take.
    CLEANUP(kb_freep) char *json = utf8_clean((const char *)sqlite3_column_text(q, 0));
    *ret = json_loads(json ? json : "", 0, NULL);
    return *ret ? KB_OK : kb_fail(err, KB_INTERNAL, "a view made JSON that cannot be read");
}

static enum kb_code load_batch(struct store *s, int64_t id, const char *lang, json_t **ret,
                               struct kb_error *err)
{
    return view_json(s, "SELECT json FROM batch_json WHERE id = ?", id, lang, ret, err);
}

// [{"name","error"}, …] of the batch's failed jobs.
static enum kb_code load_failures(struct store *s, int64_t batch, const char *lang, json_t **ret,
                                  struct kb_error *err)
{
    return view_json(s,
                     "SELECT json_group_array(json_object('name', name, 'error', say(error))) FROM"
                     " (SELECT name, error FROM job WHERE batch = ? AND state = 'failed'"
                     "  ORDER BY position LIMIT " MAX_FAILURES ")",
                     batch, lang, ret, err);
}

static bool wants(const json_t *config, const char *event)
{
    const json_t *events = json_object_get(config, "events");
    if (!json_is_array(events))
        return strcmp(event, "batch_ended") == 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const char *name = json_string_value(json_array_get(events, i));
        if (name && strcmp(name, event) == 0)
            return true;
    }
    return false;
}

// {"kind":"webhook", …}, NULL if that kind is not configured.
static json_t *target_of(const json_t *config, const char *kind)
{
    const json_t *target = json_object_get(config, kind);
    if (!json_is_object(target) || !notify_target_is_set(kind, target))
        return NULL;
    json_t *copy = json_deep_copy(target);
    json_object_set_new(copy, "kind", json_string(kind));
    return copy;
}

// Where the messages of a batch go; *ret stays NULL when nowhere. A configuration that became
// useless must not keep a job from ending.
static enum kb_code load_config(struct store *s, int64_t batch, json_t **ret, char ret_lang[4],
                                struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(text_free) struct text json = {0};
    struct kb_error why = {0};
    enum kb_code code =
        store_query(s, &q, err, "SELECT notify, lang FROM batch WHERE id = ?", "i", batch);
    if (code != KB_OK)
        return code == KB_EOF ? kb_fail(err, KB_NOT_FOUND, "no batch %lld", (long long)batch)
                              : code;
    store_add_column(&json, q, 0);
    const char *lang = (const char *)sqlite3_column_text(q, 1);
    snprintf(ret_lang, 4, "%s", kb_language_name(kb_language_of(lang)));
    store_reset(&q);
    if (json.size == 0)
        code = setting_get(s, "notify", &json, err);
    if (code != KB_OK || json.size == 0)
        return code;
    if (notify_parse(json.data, ret, &why) != KB_OK)
        log_warn(_("nobody is told about batch %lld: %s"), (long long)batch, why.text);
    return KB_OK;
}

// One row for each target. message gets its number of delivery here.
static enum kb_code put_notices(struct store *s, const json_t *config, json_t *message,
                                struct kb_error *err)
{
    for (size_t i = 0; notify_kinds[i]; i++) {
        json_auto_t *target = target_of(config, notify_kinds[i]);
        if (!target)
            continue;
        char delivery[33];
        kb_random_hex(delivery, 32);
        json_object_set_new(message, "delivery", json_string(delivery));
        CLEANUP(kb_freep) char *where = json_dumps(target, JSON_COMPACT);
        CLEANUP(kb_freep) char *what = json_dumps(message, JSON_COMPACT);
        enum kb_code code =
            store_exec(s, NULL, err, "INSERT INTO notice(target, message, next_ms) VALUES (?,?,?)",
                       "tti", where, what, kb_wall_ms());
        if (code != KB_OK)
            return code;
    }
    return KB_OK;
}

static json_t *new_message(const char *event, const char *lang)
{
    return json_pack("{s:s, s:s, s:I}", "event", event, "lang", lang, "time",
                     (json_int_t)kb_wall_ms());
}

enum kb_code notify_batch_ended(struct store *s, int64_t id, struct kb_error *err)
{
    json_auto_t *config = NULL, *batch = NULL, *failures = NULL;
    char lang[4];
    enum kb_code code = load_config(s, id, &config, lang, err);
    if (code != KB_OK || !config || !wants(config, "batch_ended"))
        return code;
    code = load_batch(s, id, lang, &batch, err);
    if (code == KB_OK)
        code = load_failures(s, id, lang, &failures, err);
    if (code != KB_OK)
        return code;
    json_auto_t *message = new_message("batch_ended", lang);
    json_object_set(message, "batch", batch);
    json_object_set(message, "failures", failures);
    return put_notices(s, config, message, err);
}

enum kb_code notify_job_failed(struct store *s, int64_t id, struct kb_error *err)
{
    json_auto_t *config = NULL, *batch = NULL, *job = NULL;
    char lang[4];
    int64_t batch_id = 0;
    enum kb_code code =
        store_query_int(s, &batch_id, err, "SELECT batch FROM job WHERE id = ?", "i", id);
    if (code == KB_OK)
        code = load_config(s, batch_id, &config, lang, err);
    if (code != KB_OK || !config || !wants(config, "job_failed"))
        return code;
    code = load_batch(s, batch_id, lang, &batch, err);
    if (code == KB_OK)
        code = view_json(s, "SELECT json FROM job_json WHERE id = ?", id, lang, &job, err);
    if (code != KB_OK)
        return code;
    json_auto_t *message = new_message("job_failed", lang);
    json_object_set(message, "batch", batch);
    json_object_set(message, "job", job);
    return put_notices(s, config, message, err);
}

// --- what is said about it

struct words {
    char *title, *url, *body;
    struct text text;
};

static void words_free(struct words *w)
{
    free(w->title);
    free(w->url);
    free(w->body);
    text_free(&w->text);
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}

static void tell_batch(struct words *w, const json_t *batch, const json_t *failures)
{
    const json_t *counts = json_object_get(batch, "counts");
    long long done = json_integer_value(json_object_get(counts, "done"));
    long long failed = json_integer_value(json_object_get(counts, "failed"));
    long long cancelled = json_integer_value(json_object_get(counts, "cancelled"));
    long long skipped = json_integer_value(json_object_get(counts, "skipped"));
    w->title = kb_printf(_("koubo: the batch '%s' has ended"), text_of(batch, "name"));
    text_addf(&w->text, _("done: %lld, failed: %lld, cancelled: %lld"), done, failed, cancelled);
    if (skipped > 0)
        text_addf(&w->text, _(", skipped: %lld"), skipped);
    for (size_t i = 0; i < json_array_size(failures); i++) {
        const json_t *one = json_array_get(failures, i);
        text_addf(&w->text, "\n%s: %s", text_of(one, "name"), text_of(one, "error"));
    }
    if (failed > (long long)json_array_size(failures))
        text_add(&w->text, "\n…");
}

static void tell_job(struct words *w, const json_t *batch, const json_t *job)
{
    w->title = kb_printf(_("koubo: '%s' has failed"), text_of(job, "name"));
    text_addf(&w->text, _("batch: %s"), text_of(batch, "name"));
    text_addf(&w->text, "\n%s", text_of(json_object_get(job, "error"), "text"));
}

// Title, text and JSON body of what happened, in the language of this thread.
static void words_make(struct words *w, const json_t *message, const char *base_url)
{
    const json_t *batch = json_object_get(message, "batch");
    const char *event = text_of(message, "event");
    if (base_url) {
        size_t n = strlen(base_url);
        while (n > 0 && base_url[n - 1] == '/')
            n--;
        w->url = batch ? kb_printf("%.*s/?batch=%lld", (int)n, base_url,
                                   (long long)json_integer_value(json_object_get(batch, "id")))
                       : kb_printf("%.*s/", (int)n, base_url);
    }
    if (strcmp(event, "batch_ended") == 0) {
        tell_batch(w, batch, json_object_get(message, "failures"));
    } else if (strcmp(event, "job_failed") == 0) {
        tell_job(w, batch, json_object_get(message, "job"));
    } else {
        w->title = kb_strdup(_("koubo: a test"));
        text_add(&w->text, _("This is a test message. Messages of koubo arrive here."));
    }
    json_auto_t *body = json_deep_copy(message);
    json_object_del(body, "lang");
    json_object_set_new(body, "url", w->url ? json_string(w->url) : json_null());
    w->body = json_dumps(body, JSON_COMPACT);
    if (!w->body)
        abort(); // memory is out: body was JSON before
}

enum kb_code message_say(const json_t *target, const json_t *message, const struct notify_way *way,
                         const struct cancel *cancel, struct kb_error *err)
{
    CLEANUP(words_free) struct words w = {0};
    words_make(&w, message, way->base_url);
    struct message m = {
        .event = text_of(message, "event"),
        .delivery = text_of(message, "delivery"),
        .title = w.title,
        .text = text_get(&w.text),
        .url = w.url,
        .body = w.body,
    };
    return message_send(target, &m, way->guard, cancel, err);
}

enum kb_code notify_test(const char *json, const struct notify_way *way, struct text *ret,
                         struct kb_error *err)
{
    json_auto_t *config = NULL, *list = json_array();
    enum kb_code code = notify_parse(json, &config, err);
    if (code != KB_OK)
        return code;
    for (size_t i = 0; notify_kinds[i]; i++) {
        json_auto_t *target = target_of(config, notify_kinds[i]);
        if (!target)
            continue;
        char delivery[33];
        kb_random_hex(delivery, 32);
        json_auto_t *message = json_pack("{s:s, s:s, s:I}", "event", "test", "delivery", delivery,
                                         "time", (json_int_t)kb_wall_ms());
        struct kb_error why = {0};
        bool ok = message_say(target, message, way, NULL, &why) == KB_OK;
        CLEANUP(kb_freep) char *sentence = utf8_clean(why.text);
        json_array_append_new(list, json_pack("{s:s, s:b, s:s?}", "target", notify_kinds[i], "ok",
                                              ok, "error", ok ? NULL : sentence));
    }
    CLEANUP(kb_freep) char *result = json_dumps(list, JSON_COMPACT);
    if (!result)
        return kb_fail(err, KB_INTERNAL, "the outcome of a test could not be written as JSON");
    text_add(ret, result);
    return KB_OK;
}
