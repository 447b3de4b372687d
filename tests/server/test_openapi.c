// docs/openapi.yaml says what the server does: every route is in it and nothing else, and real
// answers have exactly the properties that it gives them.
#include "tests/server/live.h"

#include "asset/asset.h"
#include "asset/claim.h"
#include "queue/batch.h"
#include "queue/change.h"
#include "queue/lease.h"
#include "queue/node.h"
#include "queue/worker.h"

#include <unistd.h>
#include <yaml.h>

// --- the document as JSON

static json_t *scalar_json(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        json_t *value = json_loads(text, JSON_DECODE_ANY, NULL); // numbers, true, false, null
        if (value)
            return value;
    }
    return json_string(text);
}

static json_t *node_json(yaml_document_t *d, int index)
{
    yaml_node_t *node = yaml_document_get_node(d, index);
    if (node->type == YAML_SCALAR_NODE)
        return scalar_json(node);
    if (node->type == YAML_SEQUENCE_NODE) {
        json_t *array = json_array();
        for (yaml_node_item_t *i = node->data.sequence.items.start;
             i < node->data.sequence.items.top; i++)
            json_array_append_new(array, node_json(d, *i));
        return array;
    }
    json_t *object = json_object();
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(d, p->key);
        json_object_set_new(object, (const char *)key->data.scalar.value, node_json(d, p->value));
    }
    return object;
}

static json_t *document;

static int load(void **state)
{
    yaml_parser_t parser;
    yaml_document_t d;
    FILE *f = fopen(source_path("docs/openapi.yaml"), "r");
    assert_non_null(f);
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_file(&parser, f);
    if (!yaml_parser_load(&parser, &d))
        fail_msg("line %zu: %s", parser.problem_mark.line + 1, parser.problem);
    document = node_json(&d, 1);
    yaml_document_delete(&d);
    yaml_parser_delete(&parser);
    fclose(f);
    return 0;
}

static int unload(void **state)
{
    json_decref(document);
    return 0;
}

static json_t *resolve(json_t *schema)
{
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (!ref)
        return schema;
    char copy[200], *rest = copy, *name;
    snprintf(copy, sizeof(copy), "%s", ref + 2);
    json_t *at = document;
    while ((name = strsep(&rest, "/")))
        at = json_object_get(at, name);
    if (!at)
        fail_msg("%s leads nowhere", ref);
    return resolve(at);
}

// --- routes

static bool is_of_api(const char *path)
{
    return strncmp(path, "/api/", 5) == 0 || strncmp(path, "/easy/", 6) == 0 ||
           strcmp(path, "/healthz") == 0 || strcmp(path, "/metrics") == 0;
}

static void lower(char *ret, const char *method)
{
    for (; *method; method++)
        *ret++ = (char)(*method | 0x20);
    *ret = '\0';
}

static void every_route_is_documented(void **state)
{
    int n = 0;
    for (size_t t = 0; server_routes[t]; t++) {
        for (const struct route *r = server_routes[t]; r->method; r++) {
            char method[16];
            if (!is_of_api(r->pattern))
                continue;
            lower(method, r->method);
            json_t *path = json_object_get(json_object_get(document, "paths"), r->pattern);
            if (!json_object_get(path, method))
                fail_msg("%s %s is not in docs/openapi.yaml", r->method, r->pattern);
            n++;
        }
    }
    assert_true(n > 40);
}

static bool route_exists(const char *method, const char *path)
{
    for (size_t t = 0; server_routes[t]; t++) {
        for (const struct route *r = server_routes[t]; r->method; r++) {
            char its[16];
            lower(its, r->method);
            if (strcmp(its, method) == 0 && strcmp(r->pattern, path) == 0)
                return true;
        }
    }
    return false;
}

static void every_operation_exists(void **state)
{
    const char *path, *method;
    json_t *operations, *operation;
    json_object_foreach(json_object_get(document, "paths"), path, operations)
    {
        json_object_foreach(operations, method, operation)
        {
            if (strcmp(method, "parameters") == 0)
                continue;
            if (!route_exists(method, path))
                fail_msg("%s %s is in docs/openapi.yaml, but no route", method, path);
            assert_true(json_object_size(json_object_get(operation, "responses")) > 0);
        }
    }
}

