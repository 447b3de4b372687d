// Facts about this machine, this process and the models folder, as JSON. Any thread.
#ifndef SERVER_SYSTEM_H
#define SERVER_SYSTEM_H

#include "base/text.h"

#include <jansson.h>

json_t *system_cpu_json(bool whole); // {"load":[3]}, whole: and "cores", "model"
json_t *system_memory_json(void);    // {"total","available"}
json_t *system_disk_json(const char *folder, int64_t min_free_bytes); // {"total","free","min_free"}
json_t *system_gpus_json(void);   // names; [] where there is none
json_t *system_models_json(void); // [{"name","kind","size","default"}]

// Adds "cluster", null where this server works alone, and "nodes" to the object in ret. Sentences
// in the language of the thread.
struct server;
struct store;
enum kb_code system_add_cluster(struct server *s, struct store *store, struct text *ret,
                                struct kb_error *err);

// Adds "previews": what the worker that makes looks before the long run is at; null where this
// server makes none.
void system_add_previews(struct server *s, struct text *ret);

// An object out of parts, some of which are JSON already: first the object, then members.
void system_add_object(struct text *ret, const json_t *object);
void system_add_member(struct text *ret, const char *name, const char *json);

int64_t system_disk_free(const char *folder); // -1 = unknown

#endif
