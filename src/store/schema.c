// The tables. docs/store.md tells the story; JSON views are in views.c.
//
// Every change of an asset, batch or job gets the next number of clock.rev by trigger (SQLite's
// recursive triggers are off, so a trigger's own UPDATE does not fire it again); what is deleted
// leaves a row in gone. A reader that knows revision N asks for rev > N and has missed nothing.
#include "store/internal.h"

#define REVISION(table, kind)                                                                      \
    "CREATE INDEX " table "_rev ON " table "(rev);"                                                \
    "CREATE TRIGGER " table "_insert AFTER INSERT ON " table " BEGIN"                              \
    " UPDATE clock SET rev = rev + 1;"                                                             \
    " UPDATE " table " SET rev = (SELECT rev FROM clock) WHERE rowid = NEW.rowid; END;"            \
    "CREATE TRIGGER " table "_update AFTER UPDATE ON " table " BEGIN"                              \
    " UPDATE clock SET rev = rev + 1;"                                                             \
    " UPDATE " table " SET rev = (SELECT rev FROM clock) WHERE rowid = NEW.rowid; END;"            \
    "CREATE TRIGGER " table "_delete AFTER DELETE ON " table " BEGIN"                              \
    " UPDATE clock SET rev = rev + 1;"                                                             \
    " INSERT INTO gone(rev, kind, id) VALUES ((SELECT rev FROM clock), '" kind "', OLD.id);"       \
    " END;"

const char store_schema[] =
    "CREATE TABLE clock(rev INTEGER NOT NULL, oldest INTEGER NOT NULL);" // gone is complete after
                                                                         // revision oldest
    "INSERT INTO clock VALUES (0, 0);"
    "CREATE TABLE gone(rev INTEGER PRIMARY KEY, kind TEXT NOT NULL, id NOT NULL);"
    "CREATE TABLE setting(name TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;"

    "CREATE TABLE asset("
    " id TEXT PRIMARY KEY,"
    " state TEXT NOT NULL," // uploading fetching making new ready bad
    " kind TEXT NOT NULL DEFAULT '',"
    " name TEXT NOT NULL,"
    " size INTEGER NOT NULL," // -1 unknown
    " received INTEGER NOT NULL DEFAULT 0,"
    " sha256 TEXT," // of the content, files/<sha256>
    " source TEXT," // address to fetch, text to speak
    " voice TEXT,"
    " client TEXT,"
    " lang TEXT NOT NULL DEFAULT 'zh',"
    " duration_ms INTEGER, width INTEGER, height INTEGER, fps REAL, codec TEXT, faces INTEGER,"
    " warnings TEXT NOT NULL DEFAULT '[]'," // JSON array of codes
    " peaks TEXT,"                          // JSON array of 0..255
    " thumbnail INTEGER NOT NULL DEFAULT 0,"
    " error TEXT," // as base/sentence.h keeps it, like all errors here
    " worker TEXT, lease_ms INTEGER, attempts INTEGER NOT NULL DEFAULT 0," // of the inspector
    " expires_ms INTEGER,"
    " created_ms INTEGER NOT NULL,"
    " rev INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX asset_state ON asset(state);"
    "CREATE INDEX asset_sha256 ON asset(sha256);"
    "CREATE INDEX asset_created ON asset(created_ms);"

    "CREATE TABLE batch("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " name TEXT NOT NULL,"
    " audio TEXT NOT NULL,"      // asset
    " audio_name TEXT NOT NULL," // kept when the asset is deleted
    " options TEXT NOT NULL,"
    " notify TEXT,"
    " priority INTEGER NOT NULL,"
    " turn REAL NOT NULL,"
    " paused INTEGER NOT NULL DEFAULT 0,"
    " client TEXT, lang TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " ended_ms INTEGER," // all jobs have ended; NULL again after a retry
    " rev INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX batch_audio ON batch(audio);"

    "CREATE TABLE job("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " batch INTEGER NOT NULL REFERENCES batch(id),"
    " video TEXT NOT NULL," // asset
    " name TEXT NOT NULL,"  // of the video
    " result_name TEXT NOT NULL,"
    " position REAL NOT NULL,"
    " state TEXT NOT NULL DEFAULT 'queued',"
    " waiting TEXT DEFAULT 'worker'," // why it is still queued
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " not_before_ms INTEGER NOT NULL DEFAULT 0,"
    " cancel INTEGER NOT NULL DEFAULT 0,"
    " lease INTEGER, worker TEXT, worker_pid INTEGER,"
    " stage INTEGER NOT NULL DEFAULT 0," // enum stage of a running one, since state_since_ms
    " done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, fps REAL,"
    " progress REAL NOT NULL DEFAULT 0," // 0..1 of the whole job, never backwards in an attempt
    " heartbeat_ms INTEGER, progressed_ms INTEGER, state_since_ms INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, started_ms INTEGER, ended_ms INTEGER,"
    " stage_s TEXT," // JSON object
    " error_code TEXT, error TEXT,"
    // the result; result is the name below results/, NULL when there is none (any more)
    " result TEXT, result_thumb INTEGER NOT NULL DEFAULT 0, result_size INTEGER,"
    " result_ms INTEGER, result_width INTEGER, result_height INTEGER, result_frames INTEGER,"
    " result_animated INTEGER,"
    " rev INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX job_batch ON job(batch, position);"
    "CREATE INDEX job_state ON job(state, batch);"
    "CREATE INDEX job_video ON job(video);"
    "CREATE INDEX job_result ON job(ended_ms) WHERE result IS NOT NULL;"

    // What was ever done, whatever was deleted since.
    "CREATE TABLE tally(done INTEGER NOT NULL, failed INTEGER NOT NULL, seconds REAL NOT NULL);"
    "INSERT INTO tally VALUES (0, 0, 0);"

    "CREATE TABLE worker("
    " id TEXT PRIMARY KEY, kind TEXT NOT NULL, pid INTEGER NOT NULL, state TEXT NOT NULL,"
    " model TEXT, precision TEXT, rss INTEGER, started_ms INTEGER NOT NULL,"
    " heartbeat_ms INTEGER NOT NULL, restarts INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"

    "CREATE TABLE notice(" // the outbox of notify.c
    " id INTEGER PRIMARY KEY,"
    " target TEXT NOT NULL,"  // JSON: the configuration of one target
    " message TEXT NOT NULL," // JSON: what happened
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " next_ms INTEGER NOT NULL,"
    " state TEXT NOT NULL DEFAULT 'due'," // due, sent, given_up
    " error TEXT);"
    "CREATE INDEX notice_due ON notice(state, next_ms);"

    "CREATE TABLE easy(" // the Duix API's codes
    " code TEXT PRIMARY KEY, job INTEGER, error TEXT, created_ms INTEGER NOT NULL,"
    " delivered INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;" // the result is in the shared folder

    REVISION("asset", "asset") REVISION("batch", "batch") REVISION("job", "job");

