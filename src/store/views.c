// JSON of the API, built by the database; docs/openapi.yaml describes the shapes.
#include "store/sql.h"

#define TEXT_OF_(x)  #x
#define TEXT_OF(x)   TEXT_OF_(x)
#define MAX_ATTEMPTS TEXT_OF(JOB_MAX_ATTEMPTS)

// The time left of a running job j, in seconds: while frames are made by their speed, else by what
// of the job is done. NULL: not known (yet).
#define JOB_ETA                                                                                    \
    " CASE WHEN j.state = 'generating' AND j.fps > 0 AND j.total > 0"                              \
    "  THEN round(max(j.total - j.done, 0) / j.fps, 1)"                                            \
    "  WHEN j.state IN " JOB_STATES_RUNNING " AND j.progress > 0.01"                               \
    "  THEN round((j.heartbeat_ms - j.started_ms) / 1000.0 * (1 - j.progress) / j.progress, 1)"    \
    "  END "

// How far frames are counted: elsewhere done and total are samples, bytes or nothing.
#define OF_FRAMES(column) " iif(j.state IN ('preprocessing', 'generating'), j." column ", 0) "

// The options of a batch b, and a job j's own, each word of them a row.
#define BATCH_WORDS " json_each(iif(json_valid(b.options), b.options, '{}')) e "
#define JOB_WORDS   " json_each(iif(json_valid(j.options), j.options, '{}')) e "