static void check_references(json_t *at)
{
    const char *name;
    json_t *value;
    size_t i;
    if (json_is_object(at) && json_object_get(at, "$ref"))
        resolve(at);
    json_object_foreach(at, name, value)
    {
        check_references(value);
    }
    json_array_foreach(at, i, value)
    {
        check_references(value);
    }
}

static void references_lead_somewhere(void **state)
{
    check_references(document);
}

// --- answers

static bool type_matches(const char *type, const json_t *v)
{
    return (strcmp(type, "object") == 0 && json_is_object(v)) ||
           (strcmp(type, "array") == 0 && json_is_array(v)) ||
           (strcmp(type, "string") == 0 && json_is_string(v)) ||
           (strcmp(type, "integer") == 0 && json_is_integer(v)) ||
           (strcmp(type, "number") == 0 && json_is_number(v)) ||
           (strcmp(type, "boolean") == 0 && json_is_boolean(v)) ||
           (strcmp(type, "null") == 0 && json_is_null(v));
}

static bool any_type_matches(const json_t *types, const json_t *v)
{
    size_t i;
    json_t *type;
    bool found = json_is_string(types) && type_matches(json_string_value(types), v);
    json_array_foreach(types, i, type)
    {
        found = found || type_matches(json_string_value(type), v);
    }
    return found || !types;
}

// NULL, or what is wrong with v at path.
static char *find_fault(json_t *schema, json_t *v, const char *path);

static char *fault_of_object(json_t *schema, json_t *v, const char *path)
{
    json_t *properties = json_object_get(schema, "properties"), *value, *name;
    bool closed = json_is_false(json_object_get(schema, "additionalProperties"));
    const char *key;
    size_t i;
    json_array_foreach(json_object_get(schema, "required"), i, name)
    {
        if (!json_object_get(v, json_string_value(name)))
            return kb_printf("%s.%s is missing", path, json_string_value(name));
    }
    json_object_foreach(v, key, value)
    {
        json_t *property = json_object_get(properties, key);
        if (!property && closed)
            return kb_printf("%s.%s is not documented", path, key);
        CLEANUP(kb_freep) char *below = kb_printf("%s.%s", path, key);
        char *fault = property ? find_fault(property, value, below) : NULL;
        if (fault)
            return fault;
    }
    return NULL;
}

static char *fault_of_choice(json_t *schema, json_t *v, const char *path)
{
    json_t *choice;
    size_t i;
    char *fault = NULL;
    json_array_foreach(json_object_get(schema, "oneOf"), i, choice)
    {
        free(fault);
        fault = find_fault(choice, v, path);
        if (!fault)
            return NULL;
    }
    return fault;
}

static char *find_fault(json_t *schema, json_t *v, const char *path)
{
    schema = resolve(schema);
    json_t *low = json_object_get(schema, "minimum"), *high = json_object_get(schema, "maximum");
    json_t *allowed = json_object_get(schema, "enum"), *value;
    size_t i;
    if (json_object_get(schema, "oneOf"))
        return fault_of_choice(schema, v, path);
    if (!any_type_matches(json_object_get(schema, "type"), v))
        return kb_printf("%s has another type", path);
    if (json_is_number(v) && ((low && json_number_value(v) < json_number_value(low)) ||
                              (high && json_number_value(v) > json_number_value(high))))
        return kb_printf("%s is out of bounds", path);
    bool found = !allowed;
    json_array_foreach(allowed, i, value)
    {
        found = found || json_equal(value, v);
    }
    if (!found)
        return kb_printf("%s is none of the documented values", path);
    json_array_foreach(v, i, value)
    {
        CLEANUP(kb_freep) char *below = kb_printf("%s[%zu]", path, i);
        json_t *items = json_object_get(schema, "items");
        char *fault = items ? find_fault(items, value, below) : NULL;
        if (fault)
            return fault;
    }
    return json_is_object(v) ? fault_of_object(schema, v, path) : NULL;
}

