#include "queue/stats.h"

#include "queue/internal.h"

#include "base/beneath.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

// Averages are over so many jobs done last: machines and models change.
#define RECENT "200"

// Bytes of the files in a folder (not below it).
static int64_t folder_size(struct store *s, const char *kind)
{
    DIR *folder = beneath_list(s->folder, kind);
    int64_t sum = 0;
    if (!folder)
        return 0;
    for (struct dirent *e; (e = readdir(folder));) {
        struct stat st;
        if (fstatat(dirfd(folder), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            sum += st.st_size;
    }
    closedir(folder);
    return sum;
}

static enum kb_code count_jobs(struct store *s, struct stats *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    static const enum job_state ended[] = {JOB_DONE, JOB_FAILED, JOB_CANCELLED, JOB_SKIPPED};
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT total(queued), total(done), total(failed),"
                                    " total(cancelled), total(skipped), count(*), total(results),"
                                    " total(bytes) FROM batch_sum",
                                    "");
    if (code != KB_OK)
        return code;
    ret->jobs[JOB_QUEUED] = sqlite3_column_int64(q, 0);
    for (int i = 0; i < (int)ARRAY_LEN(ended); i++)
        ret->jobs[ended[i]] = sqlite3_column_int64(q, 1 + i);
    ret->batches = sqlite3_column_int64(q, 5);
    ret->results = sqlite3_column_int64(q, 6);
    ret->results_bytes = sqlite3_column_int64(q, 7);
    store_reset(&q);
    code = store_query(
        s, &q, err,
        "SELECT state, count(*) FROM job WHERE state IN " JOB_STATES_RUNNING " GROUP BY state", "");
    for (; code == KB_OK; code = store_step(s, q, err)) {
        enum job_state state;
        if (job_state_parse((const char *)sqlite3_column_text(q, 0), &state))
            ret->jobs[state] = sqlite3_column_int64(q, 1);
    }
    return code == KB_EOF ? KB_OK : code;
}

static enum kb_code add_up(struct store *s, struct stats *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT (SELECT count(*) FROM asset WHERE job IS NULL), (SELECT coalesce(sum(size), 0) FROM"
        "  (SELECT max(size) AS size FROM asset WHERE sha256 IS NOT NULL GROUP BY sha256)),"
        " (SELECT coalesce(sum(received), 0) FROM asset WHERE state IN ('uploading', 'fetching')),"
        " done, failed, seconds FROM tally",
        "");
    if (code != KB_OK)
        return code == KB_EOF ? KB_OK : code;
    ret->assets = sqlite3_column_int64(q, 0);
    ret->files_bytes = sqlite3_column_int64(q, 1);
    ret->uploads_bytes = sqlite3_column_int64(q, 2);
    ret->done_total = sqlite3_column_int64(q, 3);
    ret->failed_total = sqlite3_column_int64(q, 4);
    ret->seconds_total = sqlite3_column_double(q, 5);
    return KB_OK;
}

#define MEAN(stage) " coalesce(avg(json_extract(stage_s, '$." stage "')), -1)"

static enum kb_code average_stages(struct store *s, struct stats *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT" MEAN("loading") "," MEAN("audio") "," MEAN("preprocessing") "," MEAN(
            "generating") "," MEAN("finishing") " FROM (SELECT stage_s FROM job"
                                                " WHERE state = 'done' AND ended_ms IS NOT NULL"
                                                " ORDER BY ended_ms DESC LIMIT " RECENT ")",
        "");
    for (enum stage stage = STAGE_LOADING; code == KB_OK && stage < N_STAGES; stage++)
        ret->stage_average_s[stage] = sqlite3_column_double(q, (int)stage - STAGE_LOADING);
    return code;
}

enum kb_code stats_get(struct store *s, struct stats *ret, struct kb_error *err)
{
    struct stats stats = {.tracks_bytes = folder_size(s, "tracks")};
    enum kb_code code = store_begin_read(s, err);
    if (code != KB_OK)
        return code;
    code = count_jobs(s, &stats, err);
    if (code == KB_OK)
        code = add_up(s, &stats, err);
    if (code == KB_OK)
        code = average_stages(s, &stats, err);
    if (code == KB_OK)
        *ret = stats;
    return store_end(s, code, err);
}

void stats_json(const struct stats *stats, struct text *ret)
{
    text_add(ret, "{\"jobs\":{");
    for (int i = 0; i < N_JOB_STATES; i++)
        text_addf(ret, "%s\"%s\":%lld", i ? "," : "", job_state_name((enum job_state)i),
                  (long long)stats->jobs[i]);
    text_addf(ret,
              "},\"batches\":%lld,\"assets\":%lld,\"results\":%lld,\"bytes\":{\"files\":%lld,"
              "\"results\":%lld,\"tracks\":%lld,\"uploads\":%lld},\"done_total\":%lld,"
              "\"failed_total\":%lld,\"seconds_total\":%.3f,\"stage_average_s\":{",
              (long long)stats->batches, (long long)stats->assets, (long long)stats->results,
              (long long)stats->files_bytes, (long long)stats->results_bytes,
              (long long)stats->tracks_bytes, (long long)stats->uploads_bytes,
              (long long)stats->done_total, (long long)stats->failed_total, stats->seconds_total);
    for (enum stage i = STAGE_LOADING; i < N_STAGES; i++) {
        text_addf(ret, "%s\"%s\":", i ? "," : "", stage_id(i));
        if (stats->stage_average_s[i] < 0)
            text_add(ret, "null");
        else
            text_addf(ret, "%.3f", stats->stage_average_s[i]);
    }
    text_add(ret, "}}");
}