// Files that go unless a row names them (fate.c): written in the transaction that takes the last
// row away, so that a crash before the file is unlinked does not make a stranger of it.
#define LOOSE(trigger, event, condition, kind, name)                                               \
    "CREATE TRIGGER " trigger " AFTER " event " WHEN " condition " BEGIN"                          \
    " INSERT OR IGNORE INTO loose VALUES ('" kind "', " name                                       \
    ", CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)); END;"

const char store_schema_2[] =
    "CREATE TABLE loose("
    " kind TEXT NOT NULL," // a folder, or "halves": of results, but what is whole stays
    " name TEXT NOT NULL," // of the file without its tail: "7-1", "12_news/a_b_2026-11-27"
    " since_ms INTEGER NOT NULL, PRIMARY KEY(kind, name)) WITHOUT ROWID;"
    "ALTER TABLE job ADD COLUMN output TEXT;" // what the last attempt writes: "7-1"
    "UPDATE job SET output = id || '-' || attempts WHERE attempts > 0;"
    "CREATE UNIQUE INDEX job_file ON job(result) WHERE result IS NOT NULL;"

    // clang-format off
    LOOSE("job_file_left", "UPDATE OF result ON job",
          "OLD.result IS NOT NULL AND OLD.result IS NOT NEW.result", "results",
          "replace(OLD.result, '.mp4', '')")
    LOOSE("job_file_deleted", "DELETE ON job", "OLD.result IS NOT NULL", "results",
          "replace(OLD.result, '.mp4', '')")
    LOOSE("asset_file_deleted", "DELETE ON asset", "OLD.sha256 IS NOT NULL", "files",
          "OLD.sha256")
    LOOSE("asset_part_deleted", "DELETE ON asset", "OLD.state <> 'ready'", "uploads",
          "OLD.id");
// clang-format on