// The schema of an answer of an operation, NULL if it has no JSON.
static json_t *answer_schema(const char *method, const char *pattern, int status)
{
    char number[8];
    const char *type;
    json_t *content, *answer;
    snprintf(number, sizeof(number), "%d", status);
    answer = json_object_get(json_object_get(document, "paths"), pattern);
    answer = json_object_get(json_object_get(answer, method), "responses");
    answer = json_object_get(answer, number);
    if (!answer)
        fail_msg("%s %s: %d is not documented", method, pattern, status);
    json_object_foreach(json_object_get(resolve(answer), "content"), type, content)
    {
        if (strcmp(type, "application/json") == 0 || strcmp(type, "application/problem+json") == 0)
            return json_object_get(content, "schema");
    }
    return NULL;
}

static void check_answer(struct live *l, const char *method, const char *pattern, const char *path,
                         const char *body, int status)
{
    char small[16];
    lower(small, method);
    json_t *schema = answer_schema(small, pattern, status);
    json_t *answer = live_ask(l, status, method, path, body);
    if (!schema)
        fail_msg("%s %s: %d has no schema", method, pattern, status);
    CLEANUP(kb_freep) char *fault = find_fault(schema, answer, path);
    if (fault) {
        CLEANUP(kb_freep) char *text = json_dumps(answer, JSON_INDENT(1));
        fail_msg("%s %s: %s\n%s", method, pattern, fault, text);
    }
    json_decref(answer);
}

// The store holds one of everything: assets of each kind, a batch of jobs in each state.
static void fill(struct live *l)
{
    struct kb_error err = {0}, why = {.code = KB_BAD_INPUT, .text = "no face"};
    struct store *s = l->site.store;
    struct job_claim c = {0};
    char audio[33], ids[4][33];
    const char *videos[4];
    site_asset(&l->site, "speech.wav", "RIFF", 4, audio);
    static const uint8_t peaks[] = {0, 128, 255};
    struct asset_facts sound = {.kind = "audio",
                                .duration_ms = 2000,
                                .codec = "pcm_s16le",
                                .n_faces = -1,
                                .warnings = {"silent"},
                                .peaks = peaks,
                                .n_peaks = 3};
    assert_ok(err, asset_set_facts(s, audio, &sound, &err));
    for (int i = 0; i < 4; i++) {
        char content[20];
        snprintf(content, sizeof(content), "ftyp %d", i);
        site_asset(&l->site, "person.mp4", content, strlen(content), ids[i]);
        videos[i] = ids[i];
    }
    struct asset_facts film = {.kind = "video",
                               .duration_ms = 2000,
                               .width = 640,
                               .height = 480,
                               .fps = 29.97,
                               .codec = "h264",
                               .n_faces = 1,
                               .n_face_boxes = 2,
                               .face_boxes = {{0.1f, 0.2f, 0.25f, 0.5f}, {0, 0, 1, 1}},
                               .face_boxes_at = 1.88,
                               .thumbnail = true};
    assert_ok(err, asset_set_facts(s, ids[0], &film, &err));
    struct batch_params p = {.name = "all",
                             .audio = audio,
                             .videos = videos,
                             .n_videos = 4,
                             .face_at =
                                 (const double[4][3]){{0.5, 0.25, -1}, {-1}, {-1}, {0, 1, 1.88}},
                             .options = "{\"loop\":\"freeze\",\"pads\":[0,10,0,0],\"sharpen\":0.5,"
                                        "\"mouth_amount\":1.5,\"still_motion\":0,\"paint\":true}",
                             .priority = 5,
                             .lang = "en"};
    int64_t id;
    assert_ok(err, batch_create(s, &p, &id, &err));
    // done, failed, running; the last stays queued
    struct dub_result result = {.frames = 50,
                                .frames_animated = 40,
                                .seconds = 2,
                                .width = 640,
                                .height = 480,
                                .stage_s = {1, 2, 3, 4, 5}};
    assert_ok(err, job_claim(s, "w1", 0, &c, &err));
    FILE *f = fopen(c.output, "w");
    fputs("mp4", f);
    fclose(f);
    assert_ok(err, job_done(s, &c, &result, true, NULL, &err));
    job_claim_free(&c);
    assert_ok(err, job_claim(s, "w1", 0, &c, &err));
    assert_ok(err, job_failed(s, &c, &why, &err));
    job_claim_free(&c);
    assert_ok(err, job_claim(s, "w1", 0, &c, &err));
    bool cancel;
    struct job_report report = {.stage = STAGE_GENERATING, .done = 10, .total = 50, .fps = 12.5};
    assert_ok(err, job_report(s, &c, &report, &cancel, &err));
    job_claim_free(&c);
    struct worker_row w = {.id = "w1",
                           .kind = "generate",
                           .pid = 1,
                           .state = "busy",
                           .model = "koubo-lips",
                           .precision = "f32",
                           .rss_bytes = 1 << 20};
    assert_ok(err, worker_put(s, &w, &err));
    w = (struct worker_row){.id = "i1", .kind = "inspect", .pid = 1, .state = "idle"};
    assert_ok(err, worker_put(s, &w, &err));
}

