// JSON of the API, built by the database; docs/openapi.yaml describes the shapes.
#include "job/store_internal.h"

const char store_views[] =
    "CREATE TEMP VIEW asset_json(id, rev, json) AS SELECT id, rev, json_object("
    " 'id', id, 'name', name, 'kind', kind, 'state', state, 'size', size, 'received', received,"
    " 'duration', duration_ms, 'width', width, 'height', height, 'fps', fps, 'codec', codec,"
    " 'faces', faces, 'warnings', json(warnings), 'peaks', json(peaks),"
    " 'thumbnail', CASE WHEN thumbnail THEN '/api/v1/assets/' || id || '/thumbnail' END,"
    " 'content', CASE WHEN state IN ('new', 'ready', 'bad') AND sha256 IS NOT NULL"
    "            THEN '/api/v1/assets/' || id || '/content' END,"
    " 'error', error, 'created', created_ms) FROM asset;";