const char store_schema_3[] =
    "ALTER TABLE job ADD COLUMN retried INTEGER NOT NULL DEFAULT 0;" // a user asked for it again
    "ALTER TABLE asset ADD COLUMN progress REAL;"                    // 0..1 of the looking at it
    "CREATE INDEX batch_open ON batch(priority, turn) WHERE ended_ms IS NULL;"

    // Results have readable names, in a folder for each batch. What an attempt wrote into may have
    // been left half: such goes ("halves"), but not a whole file of that name.
    "ALTER TABLE batch ADD COLUMN folder TEXT;" // below results/, from its first attempt on
    "CREATE INDEX job_output ON job(output) WHERE output IS NOT NULL;"
    "DROP TRIGGER job_file_left;"
    "DROP TRIGGER job_file_deleted;"
    // clang-format off
    LOOSE("job_file_left", "UPDATE OF result ON job",
          "OLD.result IS NOT NULL AND OLD.result IS NOT NEW.result", "results",
          "substr(OLD.result, 1, length(OLD.result) - 4)")
    LOOSE("job_file_deleted", "DELETE ON job", "OLD.result IS NOT NULL", "results",
          "substr(OLD.result, 1, length(OLD.result) - 4)")
    LOOSE("job_output_left", "UPDATE OF output ON job",
          "OLD.output IS NOT NULL AND OLD.output IS NOT NEW.output", "halves", "OLD.output")
    LOOSE("job_output_deleted", "DELETE ON job", "OLD.output IS NOT NULL", "halves",
          "OLD.output")
    // clang-format on

    "ALTER TABLE job ADD COLUMN face_x REAL;" // whom a click chose: 0..1 of the picture, or NULL
    "ALTER TABLE job ADD COLUMN face_y REAL;"
    "ALTER TABLE job ADD COLUMN face_s REAL;" // and when, seconds into the video; NULL: not said
    // JSON, [[x, y, w, h], …], 0..1 of the picture that is the thumbnail
    "ALTER TABLE asset ADD COLUMN face_boxes TEXT NOT NULL DEFAULT '[]';"
    "ALTER TABLE asset ADD COLUMN face_boxes_at REAL;" // when that is shown, seconds
    // Where the faces are was not kept: they are looked for again. Jobs do not wait for that.
    "UPDATE asset SET state = 'new', attempts = 0 WHERE state = 'ready' AND faces > 1;";

// Jobs of other machines (queue/remote.h). The row of an attempt goes with its lease, whoever ends
// it. The result on its way is an asset that no page is told of: it has no revision.
const char store_schema_5[] =
    "ALTER TABLE asset ADD COLUMN job INTEGER;" // whose result a machine sends; NULL: a user's
    "CREATE INDEX asset_job ON asset(job) WHERE job IS NOT NULL;"
    "DROP TRIGGER asset_insert;"
    "DROP TRIGGER asset_update;"
    "DROP TRIGGER asset_delete;"
    "CREATE TRIGGER asset_insert AFTER INSERT ON asset WHEN NEW.job IS NULL BEGIN"
    " UPDATE clock SET rev = rev + 1;"
    " UPDATE asset SET rev = (SELECT rev FROM clock) WHERE rowid = NEW.rowid; END;"
    "CREATE TRIGGER asset_update AFTER UPDATE ON asset WHEN NEW.job IS NULL BEGIN"
    " UPDATE clock SET rev = rev + 1;"
    " UPDATE asset SET rev = (SELECT rev FROM clock) WHERE rowid = NEW.rowid; END;"
    "CREATE TRIGGER asset_delete AFTER DELETE ON asset WHEN OLD.job IS NULL BEGIN"
    " UPDATE clock SET rev = rev + 1;"
    " INSERT INTO gone(rev, kind, id) VALUES ((SELECT rev FROM clock), 'asset', OLD.id);"
    " END;"

    // That a batch moves behind the others with each claim is told by the job that was claimed; a
    // batch that changed has the sweep look at all that wait in it.
    "DROP TRIGGER batch_update;"
    "CREATE TRIGGER batch_update AFTER UPDATE ON batch WHEN OLD.turn IS NEW.turn BEGIN"
    " UPDATE clock SET rev = rev + 1;"
    " UPDATE batch SET rev = (SELECT rev FROM clock) WHERE rowid = NEW.rowid; END;"

    // What the result says of itself, JSON; NULL: what the rows say.
    "ALTER TABLE job ADD COLUMN note TEXT;"

    "CREATE TABLE node("
    " name TEXT PRIMARY KEY, title TEXT NOT NULL, secret TEXT NOT NULL,"
    " draining INTEGER NOT NULL DEFAULT 0, slots INTEGER NOT NULL DEFAULT 0,"
    " facts TEXT," // JSON, as it told
    " error TEXT," // why it is refused
    " heard_ms INTEGER NOT NULL DEFAULT 0, created_ms INTEGER NOT NULL) WITHOUT ROWID;"

    "CREATE TABLE remote("
    " job INTEGER PRIMARY KEY, lease INTEGER NOT NULL,"
    " state INTEGER NOT NULL DEFAULT 0," // enum remote_state, since since_ms
    " entry TEXT NOT NULL DEFAULT '', node TEXT NOT NULL DEFAULT '',"
    " sha256 TEXT NOT NULL DEFAULT '', size INTEGER NOT NULL DEFAULT 0,"
    " facts TEXT,"                     // JSON of the result
    " asset TEXT NOT NULL DEFAULT ''," // into which it comes
    " since_ms INTEGER NOT NULL);"
    "CREATE TRIGGER remote_over AFTER UPDATE OF lease ON job WHEN OLD.lease IS NOT NULL"
    " AND NEW.lease IS NOT OLD.lease BEGIN"
    " DELETE FROM remote WHERE job = OLD.id; END;"
    "CREATE TRIGGER remote_gone AFTER DELETE ON job WHEN OLD.lease IS NOT NULL BEGIN"
    " DELETE FROM remote WHERE job = OLD.id; END;"
    "CREATE TRIGGER remote_here AFTER UPDATE OF state ON asset WHEN NEW.job IS NOT NULL"
    " AND OLD.state = 'uploading' AND NEW.state <> 'uploading' BEGIN"
    " UPDATE remote SET state = 4,"
    "  since_ms = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    " WHERE job = NEW.job AND asset = NEW.id; END;";

