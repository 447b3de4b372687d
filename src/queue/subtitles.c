#include "queue/subtitles.h"

#include "media/cues.h"
#include "queue/options.h"
#include "store/sql.h"

#include <stdlib.h>
#include <string.h>

enum kb_code subtitles_check(struct store *s, const struct batch_options *o, const char *speech,
                             struct kb_error *err)
{
    const struct captions_params *c = &o->dub.finish.captions;
    if (!o->subtitles_spoken || !c->as || c->text)
        return KB_OK;
    int64_t known = 0;
    enum kb_code code = store_query_int(
        s, &known, err, "SELECT state = 'making' OR words IS NOT NULL FROM asset WHERE id = ?", "t",
        speech);
    if (code == KB_OK && !known)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the option 'subtitles' is text, but what this speech says is not known: "
                         "give its text with the option 'subtitles_text', or a file of subtitles"));
    return code;
}

enum kb_code subtitles_words(struct store *s, int64_t job, char **ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT coalesce(a.words, '') FROM job j"
                                    " JOIN batch b ON b.id = j.batch"
                                    " JOIN asset a ON a.id = coalesce(j.audio, b.audio)"
                                    " WHERE j.id = ?",
                                    "i", job);
    if (code == KB_OK)
        *ret = store_column(q, 0);
    else if (code == KB_EOF)
        *ret = kb_strdup("");
    return code == KB_EOF ? KB_OK : code;
}

char *subtitles_tell_text(struct store *s, const char *options, const char *speech_sha256)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(words_free) struct words words = {0};
    json_auto_t *all = json_loads(options ? options : "{}", 0, NULL);
    const char *source = json_string_value(json_object_get(all, "subtitles"));
    if (!source || strcmp(source, "text") != 0 ||
        json_is_string(json_object_get(all, "subtitles_text")) ||
        store_query(s, &q, NULL,
                    "SELECT words FROM asset WHERE sha256 = ? AND kind = 'audio'"
                    " AND words IS NOT NULL LIMIT 1",
                    "t", speech_sha256) != KB_OK ||
        words_parse(&words, (const char *)sqlite3_column_text(q, 0), NULL) != KB_OK)
        return NULL;
    json_object_set_new(all, "subtitles_text", json_string(words.text));
    return json_dumps(all, JSON_COMPACT);
}

char *subtitles_pack(const struct subtitle_track *t)
{
    size_t first = 0;
    json_t *list = t->n == 0 ? NULL : cues_pack(t, &first, SIZE_MAX);
    json_auto_t *all = list ? json_pack("{s:o}", "cues", list) : NULL;
    return all ? json_dumps(all, JSON_COMPACT) : NULL;
}

static bool load(const char *json, struct subtitle_track *ret)
{
    json_auto_t *all = json_loads(json, 0, NULL);
    json_t *list = json_object_get(all, "cues");
    return list && cues_unpack(ret, list);
}

static enum kb_code no_subtitles(struct kb_error *err)
{
    return kb_fail(err, KB_NOT_FOUND, _("there are no subtitles here"));
}

enum kb_code subtitles_of_result(struct store *s, int64_t job, struct subtitle_track *ret,
                                 struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err, "SELECT cues FROM job WHERE id = ? AND result IS NOT NULL AND cues IS NOT NULL",
        "i", job);
    if (code != KB_OK)
        return code == KB_EOF ? no_subtitles(err) : code;
    return load((const char *)sqlite3_column_text(q, 0), ret) ? KB_OK : no_subtitles(err);
}

enum kb_code subtitles_set_file(struct store *s, const char *asset, const struct subtitle_track *t,
                                struct kb_error *err)
{
    CLEANUP(kb_freep) char *json = subtitles_pack(t);
    if (!json)
        return kb_no_memory(err);
    return store_exec(s, NULL, err, "UPDATE asset SET words = ? WHERE id = ? AND state = 'new'",
                      "tt", json, asset);
}

enum kb_code subtitles_of_asset(struct store *s, const char *asset, int width, int height,
                                float size, struct subtitle_track *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(words_free) struct words words = {0};
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT words, kind FROM asset WHERE id = ? AND job IS NULL"
                                    " AND words IS NOT NULL AND state IN ('new', 'ready')",
                                    "t", asset);
    if (code != KB_OK)
        return code == KB_EOF ? no_subtitles(err) : code;
    const char *json = (const char *)sqlite3_column_text(q, 0);
    if (strcmp((const char *)sqlite3_column_text(q, 1), "text") == 0)
        return load(json, ret) ? KB_OK : no_subtitles(err);
    code = words_parse(&words, json, err);
    if (code == KB_OK)
        code = captions_preview(ret, &words, width, height, size, err);
    return code;
}