const char store_views[] =
    // The files that options name: whatever word of them is the id of an asset is one. job: whose
    // own options say so, else NULL, and it is for all of the batch.
    "CREATE TEMP VIEW material(batch, job, asset) AS"
    " SELECT b.id, NULL, e.atom FROM batch b," BATCH_WORDS "WHERE e.type = 'text' UNION ALL"
    " SELECT j.batch, j.id, e.atom FROM job j," JOB_WORDS
    "WHERE j.options IS NOT NULL AND e.type = 'text';"

    // The files of people: their films, and whatever word of their options is the id of an asset.
    "CREATE TEMP VIEW person_asset(person, asset) AS SELECT id, video FROM person UNION"
    " SELECT p.id, e.atom FROM person p, json_each(iif(json_valid(p.options), p.options, '{}')) e"
    " WHERE e.type = 'text' AND EXISTS (SELECT 1 FROM asset a WHERE a.id = e.atom);"

    // What queued jobs will take. Of a batch: the mean of those that it has done, or what those
    // seem to take that run (NULL: nothing is known); of any: seconds for a plain second and pixel
    // of output (OUTPUT_EFFORT), by those done lately (NULL: there are none). What koubo restore
    // took in tells nothing.
    "CREATE TEMP VIEW batch_guess(batch, seconds) AS SELECT j.batch, avg(iif(j.progress > 0.1,"
    "  (j.heartbeat_ms - j.started_ms) / 1000.0 +" JOB_ETA ", NULL))"
    " FROM job j WHERE j.state IN " JOB_STATES_RUNNING " GROUP BY j.batch;"
    "CREATE TEMP VIEW pace(seconds, bytes) AS SELECT"
    " sum(seconds) / sum(output * effort), sum(size) / sum(output) FROM"
    " (SELECT (j.ended_ms - started_ms) / 1000.0 AS seconds, result_size AS size,"
    "  result_ms / 1000.0 * result_width * result_height AS output," JOB_EFFORT "AS effort"
    "  FROM job j CROSS JOIN batch b ON b.id = j.batch"
    "  WHERE result IS NOT NULL AND stage_s IS NOT NULL AND result_ms > 0 AND result_width > 0"
    "  AND result_height > 0 AND j.ended_ms >= started_ms ORDER BY j.ended_ms DESC LIMIT 50);"

    // What runs: how many, the seconds that they still take (NULL: not known of all), and of the
    // longest.
    "CREATE TEMP VIEW batch_running(batch, jobs, seconds, longest) AS"
    " SELECT batch, count(*), iif(count(*) = count(seconds), sum(seconds), NULL), max(seconds) FROM"
    " (SELECT j.batch, coalesce(" JOB_ETA ", m.timed_ms / 1000.0 / nullif(m.timed, 0),"
    "   p.seconds * j.cost, g.seconds) AS seconds"
    "  FROM job j JOIN batch_sum m ON m.batch = j.batch LEFT JOIN batch_guess g"
    "  ON g.batch = j.batch, pace p WHERE j.state IN " JOB_STATES_RUNNING ") GROUP BY batch;"

    // What is still to do, in seconds of one worker; NULL: not known. Of a paused batch only what
    // runs already.
    "CREATE TEMP VIEW batch_work(batch, priority, jobs, seconds, running, longest) AS"
    " SELECT batch, priority, jobs, iif(running_jobs > 0, running, 0) + iif(queued = 0, 0, "
    "waiting),"
    " coalesce(running, 0), coalesce(longest, 0) FROM"
    " (SELECT b.id AS batch, b.priority, iif(b.paused, 0, m.queued) AS queued,"
    "   m.running AS running_jobs, iif(b.paused, 0, m.queued) + m.running AS jobs,"
    "   r.seconds AS running, r.longest, CASE"
    "    WHEN m.timed > 0 THEN m.queued * m.timed_ms / 1000.0 / m.timed"
    "    WHEN p.seconds IS NULL THEN m.queued * g.seconds"
    "    WHEN m.unknown > 0 THEN m.cost * p.seconds + m.unknown * g.seconds"
    "    ELSE m.cost * p.seconds END AS waiting"
    "  FROM batch b JOIN batch_sum m ON m.batch = b.id LEFT JOIN batch_running r ON r.batch = b.id"
    "  LEFT JOIN batch_guess g ON g.batch = b.id, pace p WHERE b.ended_ms IS NULL)"
    " WHERE jobs > 0;"

    // How many jobs are made at a time: a worker each, and what the machines that were heard of in
    // the last ten seconds have room for.
    "CREATE TEMP VIEW place(n) AS SELECT (SELECT count(*) FROM worker WHERE kind = 'generate'"
    " AND state <> 'stopped') + (SELECT coalesce(sum(slots), 0) FROM node WHERE NOT draining"
    " AND error IS NULL AND " NODE_IS_HEARD ");"

    // How long until a batch is done, with what stands before it: all of higher priority; of those
    // of its own, which take turns with it, as many jobs as it has itself; of lower ones what runs.
    // The workers share it, but one job is not shared.
    "CREATE TEMP VIEW batch_eta(batch, seconds) AS SELECT batch, iif(unknown, NULL,"
    " round(max(longest, seconds / max(1, min(ahead, (SELECT n FROM place)))), 1)) FROM"
    " (SELECT batch, longest,"
    "  count(*) OVER upto - count(seconds) OVER upto AS unknown,"
    "  total(seconds) OVER above + total(seconds) OVER smaller"
    "   + jobs * total(seconds / jobs) OVER larger + total(running) OVER below AS seconds,"
    "  total(jobs) OVER above + total(jobs) OVER smaller + jobs * count(*) OVER larger AS ahead"
    "  FROM batch_work WINDOW"
    "  upto AS (ORDER BY priority DESC),"
    "  above AS (ORDER BY priority DESC GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),"
    "  below AS (ORDER BY priority DESC GROUPS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING),"
    "  smaller AS (PARTITION BY priority ORDER BY jobs),"
    "  larger AS (PARTITION BY priority ORDER BY jobs"
    "   GROUPS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING));"

    "CREATE TEMP VIEW asset_json(id, rev, json) AS SELECT id, rev, json_object("
    " 'id', id, 'name', name, 'kind', kind, 'state', state, 'size', size, 'received', received,"
    " 'duration', duration_ms, 'width', width, 'height', height, 'fps', fps, 'codec', codec,"
    " 'faces', faces, 'face_boxes', json(face_boxes),"
    " 'face_boxes_at', face_boxes_at, 'warnings', json(warnings), 'peaks', "
    "json(peaks),"
    " 'thumbnail', CASE WHEN thumbnail THEN '/api/v1/assets/' || id || '/thumbnail' END,"
    " 'subtitles', CASE WHEN words IS NOT NULL THEN '/api/v1/assets/' || id || '/subtitles' END,"
    " 'content', CASE WHEN state IN ('new', 'ready', 'bad') AND sha256 IS NOT NULL"
    "            THEN '/api/v1/assets/' || id || '/content' END,"
    " 'progress', CASE WHEN (state = 'new' AND worker IS NOT NULL) OR"
    "             (state = 'making' AND pieces = '' AND progress IS NOT NULL)"
    "             THEN round(coalesce(progress, 0), 3) END,"
    " 'error', say(error), 'created', created_ms) FROM asset WHERE job IS NULL AND NOT sample;"

    // A result is a job that left a file.
    "CREATE TEMP VIEW result_json(id, rev, json) AS SELECT j.id, j.rev, json_object("
    " 'job', j.id, 'batch', j.batch, 'batch_name', b.name, 'name', j.result_name,"
    " 'size', j.result_size, 'duration', j.result_ms, 'width', j.result_width,"
    " 'height', j.result_height, 'frames', j.result_frames,"
    " 'frames_animated', j.result_animated, 'created', j.ended_ms,"
    " 'video', '/api/v1/results/' || j.id || '/video',"
    " 'download', '/api/v1/results/' || j.id || '/download',"
    " 'thumbnail',"
    " CASE WHEN j.result_thumb THEN '/api/v1/results/' || j.id || '/thumbnail' END,"
    " 'subtitles', CASE WHEN j.cues IS NOT NULL"
    "              THEN '/api/v1/results/' || j.id || '/subtitles' END,"
    " 'subtitles_burned', json(iif(j.cues IS NOT NULL AND instr(coalesce("
    "   json_extract(" JOB_OPTIONS ", '$.subtitles_as'), 'burn'), 'burn'), 'true', 'false')),"
    " 'source', json_object('video', (SELECT id FROM asset WHERE id = j.video),"
    "   'audio', (SELECT id FROM asset WHERE id = coalesce(j.audio, b.audio))))"
    " FROM job j JOIN batch b ON b.id = j.batch WHERE j.result IS NOT NULL;"

    "CREATE TEMP VIEW job_json(id, rev, json) AS SELECT j.id, j.rev, json_object("
    " 'id', j.id, 'batch', j.batch, 'batch_name', b.name, 'name', j.name, 'video', j.video,"
    " 'audio', coalesce(j.audio, b.audio), 'audio_name', coalesce(j.audio_name, b.audio_name),"
    " 'options', json(j.options),"
    " 'face_at', CASE WHEN j.face_s IS NOT NULL THEN json_array(j.face_x, j.face_y, j.face_s)"
    "            WHEN j.face_x IS NOT NULL THEN json_array(j.face_x, j.face_y) END,"
    " 'state', j.state, 'position', j.position, 'attempts', j.attempts,"
    " 'max_attempts', " MAX_ATTEMPTS ","
    " 'retried', j.retried, 'done'," OF_FRAMES("done") ", 'total'," OF_FRAMES(
        "total") ","
                 " 'progress', round(j.progress, 4), 'fps', j.fps, 'eta'," JOB_ETA ","
                 " 'worker', j.worker, 'heartbeat', j.heartbeat_ms, 'progressed', j.progressed_ms,"
                 " 'state_since', j.state_since_ms, 'created', j.created_ms, 'started', "
                 "j.started_ms,"
                 " 'ended', j.ended_ms, 'stage_s', json(j.stage_s),"
                 " 'error', json(CASE WHEN j.error_code IS NOT NULL"
                 "           THEN json_object('code', j.error_code, 'text', say(j.error)) END),"
                 " 'waiting'," JOB_WAITING ","
                 " 'cancelling', json(iif(j.cancel AND j.ended_ms IS NULL, 'true', 'false')),"
                 " 'result', CASE WHEN j.result IS NOT NULL"
                 "   THEN json((SELECT json FROM result_json r WHERE r.id = j.id)) END)"
                 " FROM job j JOIN batch b ON b.id = j.batch;"

                 // Its place among the batches that wait, in the order in which jobs are claimed
                 // (queue/line.c).
                 "CREATE TEMP VIEW batch_place(batch, place) AS SELECT b.id,"
                 " row_number() OVER (ORDER BY b.priority DESC, b.turn, b.id)"
                 " FROM batch b JOIN batch_sum m ON m.batch = b.id"
                 " WHERE b.ended_ms IS NULL AND NOT b.paused AND m.running = 0;"

                 // progress: of the jobs that are done or can still be.
                 "CREATE TEMP VIEW batch_json(id, rev, json) AS SELECT b.id, b.rev, (SELECT "
                 "json_object("
                 " 'id', b.id, 'name', b.name,"
                 " 'state', CASE WHEN b.ended_ms IS NOT NULL THEN 'ended'"
                 "          WHEN b.paused THEN 'paused' ELSE 'active' END,"
                 " 'priority', b.priority, 'turn', b.turn,"
                 " 'audio', json_object('id', b.audio, 'name', b.audio_name,"
                 "          'duration', (SELECT duration_ms FROM asset a WHERE a.id = b.audio)),"
                 " 'speeches', b.speeches,"
                 " 'options', json(b.options), 'created', b.created_ms, 'ended', b.ended_ms,"
                 " 'counts', json_object('queued', queued, 'running', running, 'done', done,"
                 "   'failed', failed, 'cancelled', cancelled, 'skipped', skipped, 'total', total,"
                 "   'results', results),"
                 " 'progress', round(progress, 4),"
                 " 'outcome', CASE WHEN b.ended_ms IS NULL THEN NULL"
                 "   WHEN failed + cancelled + skipped = 0 THEN 'done' WHEN done > 0 THEN 'partly'"
                 "   WHEN failed = 0 AND cancelled > 0 THEN 'cancelled' ELSE 'failed' END,"
                 " 'place', p.place,"
                 " 'eta', CASE WHEN b.ended_ms IS NULL AND NOT b.paused THEN e.seconds END)"
                 " FROM (SELECT m.*, queued + running + done + failed + cancelled + skipped AS "
                 "total,"
                 "   coalesce((done + iif(running > 0, (SELECT total(progress) FROM job j"
                 "    WHERE j.batch = b.id AND j.state IN " JOB_STATES_RUNNING "), 0)) * 1.0"
                 "    / nullif(queued + running + done, 0), 0) AS progress"
                 "   FROM batch_sum m WHERE m.batch = b.id)) FROM batch b"
                 " LEFT JOIN batch_eta e ON e.batch = b.id LEFT JOIN batch_place p ON p.batch = "
                 "b.id;";