// As result_mark() makes it (names.h).
#define OLD_MARK                                                                                   \
    "iif(OLD.result GLOB '*.mp4' AND NOT (OLD.result GLOB '*?.mp4.mp4' OR OLD.result GLOB"         \
    " '*?.webm.mp4' OR OLD.result GLOB '*?.mov.mp4'), substr(OLD.result, 1,"                       \
    " length(OLD.result) - 4), OLD.result)"

const char store_schema_6[] =
    // Results end in .mp4, .webm or .mov. Marks had none of them before: "a.mov" was "a.mov.mp4".
    // No name ends in "/", so none is in the way of another while they change.
    "DROP TRIGGER job_file_left;"
    "DROP TRIGGER job_file_deleted;"
    "DROP TRIGGER job_output_left;"
    // clang-format off
    STORE_OUTPUTS_6
    "UPDATE loose SET name = name || '.mp4/'"
    " WHERE kind IN ('results', 'halves') AND " IS_FILM("name") ";"
    "UPDATE loose SET name = rtrim(name, '/')"
    " WHERE kind IN ('results', 'halves') AND name GLOB '*/';"
    LOOSE("job_file_left", "UPDATE OF result ON job",
          "OLD.result IS NOT NULL AND OLD.result IS NOT NEW.result", "results", OLD_MARK)
    LOOSE("job_file_deleted", "DELETE ON job", "OLD.result IS NOT NULL", "results", OLD_MARK)
    LOOSE("job_output_left", "UPDATE OF output ON job",
          "OLD.output IS NOT NULL AND OLD.output IS NOT NEW.output", "halves", "OLD.output")
    // clang-format on

    // What is said and when, of a speech whose text is known, JSON: docs/store.md.
    "ALTER TABLE asset ADD COLUMN words TEXT;"
    // How a text is to be spoken, JSON; what a voice service said of it (asset/speech.h); whether
    // it is only to be heard once.
    "ALTER TABLE asset ADD COLUMN speech TEXT;"
    "ALTER TABLE asset ADD COLUMN pieces TEXT;"
    "ALTER TABLE asset ADD COLUMN sample INTEGER NOT NULL DEFAULT 0;"

    // A job's own speech, and what of its options is its own; NULL: those of its batch, which says
    // how many different speeches its jobs were made with.
    "ALTER TABLE batch ADD COLUMN speeches INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE job ADD COLUMN audio TEXT;"
    "ALTER TABLE job ADD COLUMN audio_name TEXT;"
    "ALTER TABLE job ADD COLUMN options TEXT;"
    "ALTER TABLE job ADD COLUMN cues TEXT;" // subtitles of the result, JSON: docs/store.md
    "CREATE INDEX job_audio ON job(audio) WHERE audio IS NOT NULL;"

    // People (queue/person.h). What its options name are assets, too.
    "CREATE TABLE person("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " video TEXT NOT NULL," // asset
    " options TEXT NOT NULL,"
    " face_x REAL, face_y REAL, face_s REAL," // as a job's
    " created_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX person_video ON person(video);";
