#include "server/system.h"

#include "base/file.h"
#include "base/proc.h"
#include "base/utf8.h"
#include "cluster/head.h"
#include "lipsync/motion.h"
#include "nn/import/import.h"
#include "queue/job.h"
#include "queue/node.h"
#include "queue/worker.h"
#include "server/internal.h"
#include "worker/previews.h"
#include "worker/supervisor.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

json_t *system_cpu_json(bool whole)
{
    double load[3] = {0};
    if (getloadavg(load, 3) != 3)
        memset(load, 0, sizeof(load));
    json_t *cpu = json_pack("{s:[f,f,f]}", "load", load[0], load[1], load[2]);
    if (whole) {
        char model[128];
        bool known = proc_value("/proc/cpuinfo", "model name", model, sizeof(model));
        json_object_set_new(cpu, "cores", json_integer(kb_cpu_count()));
        json_t *name = known ? json_string(model) : NULL;
        json_object_set_new(cpu, "model", name ? name : json_null());
    }
    return cpu;
}

json_t *system_memory_json(void)
{
    return json_pack("{s:I, s:I}", "total", (json_int_t)proc_bytes("/proc/meminfo", "MemTotal"),
                     "available", (json_int_t)proc_bytes("/proc/meminfo", "MemAvailable"));
}

int64_t system_disk_free(const char *folder)
{
    struct statvfs vfs;
    return statvfs(folder, &vfs) == 0 ? (int64_t)vfs.f_bavail * (int64_t)vfs.f_frsize : -1;
}

json_t *system_disk_json(const char *folder, int64_t min_free_bytes)
{
    struct statvfs vfs = {0};
    if (statvfs(folder, &vfs) != 0)
        vfs = (struct statvfs){0};
    return json_pack("{s:I, s:I, s:I}", "total",
                     (json_int_t)vfs.f_blocks * (json_int_t)vfs.f_frsize, "free",
                     (json_int_t)vfs.f_bavail * (json_int_t)vfs.f_frsize, "min_free",
                     (json_int_t)min_free_bytes);
}

static void add_gpu(void *names, const char *name)
{
    json_array_append_new(names, json_string(name));
}

json_t *system_gpus_json(void)
{
    json_t *names = json_array();
    proc_gpus(add_gpu, names);
    return names;
}

// Parts of the program, none to choose.
#define FOLLOW_FILE "koubo-follow.safetensors"
#define SYNC_FILE   "koubo-sync.safetensors"

// The options of the one kind are not those of the other.
static const char *kind_of(const char *path)
{
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL;
    bool hears = text_ends(path, ".safetensors") && weights_load(&set, path, NULL) == KB_OK &&
                 motion_recognize(set);
    return hears ? "listener" : "wav2lip";
}

json_t *system_models_json(void)
{
    static const char bundled[] = MODEL_BUNDLED ".safetensors";
    json_t *models = json_array();
    CLEANUP(kb_freep) char *path = NULL;
    if (model_locate(&path, bundled, NULL) != KB_OK)
        return models;
    CLEANUP(kb_freep) char *folder = path_folder(path);
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        struct stat st;
        CLEANUP(kb_freep) char *file = path_join(folder, name);
        if (model_is_file(name) && strcmp(name, FOLLOW_FILE) != 0 && strcmp(name, SYNC_FILE) != 0 &&
            stat(file, &st) == 0 && S_ISREG(st.st_mode)) {
            json_t *model =
                json_pack("{s:s, s:s, s:I, s:b}", "name", name, "kind", kind_of(file), "size",
                          (json_int_t)st.st_size, "default", strcmp(name, bundled) == 0);
            if (model) // a name may be no UTF-8
                json_array_append_new(models, model);
        }
        free(entries[i]);
    }
    free(entries);
    return models;
}

void system_add_object(struct text *ret, const json_t *object)
{
    CLEANUP(kb_freep) char *json = json_dumps(object, JSON_COMPACT);
    if (!json)
        abort(); // memory, for all of it is our own and UTF-8
    text_add(ret, json);
}

void system_add_member(struct text *ret, const char *name, const char *json)
{
    assert(ret->size >= 2 && ret->data[ret->size - 1] == '}');
    ret->data[--ret->size] = '\0';
    text_addf(ret, "%s\"%s\":", ret->size > 1 ? "," : "", name);
    text_add(ret, json);
    text_add(ret, "}");
}

enum kb_code system_add_cluster(struct server *s, struct store *store, struct text *ret,
                                struct kb_error *err)
{
    CLEANUP(text_free) struct text cluster = {0}, nodes = {0};
    enum kb_code code = s->head ? node_list_json(store, &nodes, err) : KB_OK;
    if (code != KB_OK)
        return code;
    if (s->head)
        head_json(s->head, &cluster);
    system_add_member(ret, "cluster", s->head ? text_get(&cluster) : "null");
    system_add_member(ret, "nodes", s->head ? text_get(&nodes) : "[]");
    return KB_OK;
}

static json_t *making_json(const struct previews_view *v)
{
    CLEANUP(kb_freep) char *video = utf8_clean(v->video);
    CLEANUP(kb_freep) char *audio = utf8_clean(v->audio);
    return json_pack("{s:s, s:s, s:s, s:b, s:f}", "video", video, "audio", audio, "client",
                     v->client, "picture", v->picture, "progress", v->progress);
}

void system_add_previews(struct server *s, struct text *ret)
{
    struct previews_view v = {0};
    bool any = s->supervisor && s->params.supervisor.previews;
    if (any)
        previews_view(supervisor_previews(s->supervisor), &v);
    json_auto_t *json = json_pack(
        "{s:o, s:i, s:o}", "worker",
        v.there ? json_pack("{s:s, s:I}", "state", v.state, "rss", (json_int_t)v.rss_bytes)
                : json_null(),
        "waiting", v.waiting, "making", v.making ? making_json(&v) : json_null());
    CLEANUP(kb_freep) char *text = any ? json_dumps(json, JSON_COMPACT) : NULL;
    system_add_member(ret, "previews", text ? text : "null");
}

// --- the heartbeat

enum kb_code system_heartbeat_json(struct server *s, struct store *store, struct text *ret,
                                   struct kb_error *err)
{
    CLEANUP(text_free) struct text workers = {0};
    int64_t queued, running;
    enum kb_code code = worker_list_json(store, &workers, err);
    if (code == KB_OK)
        code = job_count(store, &(struct job_filter){.state = "queued"}, &queued, err);
    if (code == KB_OK)
        code = job_count(store, &(struct job_filter){.state = "running"}, &running, err);
    if (code != KB_OK)
        return code;
    json_auto_t *beat =
        json_pack("{s:I, s:o, s:o, s:o, s:{s:I, s:I}}", "now", (json_int_t)kb_wall_ms(), "cpu",
                  system_cpu_json(false), "memory", system_memory_json(), "disk",
                  system_disk_json(s->params.data, s->params.supervisor.worker.min_free_bytes),
                  "counts", "queued", (json_int_t)queued, "running", (json_int_t)running);
    system_add_object(ret, beat);
    system_add_member(ret, "workers", text_get(&workers));
    system_add_previews(s, ret);
    return system_add_cluster(s, store, ret, err);
}
