// Numbers about everything, for /metrics, the system view and koubo doctor.
#include "queue/stats.h"

#include "queue/internal.h"

#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

// Averages are over so many jobs done last: machines and models change.
#define RECENT "200"

// Bytes of the files in a folder (not below it).
static int64_t folder_size(struct store *s, const char *kind)
{
    CLEANUP(kb_freep) char *path = path_join(s->folder, kind);
    DIR *folder = opendir(path);
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

enum kb_code stats_json(struct store *s, struct text *ret, struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = store_query(
        s, &q, err,
        "SELECT json_object('jobs', json((SELECT json_object("
        "  'queued', count(*) FILTER (WHERE state = 'queued'),"
        "  'loading', count(*) FILTER (WHERE state = 'loading'),"
        "  'preprocessing', count(*) FILTER (WHERE state = 'preprocessing'),"
        "  'generating', count(*) FILTER (WHERE state = 'generating'),"
        "  'finishing', count(*) FILTER (WHERE state = 'finishing'),"
        "  'done', count(*) FILTER (WHERE state = 'done'),"
        "  'failed', count(*) FILTER (WHERE state = 'failed'),"
        "  'cancelled', count(*) FILTER (WHERE state = 'cancelled')) FROM job)),"
        " 'batches', (SELECT count(*) FROM batch), 'assets', (SELECT count(*) FROM asset),"
        " 'results', (SELECT count(*) FROM job WHERE result IS NOT NULL),"
        " 'bytes', json_object('files', (SELECT coalesce(sum(size), 0) FROM"
        "   (SELECT max(size) AS size FROM asset WHERE sha256 IS NOT NULL GROUP BY sha256)),"
        "  'results', (SELECT coalesce(sum(result_size), 0) FROM job WHERE result IS NOT NULL),"
        "  'tracks', ?1, 'uploads', (SELECT coalesce(sum(received), 0) FROM asset"
        "   WHERE state IN ('uploading', 'fetching'))),"
        " 'done_total', (SELECT done FROM tally), 'failed_total', (SELECT failed FROM tally),"
        " 'seconds_total', (SELECT round(seconds, 3) FROM tally),"
        " 'stage_average_s', json((SELECT json_object("
        "  'loading', round(avg(json_extract(stage_s, '$.loading')), 3),"
        "  'audio', round(avg(json_extract(stage_s, '$.audio')), 3),"
        "  'preprocessing', round(avg(json_extract(stage_s, '$.preprocessing')), 3),"
        "  'generating', round(avg(json_extract(stage_s, '$.generating')), 3),"
        "  'finishing', round(avg(json_extract(stage_s, '$.finishing')), 3))"
        "  FROM (SELECT stage_s FROM job WHERE state = 'done' ORDER BY ended_ms DESC"
        "   LIMIT " RECENT "))))",
        "i", folder_size(s, "tracks"));
    if (code == KB_OK)
        store_add_column(ret, q, 0);
    return code;
}
