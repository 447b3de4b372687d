// The contents of other machines' files that are kept here, so that the next job with the same
// speech, video or model need not fetch them: assets of this machine's own store, found by their
// hash. When one was last used is the time of its file.
#include "cluster/node_internal.h"

#include "asset/asset.h"
#include "asset/claim.h"
#include "asset/name.h"
#include "asset/upload.h"
#include "base/beneath.h"
#include "base/cache.h"
#include "base/file.h"
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define KEY_DIGITS 32 // of its hash, after which a track and a model are called

int64_t copies_free_bytes(const char *folder)
{
    struct statvfs disk;
    return statvfs(folder, &disk) == 0 ? (int64_t)disk.f_bavail * (int64_t)disk.f_frsize
                                       : INT64_MAX;
}

// --- finding and making

enum kb_code copies_find(struct store *s, const char *sha256, int64_t size, char ret_asset[33],
                         struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) char *name = path_join("files", sha256);
    CLEANUP(kb_freep) char *path = path_join(s->folder, name);
    enum kb_code code = store_query(
        s, &q, err, "SELECT id FROM asset WHERE sha256 = ? AND state IN ('new', 'ready') LIMIT 1",
        "t", sha256);
    if (code == KB_OK && beneath_size(s->folder, name) != size)
        code = KB_EOF; // what comes takes its place
    if (code == KB_OK) {
        store_copy_column(ret_asset, 33, q, 0);
        cache_touch(path);
    }
    return code == KB_EOF ? kb_fail(err, KB_NOT_FOUND, "%s is not here", sha256) : code;
}

enum kb_code copies_begin(struct store *s, const struct duty_file *f, char ret_asset[33],
                          struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    // The one for whom it comes is the content that it is to be.
    enum kb_code code = store_query(s, &q, err,
                                    "SELECT id FROM asset WHERE client = ? AND size = ?"
                                    " AND state = 'uploading' LIMIT 1",
                                    "ti", f->sha256, f->size);
    if (code == KB_OK)
        store_copy_column(ret_asset, 33, q, 0);
    store_reset(&q);
    struct asset_params p = {.name = f->name,
                             .size_bytes = f->size,
                             .client = f->sha256,
                             .expires_ms = kb_wall_ms() + UPLOAD_KEEP_MS};
    return code == KB_EOF ? asset_create(s, &p, ret_asset, err) : code;
}

// --- using

static double number(const json_t *facts, const char *name, double most)
{
    double value = json_number_value(json_object_get(facts, name));
    return value >= 0 && value <= most ? value : 0;
}

// What is needed of the facts: how long and how large it is, for which room is reckoned.
static enum kb_code set_facts(struct store *s, const char *id, const struct duty_file *f,
                              struct kb_error *err)
{
    const char *kind = json_string_value(json_object_get(f->facts, "kind"));
    const char *codec = json_string_value(json_object_get(f->facts, "codec"));
    const json_t *faces = json_object_get(f->facts, "faces");
    if (!kind || (strcmp(kind, "audio") != 0 && strcmp(kind, "video") != 0))
        return KB_OK;
    struct asset_facts facts = {.kind = kind,
                                .duration_ms = (int64_t)number(f->facts, "duration_ms", 1e12),
                                .width = (int)number(f->facts, "width", 65536),
                                .height = (int)number(f->facts, "height", 65536),
                                .fps = number(f->facts, "fps", 1e6),
                                .codec = codec && strlen(codec) < 65 ? codec : NULL,
                                .n_faces = -1};
    if (json_is_integer(faces))
        facts.n_faces = (int)number(f->facts, "faces", 1e6);
    return asset_set_facts(s, id, &facts, err);
}

// The kind of asset that a file of that role is taken for, "" of a model.
static const char *kind_of(const char *role)
{
    const struct material_role *material = material_find(role);
    if (material)
        return material_takes(material, "video") ? "video" : material->kinds;
    return strcmp(role, "model") == 0 ? "" : strcmp(role, "audio") == 0 ? "audio" : "video";
}

enum kb_code copies_use(struct store *s, const struct duty_file *f, char ret_asset[33],
                        struct kb_error *err)
{
    char name[256];
    int64_t is_new = 0;
    enum kb_code code = copies_find(s, f->sha256, f->size, ret_asset, err);
    if (code != KB_OK)
        return code;
    asset_clean_name(name, f->name);
    code = store_query_int(s, &is_new, err, "SELECT state = 'new' FROM asset WHERE id = ?", "t",
                           ret_asset);
    if (code == KB_OK && is_new && json_is_object(f->facts))
        code = set_facts(s, ret_asset, f, err);
    // One of which nothing is known yet may be used as what it is given as, as both if need be.
    const char *kind = kind_of(f->role);
    return code == KB_OK
               ? store_exec(s, NULL, err,
                            "UPDATE asset SET name = ?2, kind = iif(kind = '' OR (state = 'new'"
                            " AND ?3 = 'video'), ?3, kind) WHERE id = ?1",
                            "ttt", ret_asset, *name ? name : f->sha256, kind)
               : code;
}

enum kb_code copies_name_model(struct store *s, const struct duty_file *f,
                               char ret[MODEL_NAME_BYTES], struct kb_error *err)
{
    snprintf(ret, MODEL_NAME_BYTES, "%.*s%.15s", KEY_DIGITS, f->sha256, strrchr(f->name, '.'));
    CLEANUP(kb_freep) char *from = path_join("files", f->sha256);
    CLEANUP(kb_freep) char *to = path_join(MODELS_NAME, ret);
    if (beneath_size(s->folder, to) == f->size || beneath_link(s->folder, from, to))
        return KB_OK;
    // A disk on which no file has two names.
    CLEANUP(kb_freep) char *part = kb_printf("%s.part", to);
    int in = beneath_open(s->folder, from, O_RDONLY, 0);
    int out = in >= 0 ? beneath_open(s->folder, part, O_RDWR | O_CREAT | O_TRUNC, 0640) : -1;
    bool well =
        out >= 0 && file_copy(out, in, f->size, NULL) && beneath_rename(s->folder, part, to);
    int number = errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    if (!well)
        beneath_unlink(s->folder, part);
    return well ? KB_OK
                : kb_fail(err, number == ENOSPC ? KB_NO_SPACE : KB_INTERNAL,
                          _("the model '%s' could not be stored: %s; check the data folder"),
                          f->name, beneath_reason(number));
}

