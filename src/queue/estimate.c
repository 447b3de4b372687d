#include "queue/estimate.h"

#include "queue/options.h"
#include "store/sql.h"

// The result of one video: seconds and pixels, multiplied (0: it cannot be used), and how many
// times as long as those alone it takes.
struct output {
    double size, effort;
};

static enum kb_code output_of(struct store *s, const char *video, const char *options,
                              double speech_s, struct output *ret, bool *ret_known,
                              struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT state <> 'bad' AND kind <> 'audio', v.width > 0 AND v.height > 0," OUTPUT_S(
            "?2",
            "?3") "*" OUTPUT_PIXELS("?3") "," OUTPUT_EFFORT("?3") "FROM asset v WHERE id = ?1",
        "tdt", video, speech_s, options);
    *ret = (struct output){0};
    *ret_known = true;
    if (code != KB_OK)
        return code == KB_EOF ? KB_OK : code;
    if (!sqlite3_column_int(q, 0))
        return KB_OK;
    *ret_known = sqlite3_column_int(q, 1);
    *ret = (struct output){sqlite3_column_double(q, 2), sqlite3_column_double(q, 3)};
    return KB_OK;
}

static enum kb_code find_speech(struct store *s, const char *audio, double *ret_s,
                                struct kb_error *err)
{
    int64_t ms = 0;
    enum kb_code code =
        audio
            ? store_query_int(s, &ms, err,
                              "SELECT coalesce(duration_ms, 0) FROM asset WHERE id = ?", "t", audio)
            : KB_OK;
    *ret_s = (double)ms / 1000;
    return code;
}

static enum kb_code estimate_job(struct store *s, const struct batch_params *p, int i,
                                 struct output *ret, bool *ret_known, struct kb_error *err)
{
    const struct batch_pair *pair = p->n_pairs > 0 ? &p->pairs[i] : NULL;
    CLEANUP(kb_freep) char *options = NULL;
    double speech_s = 0;
    enum kb_code code = find_speech(s, pair ? pair->audio : p->audio, &speech_s, err);
    if (code == KB_OK && pair && pair->options)
        code = batch_options_merge(p->options, pair->options, &options, err);
    if (code == KB_OK)
        code = output_of(s, pair ? pair->video : p->videos[i], options ? options : p->options,
                         speech_s, ret, ret_known, err);
    *ret_known = *ret_known && speech_s > 0;
    return code;
}

static enum kb_code estimate(struct store *s, const struct batch_params *p,
                             struct batch_estimate *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    double size = 0, work = 0;
    int n = 0, n_jobs = p->n_pairs > 0 ? p->n_pairs : p->n_videos;
    bool known = true;
    int64_t n_workers = 0;
    *ret = (struct batch_estimate){-1, -1};
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < n_jobs; i++) {
        struct output one = {0};
        bool one_known = false;
        code = estimate_job(s, p, i, &one, &one_known, err);
        known = known && one_known;
        size += one.size;
        work += one.size * one.effort;
        n += one.size > 0;
    }
    if (code == KB_OK)
        code = store_query_int(s, &n_workers, err, "SELECT n FROM place", "");
    if (code == KB_OK)
        code = store_query(s, &q, err, "SELECT seconds, bytes FROM pace", "");
    if (code != KB_OK || !known || sqlite3_column_type(q, 0) == SQLITE_NULL)
        return code;
    double at_once = (double)KB_MAX(1, KB_MIN(n_workers, (int64_t)n));
    ret->seconds = work * sqlite3_column_double(q, 0) / at_once;
    ret->bytes = size * sqlite3_column_double(q, 1);
    return KB_OK;
}

static enum kb_code check_options(const struct batch_params *p, struct kb_error *err)
{
    enum kb_code code = KB_OK;
    for (int i = 0; code == KB_OK && i < KB_MAX(p->n_pairs, 1); i++) {
        CLEANUP(batch_options_free) struct batch_options o = {0};
        CLEANUP(kb_freep) char *merged = NULL;
        const char *own = p->n_pairs > 0 ? p->pairs[i].options : NULL;
        if (i > 0 && !own)
            continue;
        code = batch_options_merge(p->options, own, &merged, err);
        if (code == KB_OK)
            code = batch_options_parse(merged, &o, err);
        if (code != KB_OK && own)
            kb_wrap(err, _("pair %d"), i + 1);
    }
    return code;
}

enum kb_code batch_estimate(struct store *s, const struct batch_params *p,
                            struct batch_estimate *ret, struct kb_error *err)
{
    enum kb_code code = check_options(p, err);
    if (code == KB_OK)
        code = store_begin_read(s, err);
    return code == KB_OK ? store_end(s, estimate(s, p, ret, err), err) : code;
}
