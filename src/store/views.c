// JSON of the API, built by the database; docs/openapi.yaml describes the shapes.
#include "store/sql.h"

#define TEXT_OF_(x)  #x
#define TEXT_OF(x)   TEXT_OF_(x)
#define MAX_ATTEMPTS TEXT_OF(JOB_MAX_ATTEMPTS)

const char store_views[] =
    "CREATE TEMP VIEW asset_json(id, rev, json) AS SELECT id, rev, json_object("
    " 'id', id, 'name', name, 'kind', kind, 'state', state, 'size', size, 'received', received,"
    " 'duration', duration_ms, 'width', width, 'height', height, 'fps', fps, 'codec', codec,"
    " 'faces', faces, 'warnings', json(warnings), 'peaks', json(peaks),"
    " 'thumbnail', CASE WHEN thumbnail THEN '/api/v1/assets/' || id || '/thumbnail' END,"
    " 'content', CASE WHEN state IN ('new', 'ready', 'bad') AND sha256 IS NOT NULL"
    "            THEN '/api/v1/assets/' || id || '/content' END,"
    " 'error', say(error), 'created', created_ms) FROM asset;"

    // A result is a job that left a file.
    "CREATE TEMP VIEW result_json(id, rev, json) AS SELECT j.id, j.rev, json_object("
    " 'job', j.id, 'batch', j.batch, 'batch_name', b.name, 'name', j.result_name,"
    " 'size', j.result_size, 'duration', j.result_ms, 'width', j.result_width,"
    " 'height', j.result_height, 'frames', j.result_frames,"
    " 'frames_animated', j.result_animated, 'created', j.ended_ms,"
    " 'video', '/api/v1/results/' || j.id || '/video',"
    " 'download', '/api/v1/results/' || j.id || '/download',"
    " 'thumbnail',"
    " CASE WHEN j.result_thumb THEN '/api/v1/results/' || j.id || '/thumbnail' END)"
    " FROM job j JOIN batch b ON b.id = j.batch WHERE j.result IS NOT NULL;"

    "CREATE TEMP VIEW job_json(id, rev, json) AS SELECT j.id, j.rev, json_object("
    " 'id', j.id, 'batch', j.batch, 'batch_name', b.name, 'name', j.name, 'video', j.video,"
    " 'state', j.state, 'position', j.position, 'attempts', j.attempts,"
    " 'max_attempts', " MAX_ATTEMPTS ","
    " 'done', j.done, 'total', j.total, 'progress', round(j.progress, 4), 'fps', j.fps,"
    // the time left: while frames are made by their speed, else by what of the job is done
    " 'eta', CASE WHEN j.state = 'generating' AND j.fps > 0 AND j.total > 0"
    "   THEN round(max(j.total - j.done, 0) / j.fps, 1)"
    "   WHEN j.state IN " JOB_STATES_RUNNING " AND j.progress > 0.01"
    "   THEN round((j.heartbeat_ms - j.started_ms) / 1000.0 * (1 - j.progress) / j.progress, 1)"
    "   END,"
    " 'worker', j.worker, 'heartbeat', j.heartbeat_ms, 'progressed', j.progressed_ms,"
    " 'state_since', j.state_since_ms, 'created', j.created_ms, 'started', j.started_ms,"
    " 'ended', j.ended_ms, 'stage_s', json(j.stage_s),"
    " 'error', json(CASE WHEN j.error_code IS NOT NULL"
    "           THEN json_object('code', j.error_code, 'text', say(j.error)) END),"
    " 'waiting'," JOB_WAITING ","
    " 'cancelling', json(iif(j.cancel AND j.ended_ms IS NULL, 'true', 'false')),"
    " 'result', CASE WHEN j.result IS NOT NULL"
    "   THEN json((SELECT json FROM result_json r WHERE r.id = j.id)) END)"
    " FROM job j JOIN batch b ON b.id = j.batch;"

    "CREATE TEMP VIEW batch_json(id, rev, json) AS SELECT b.id, b.rev, json_object("
    " 'id', b.id, 'name', b.name,"
    " 'state', CASE WHEN b.ended_ms IS NOT NULL THEN 'ended'"
    "          WHEN b.paused THEN 'paused' ELSE 'active' END,"
    " 'priority', b.priority, 'turn', b.turn,"
    " 'audio', json_object('id', b.audio, 'name', b.audio_name,"
    "          'duration', (SELECT duration_ms FROM asset a WHERE a.id = b.audio)),"
    " 'options', json(b.options), 'created', b.created_ms, 'ended', b.ended_ms,"
    " 'counts', json((SELECT json_object("
    "   'queued', count(*) FILTER (WHERE state = 'queued'),"
    "   'running', count(*) FILTER (WHERE state IN " JOB_STATES_RUNNING "),"
    "   'done', count(*) FILTER (WHERE state = 'done'),"
    "   'failed', count(*) FILTER (WHERE state = 'failed'),"
    "   'cancelled', count(*) FILTER (WHERE state = 'cancelled'),"
    "   'total', count(*)) FROM job j WHERE j.batch = b.id)),"
    " 'progress', (SELECT round(coalesce(avg(iif(state IN " JOB_STATES_ENDED
    ", 1, progress)), 0), 4)"
    "   FROM job j WHERE j.batch = b.id)) FROM batch b;";