// --- trimming

struct copy {
    char asset[33], sha256[65]; // of what comes: that which it is to have
    int64_t size, used_us;
};

static bool is_needed(const struct machine *m, const char *sha256)
{
    for (const struct duty *d = m->duties; d; d = d->next)
        for (int i = 0; d->state != DUTY_FORGOTTEN && i < d->n_files; i++)
            if (strcmp(d->files[i].sha256, sha256) == 0)
                return true;
    return false;
}

static int by_use(const void *a, const void *b)
{
    const struct copy *x = a, *y = b;
    return (x->used_us > y->used_us) - (x->used_us < y->used_us);
}

static enum kb_code list(struct machine *m, struct copy **ret, int *ret_n, int64_t *ret_used,
                         struct kb_error *err)
{
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    CLEANUP(kb_freep) struct copy *all = NULL;
    int64_t most = 0;
    int n = 0;
    enum kb_code code = store_query_int(m->store, &most, err, "SELECT count(*) FROM asset", "");
    all = kb_calloc_checked((size_t)most + 1, sizeof(*all));
    if (code == KB_OK && !all)
        code = kb_no_memory(err);
    if (code == KB_OK)
        code = store_query(m->store, &q, err,
                           "SELECT id, coalesce(sha256, client), received, sha256 IS NULL"
                           " FROM asset GROUP BY 2, 4",
                           "");
    for (; code == KB_OK && n < most; code = store_step(m->store, q, err)) {
        struct copy *c = &all[n];
        struct stat st;
        store_copy_column(c->asset, sizeof(c->asset), q, 0);
        store_copy_column(c->sha256, sizeof(c->sha256), q, 1);
        bool comes = sqlite3_column_int(q, 3);
        CLEANUP(kb_freep)
        char *path = comes ? kb_printf("uploads/%s.part", c->asset) : path_join("files", c->sha256);
        if (beneath_stat(m->data, path, &st)) {
            c->size = st.st_size;
            c->used_us = st.st_mtim.tv_sec * INT64_C(1000000) + st.st_mtim.tv_nsec / 1000;
        }
        *ret_used += c->size;
        n += !is_needed(m, c->sha256);
    }
    if (code == KB_EOF || code == KB_OK) {
        qsort(all, (size_t)n, sizeof(*all), by_use);
        *ret = TAKE(all);
        *ret_n = n;
        return KB_OK;
    }
    return code;
}

// With what was found out about it.
static enum kb_code remove_copy(struct machine *m, const struct copy *c, struct kb_error *err)
{
    static const char *const tails[] = {".kbt", "-deep.kbt", "-look.kbt", "-deep-look.kbt", ".kbs"};
    CLEANUP(store_reset) sqlite3_stmt *q = NULL;
    enum kb_code code = KB_OK;
    for (;;) {
        char id[33];
        code = store_query(m->store, &q, err,
                           "SELECT id FROM asset WHERE ?1 IN (sha256, client) LIMIT 1", "t",
                           c->sha256);
        if (code != KB_OK)
            break;
        store_copy_column(id, sizeof(id), q, 0);
        store_reset(&q);
        code = asset_delete(m->store, id, err);
        if (code != KB_OK)
            return code;
    }
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        CLEANUP(kb_freep)
        char *track = kb_printf("tracks/%.*s%s", KEY_DIGITS, c->sha256, tails[i]);
        beneath_unlink(m->data, track);
    }
    return code == KB_EOF ? KB_OK : code;
}

// Models that lost their content.
static void remove_models(struct machine *m)
{
    DIR *d = beneath_list(m->data, MODELS_NAME);
    for (struct dirent *e; d && (e = readdir(d));) {
        int64_t n = 1;
        char key[KEY_DIGITS + 2];
        snprintf(key, sizeof(key), "%.*s*", KEY_DIGITS, e->d_name);
        CLEANUP(kb_freep) char *path = path_join(MODELS_NAME, e->d_name);
        if (strspn(e->d_name, "0123456789abcdef") >= KEY_DIGITS &&
            store_query_int(m->store, &n, NULL, "SELECT count(*) FROM asset WHERE sha256 GLOB ?",
                            "t", key) == KB_OK &&
            n == 0)
            beneath_unlink(m->data, path);
    }
    if (d)
        closedir(d);
}

enum kb_code copies_trim(struct machine *m, int64_t limit, int64_t free_bytes, int64_t *ret,
                         struct kb_error *err)
{
    CLEANUP(kb_freep) struct copy *copies = NULL;
    int n = 0, i = 0;
    int64_t used = 0;
    enum kb_code code = list(m, &copies, &n, &used, err);
    for (; code == KB_OK && i < n; i++) {
        if (used <= limit && copies_free_bytes(m->data) >= free_bytes)
            break;
        code = remove_copy(m, &copies[i], err);
        used -= code == KB_OK ? copies[i].size : 0;
        code = code == KB_BAD_INPUT || code == KB_NOT_FOUND ? KB_OK : code; // it is needed, or gone
    }
    if (i > 0)
        remove_models(m);
    *ret = used;
    return code;
}
