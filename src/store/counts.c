// Version 4 of the schema: what is counted is counted once, and what is asked often has an index.
//
// batch_sum has a row for each batch, kept by triggers: how many of its jobs are in which state,
// and what must be added up to tell its time left. A list of batches then costs as many rows as it
// has batches, however many jobs wait. It has no revision: a change of a job is one already.
#include "store/counts.h"

#include "store/internal.h"

// The columns of batch_sum, each with what a row r of job adds to it. Whole numbers only: what was
// added is taken away again, to the bit.
#define QUEUED(r)    r ".state = 'queued'"
#define RUNNING(r)   r ".state IN " JOB_STATES_RUNNING
#define DONE(r)      r ".state = 'done'"
#define FAILED(r)    r ".state = 'failed'"
#define CANCELLED(r) r ".state = 'cancelled'"
#define SKIPPED(r)   r ".state = 'skipped'"
#define RESULTS(r)   r ".result IS NOT NULL"
#define BYTES(r)     "iif(" r ".result IS NOT NULL, coalesce(" r ".result_size, 0), 0)"
// Of those that are done and were made here: how many, and how long they took.
#define TIMED(r)    r ".state = 'done' AND " r ".stage_s IS NOT NULL"
#define TIMED_MS(r) "iif(" TIMED(r) ", coalesce(" r ".ended_ms - " r ".started_ms, 0), 0)"
// What the queued ones will take, where that is known (job.cost), and of how many it is not.
#define COST(r)    "iif(" QUEUED(r) ", coalesce(" r ".cost, 0), 0)"
#define UNKNOWN(r) QUEUED(r) " AND " r ".cost IS NULL"

#define EACH(f)                                                                                                          \
    f(queued, QUEUED) "," f(running, RUNNING) "," f(done, DONE) "," f(failed, FAILED) "," f(cancelled, CANCELLED) "," f( \
        skipped,                                                                                                         \
        SKIPPED) "," f(results,                                                                                          \
                       RESULTS) "," f(bytes,                                                                             \
                                      BYTES) "," f(timed,                                                                \
                                                   TIMED) "," f(timed_ms,                                                \
                                                                TIMED_MS) "," f(cost,                                    \
                                                                                COST) "," f(unknown,                     \
                                                                                            UNKNOWN)

#define COLUMN(name, of) " " #name " INTEGER NOT NULL DEFAULT 0"
#define TOTAL(name, of)  " coalesce(sum(" of("j") "), 0)"
#define PLUS(name, of)   " " #name " = " #name " + (" of("NEW") ")"
#define MINUS(name, of)  " " #name " = " #name " - (" of("OLD") ")"
#define BOTH(name, of)   " " #name " = " #name " - (" of("OLD") ") + (" of("NEW") ")"

// clang-format off
#define COUNT_ALL                                                                                  \
    "INSERT INTO batch_sum SELECT b.id," EACH(TOTAL)                                               \
    " FROM batch b LEFT JOIN job j ON j.batch = b.id GROUP BY b.id;"

static const char count_all[] = COUNT_ALL;
const char store_schema_4[] =
    // Seconds of the result times its pixels, NULL until the speech and the video were looked at.
    // Kept for queued jobs by batch_create() and the sweep; it is no news to anybody, so it gives
    // no revision. A statement that sets it sets nothing else.
    "ALTER TABLE job ADD COLUMN cost INTEGER;"
    "DROP TRIGGER job_update;"
    "CREATE TRIGGER job_update AFTER UPDATE ON job WHEN OLD.cost IS NEW.cost BEGIN"
    " UPDATE clock SET rev = rev + 1;"
    " UPDATE job SET rev = (SELECT rev FROM clock) WHERE rowid = NEW.rowid; END;"

    "CREATE TABLE batch_sum(batch INTEGER PRIMARY KEY," EACH(COLUMN) ");"
    COUNT_ALL
    "CREATE TRIGGER batch_sum_begin AFTER INSERT ON batch BEGIN"
    " INSERT INTO batch_sum(batch) VALUES (NEW.id); END;"
    "CREATE TRIGGER batch_sum_end AFTER DELETE ON batch BEGIN"
    " DELETE FROM batch_sum WHERE batch = OLD.id; END;"
    "CREATE TRIGGER batch_sum_insert AFTER INSERT ON job BEGIN"
    " UPDATE batch_sum SET" EACH(PLUS) " WHERE batch = NEW.batch; END;"
    "CREATE TRIGGER batch_sum_delete AFTER DELETE ON job BEGIN"
    " UPDATE batch_sum SET" EACH(MINUS) " WHERE batch = OLD.batch; END;"
    "CREATE TRIGGER batch_sum_update AFTER UPDATE OF state, cost, result, result_size,"
    " started_ms, ended_ms, stage_s ON job WHEN OLD.state <> NEW.state"
    "  OR OLD.cost IS NOT NEW.cost OR NEW.state = 'done' BEGIN" // a result is of one that is done
    " UPDATE batch_sum SET" EACH(BOTH) " WHERE batch = NEW.batch; END;"

    // The queue by its order, and who waits for the time or the disk.
    "CREATE INDEX job_queued ON job(batch, position) WHERE state = 'queued';"
    "CREATE INDEX job_retry ON job(not_before_ms) WHERE waiting = 'retry';"
    "CREATE INDEX job_disk ON job(id) WHERE waiting = 'disk';"
    // The history, the newest first; and results in the orders that they are shown in.
    "CREATE INDEX job_ended ON job(state, ended_ms DESC) WHERE ended_ms IS NOT NULL;"
    "CREATE INDEX job_result_text ON job(ended_ms, result_name, name, batch)"
    " WHERE result IS NOT NULL;" // for a search, which looks at all of them
    "CREATE INDEX job_result_name ON job(lower(result_name)) WHERE result IS NOT NULL;"
    "CREATE INDEX job_result_size ON job(result_size) WHERE result IS NOT NULL;"
    "CREATE INDEX job_result_ms ON job(result_ms) WHERE result IS NOT NULL;";
// clang-format on

enum kb_code counts_mend(struct store *s, struct kb_error *err)
{
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = store_exec(s, NULL, err, "DELETE FROM batch_sum", "");
    if (code == KB_OK)
        code = store_exec(s, NULL, err, count_all, "");
    return store_end(s, code, err);
}