static void answers_are_as_documented(void **state)
{
    struct live l;
    live_start(&l, &(struct server_params){0});
    fill(&l);
    json_t *assets = live_ask(&l, 200, "GET", "/api/v1/assets", NULL);
    char one_asset[100], new_batch[300];
    snprintf(one_asset, sizeof(one_asset), "/api/v1/assets/%s", text_at(assets, "items.0.id"));
    snprintf(new_batch, sizeof(new_batch), "{\"audio\":\"%s\",\"videos\":[\"%s\"]}",
             text_at(assets, "items.0.id"), text_at(assets, "items.1.id"));
    json_decref(assets);
    char bad[33], again[120], not_bad[120];
    struct kb_error err = {0}, why = {.code = KB_BAD_INPUT, .text = "no sound"};
    site_asset(&l.site, "bad.wav", "bad", 3, bad);
    assert_ok(err, asset_fail(l.site.store, bad, &why, &err));
    snprintf(again, sizeof(again), "/api/v1/assets/%s/inspect", bad);
    snprintf(not_bad, sizeof(not_bad), "%s/inspect", one_asset);
    const struct {
        const char *method, *pattern, *path, *body;
        int status;
    } table[] = {
        {"GET", "/healthz", "/healthz", NULL, 200},
        {"GET", "/api/v1/session", "/api/v1/session", NULL, 200},
        {"GET", "/api/v1/voices", "/api/v1/voices", NULL, 200},
        {"GET", "/api/v1/settings/voices", "/api/v1/settings/voices", NULL, 200},
        {"POST", "/api/v1/settings/voices", "/api/v1/settings/voices",
         "{\"name\":\"v\",\"kind\":\"openai\",\"url\":\"http://127.0.0.1:1\",\"key\":\"x\"}", 200},
        {"POST", "/api/v1/settings/voices", "/api/v1/settings/voices", "{\"name\":\"v\"}", 400},
        {"GET", "/api/v1/voices", "/api/v1/voices", NULL, 200},
        {"POST", "/api/v1/voices/sample", "/api/v1/voices/sample",
         "{\"text\":\"x\",\"voice\":\"gone\"}", 400},
        {"DELETE", "/api/v1/settings/voices/{name}", "/api/v1/settings/voices/v", NULL, 200},
        {"DELETE", "/api/v1/settings/voices/{name}", "/api/v1/settings/voices/v", NULL, 404},
        {"GET", "/api/v1/assets", "/api/v1/assets", NULL, 200},
        {"GET", "/api/v1/assets/{id}", one_asset, NULL, 200},
        {"GET", "/api/v1/assets/{id}", "/api/v1/assets/nothing", NULL, 404},
        {"DELETE", "/api/v1/assets/{id}", one_asset, NULL, 409},
        {"POST", "/api/v1/assets/{id}/inspect", again, NULL, 200},
        {"POST", "/api/v1/assets/{id}/inspect", not_bad, NULL, 409},
        {"POST", "/api/v1/assets", "/api/v1/assets", "{\"text\":\"hello\"}", 201},
        {"POST", "/api/v1/assets", "/api/v1/assets", "{\"url\":\"gopher://x\"}", 400},
        {"GET", "/api/v1/batches", "/api/v1/batches", NULL, 200},
        {"GET", "/api/v1/batches", "/api/v1/batches?limit=x", NULL, 400},
        {"POST", "/api/v1/batches", "/api/v1/batches", new_batch, 201},
        {"POST", "/api/v1/batches", "/api/v1/batches", "{}", 400},
        {"POST", "/api/v1/estimate", "/api/v1/estimate", new_batch, 200},
        {"POST", "/api/v1/estimate", "/api/v1/estimate", "{}", 400},
        {"GET", "/api/v1/batches/{id}", "/api/v1/batches/1", NULL, 200},
        {"PATCH", "/api/v1/batches/{id}", "/api/v1/batches/1", "{\"priority\":1}", 200},
        {"DELETE", "/api/v1/batches/{id}", "/api/v1/batches/1", NULL, 409},
        {"POST", "/api/v1/batches/{id}/pause", "/api/v1/batches/1/pause", NULL, 200},
        {"POST", "/api/v1/batches/{id}/resume", "/api/v1/batches/1/resume", NULL, 200},
        {"POST", "/api/v1/batches/{id}/move", "/api/v1/batches/1/move", "{\"before\":0}", 200},
        {"GET", "/api/v1/jobs", "/api/v1/jobs", NULL, 200},
        {"GET", "/api/v1/jobs/{id}", "/api/v1/jobs/1", NULL, 200},
        {"GET", "/api/v1/jobs/{id}", "/api/v1/jobs/99", NULL, 404},
        {"DELETE", "/api/v1/jobs/{id}", "/api/v1/jobs/3", NULL, 409},
        {"POST", "/api/v1/jobs/{id}/move", "/api/v1/jobs/4/move", "{\"before\":0}", 200},
        {"POST", "/api/v1/jobs/{id}/cancel", "/api/v1/jobs/4/cancel", NULL, 200},
        {"POST", "/api/v1/jobs/{id}/retry", "/api/v1/jobs/4/retry", NULL, 200},
        {"POST", "/api/v1/batches/{id}/retry", "/api/v1/batches/1/retry", NULL, 200},
        {"POST", "/api/v1/batches/{id}/cancel", "/api/v1/batches/1/cancel", NULL, 200},
        {"GET", "/api/v1/results", "/api/v1/results", NULL, 200},
        {"GET", "/api/v1/results/ids", "/api/v1/results/ids?sort=name", NULL, 200},
        {"GET", "/api/v1/results/{job}", "/api/v1/results/1", NULL, 200},
        {"PATCH", "/api/v1/results/{job}", "/api/v1/results/1", "{\"name\":\"x\"}", 200},
        {"PATCH", "/api/v1/results/{job}", "/api/v1/results/1", "{}", 400},
        {"POST", "/api/v1/results/delete", "/api/v1/results/delete", "{\"jobs\":[1]}", 200},
        {"GET", "/api/v1/results/{job}", "/api/v1/results/1", NULL, 404},
        {"GET", "/api/v1/logs", "/api/v1/logs", NULL, 200},
        {"GET", "/api/v1/system", "/api/v1/system", NULL, 200},
        {"GET", "/api/v1/settings/notify", "/api/v1/settings/notify", NULL, 200},
        {"PUT", "/api/v1/settings/notify", "/api/v1/settings/notify",
         "{\"webhook\":{\"url\":\"http://127.0.0.1:1/\",\"secret\":\"x\"}}", 200},
        {"POST", "/api/v1/settings/notify/test", "/api/v1/settings/notify/test", NULL, 200},
        {"PUT", "/api/v1/settings/notify", "/api/v1/settings/notify", "{\"x\":1}", 400},
        {"POST", "/easy/submit", "/easy/submit", "{}", 200},
        {"GET", "/easy/query", "/easy/query?code=x", NULL, 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        check_answer(&l, table[i].method, table[i].pattern, table[i].path, table[i].body,
                     table[i].status);
    live_stop(&l);
}

// A machine that is new, and one that has told of itself; Redis cannot be reached.
static void answers_of_a_cluster_are_as_documented(void **state)
{
    static const char nodes[] = "/api/v1/nodes", n1[] = "/api/v1/nodes/n1";
    struct live l;
    struct kb_error err = {0};
    char secret[65];
    live_start(&l, &(struct server_params){.head = {.redis = "redis://127.0.0.1:1"}});
    check_answer(&l, "POST", nodes, nodes, "{\"name\":\"n1\"}", 201);
    check_answer(&l, "POST", nodes, nodes, "{\"name\":\"n1\"}", 409);
    check_answer(&l, "POST", nodes, nodes, "{\"name\":\"\"}", 400);
    assert_ok(err, node_add(l.site.store, "n2", NULL, secret, &err));
    assert_ok(err, node_heard(l.site.store, "n2", 2,
                              "{\"version\":\"0.1.0\",\"workers\":2,\"cores\":4,\"cpu\":\"x\","
                              "\"load\":0.5,\"memory\":{\"total\":2,\"available\":1},"
                              "\"disk\":{\"total\":2,\"free\":1},\"cache\":0,\"gpus\":[\"y\"],"
                              "\"clock\":1,\"draining\":true}",
                              "another version", &err));
    check_answer(&l, "GET", nodes, nodes, NULL, 200);
    check_answer(&l, "GET", "/api/v1/system", "/api/v1/system", NULL, 200);
    check_answer(&l, "PATCH", "/api/v1/nodes/{name}", n1, "{\"draining\":true}", 200);
    check_answer(&l, "PATCH", "/api/v1/nodes/{name}", n1, "{\"draining\":2}", 400);
    check_answer(&l, "DELETE", "/api/v1/nodes/{name}", "/api/v1/nodes/n9", NULL, 404);
    check_answer(&l, "POST", "/api/v1/nodes/{name}/renew", "/api/v1/nodes/n1/renew", NULL, 200);
    live_restart(&l, &(struct server_params){0});
    check_answer(&l, "GET", nodes, nodes, NULL, 409);
    live_stop(&l);
}

static json_t *schema_named(const char *name)
{
    json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    return json_object_get(schemas, name);
}

static void check_text(const char *name, const struct text *text)
{
    json_t *value = json_loads(text_get(text), 0, NULL);
    assert_non_null(value);
    CLEANUP(kb_freep) char *fault = find_fault(schema_named(name), value, name);
    if (fault)
        fail_msg("%s\n%s", fault, text_get(text));
    json_decref(value);
}

static void events_are_as_documented(void **state)
{
    struct live l;
    struct kb_error err = {0};
    live_start(&l, &(struct server_params){0});
    fill(&l);
    static const bool wanted[KB_LANGUAGES] = {[KB_LANGUAGE_CATALOGUE] = true};
    struct text changes[KB_LANGUAGES] = {0};
    CLEANUP(text_free) struct text change = {0};
    CLEANUP(text_free) struct text beat = {0};
    int64_t rev;
    assert_ok(err, change_list_json(l.site.store, 0, wanted, changes, &rev, &err));
    change = changes[KB_LANGUAGE_CATALOGUE];
    check_text("Change", &change);
    struct server server = {.params.data = l.site.folder};
    assert_ok(err, system_heartbeat_json(&server, l.site.store, &beat, &err));
    check_text("Heartbeat", &beat);
    live_stop(&l);
}

static void the_check_finds_faults(void **state)
{
    static const struct {
        const char *schema, *value, *part;
    } table[] = {
        {"Session", "{\"required\":true}", "ok is missing"},
        {"Session", "{\"required\":1,\"ok\":true}", "another type"},
        {"Session", "{\"required\":true,\"ok\":true,\"x\":1}", "not documented"},
        {"Health", "{\"status\":\"bad\",\"version\":\"1\",\"database\":\"ok\"}", "none of"},
        {"Options", "{\"crf\":52}", "out of bounds"},
        {"Options", "{\"pads\":[1,\"2\"]}", "another type"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        json_t *value = json_loads(table[i].value, 0, NULL);
        CLEANUP(kb_freep) char *fault = find_fault(schema_named(table[i].schema), value, "");
        if (!fault || !strstr(fault, table[i].part))
            fail_msg("%s: '%s'", table[i].value, fault ? fault : "");
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_documented),
        cmocka_unit_test(every_operation_exists),
        cmocka_unit_test(references_lead_somewhere),
        cmocka_unit_test(the_check_finds_faults),
        cmocka_unit_test(answers_are_as_documented),
        cmocka_unit_test(events_are_as_documented),
        cmocka_unit_test(answers_of_a_cluster_are_as_documented),
    };
    return cmocka_run_group_tests_name("server/openapi", tests, load, unload);
}
