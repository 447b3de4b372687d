#include "queue/person_file.h"

#include "asset/name.h"
#include "asset/upload.h"
#include "base/beneath.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sentence.h"
#include "base/text.h"
#include "base/utf8.h"
#include "queue/options.h"
#include "store/sql.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK     65536
#define CARE      (16 << 20) // bytes between two looks at the disk
#define NAMES     100        // "NAME-2"…
#define UNTIL_MS  (60 * 60 * 1000)
#define MANIFEST  "manifest.json"
#define VERSION   1
#define FACE_MOST 1e7 // seconds

// --- the manifest

static enum kb_code broken(struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("this is no person file of koubo, or it is damaged; export it again"));
}

static bool is_sha256(const char *s)
{
    return s && strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static bool read_face(const json_t *at, double ret[3])
{
    size_t n = json_array_size(at);
    ret[0] = ret[1] = ret[2] = -1;
    if (!at || json_is_null(at))
        return true;
    if (n != 2 && n != 3)
        return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *number = json_array_get(at, i);
        ret[i] = json_number_value(number);
        if (!json_is_number(number) || !(ret[i] >= 0) || ret[i] > (i == 2 ? FACE_MOST : 1))
            return false;
    }
    return true;
}

static bool read_entry(const json_t *one, struct person_manifest *m)
{
    struct person_entry *e = &m->files[m->n_files];
    const char *role = json_string_value(json_object_get(one, "role"));
    const char *name = json_string_value(json_object_get(one, "name"));
    const char *sha256 = json_string_value(json_object_get(one, "sha256"));
    const json_t *size = json_object_get(one, "size");
    if (!role || !name || !is_sha256(sha256) || !json_is_integer(size))
        return false;
    bool film = strcmp(role, "video") == 0;
    if (film != (m->n_files == 0) || (!film && !material_find(role)) ||
        strlen(role) >= sizeof(e->role))
        return false;
    for (int i = 0; i < m->n_files; i++)
        if (strcmp(m->files[i].role, role) == 0)
            return false;
    *e = (struct person_entry){.size_bytes = json_integer_value(size)};
    memcpy(e->role, role, strlen(role) + 1);
    memcpy(e->sha256, sha256, sizeof(e->sha256));
    asset_clean_name(e->name, name);
    m->n_files++;
    return e->size_bytes >= 1 && e->size_bytes <= INT64_MAX / (PERSON_FILES + 1);
}

static bool read_manifest(const json_t *all, struct person_manifest *m)
{
    const json_t *files = json_object_get(all, "files"), *options = json_object_get(all, "options");
    const char *name = json_string_value(json_object_get(all, "name"));
    size_t n = json_array_size(files);
    if (json_integer_value(json_object_get(all, "koubo_person")) != VERSION || !name ||
        !json_is_object(options) || n < 1 || n > PERSON_FILES ||
        !read_face(json_object_get(all, "face_at"), m->face_at))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!read_entry(json_array_get(files, i), m))
            return false;
    m->name = kb_printf("%.*s", utf8_fit(name, 400), name);
    m->options = json_dumps(options, JSON_COMPACT);
    return m->options;
}

enum kb_code person_manifest_parse(const char *json, size_t size, struct person_manifest *ret,
                                   struct kb_error *err)
{
    *ret = (struct person_manifest){0};
    json_auto_t *all =
        size <= PERSON_MANIFEST_MOST ? json_loadb(json, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!all || !read_manifest(all, ret))
        return broken(err);
    // They name no file of this server.
    CLEANUP(batch_options_free) struct batch_options o = {0};
    enum kb_code code = batch_options_parse(ret->options, &o, err);
    if (code != KB_OK)
        return kb_wrap(err, _("the person '%s' has options that are not known here"), ret->name);
    return o.n_materials == 0 ? KB_OK : broken(err);
}

void person_manifest_free(struct person_manifest *m)
{
    free(m->name);
    free(m->options);
    *m = (struct person_manifest){0};
}

// --- reading

struct importing {
    struct store *s;
    const struct person_import *p;
    struct archive *archive;
    struct person_manifest manifest;
    char assets[PERSON_FILES][33]; // those that were made
    int n_assets;
    char block[BLOCK];
};

static void importing_free(struct importing **pointer)
{
    struct importing *i = *pointer;
    archive_read_free(i->archive);
    person_manifest_free(&i->manifest);
    free(i);
}

static enum kb_code open_file(struct importing *i, struct kb_error *err)
{
    struct stat st;
    i->archive = archive_read_new();
    if (!i->archive || archive_read_support_format_zip_streamable(i->archive) != ARCHIVE_OK)
        return kb_no_memory(err);
    if (stat(i->p->path, &st) != 0 || !S_ISREG(st.st_mode))
        return kb_fail(err, KB_BAD_INPUT, _("cannot open '%s': %s"), path_name(i->p->path),
                       kb_strerror(errno));
    return archive_read_open_filename(i->archive, i->p->path, BLOCK) == ARCHIVE_OK ? KB_OK
                                                                                   : broken(err);
}

// The next entry has to be this one, stored as it is: nothing is decompressed here.
static enum kb_code next_entry(struct importing *i, const char *name, struct kb_error *err)
{
    struct archive_entry *e = NULL;
    int result = archive_read_next_header(i->archive, &e);
    const char *format = archive_format_name(i->archive), *called = NULL;
    if (result == ARCHIVE_OK || result == ARCHIVE_WARN)
        called = archive_entry_pathname(e);
    if (!called || strcmp(called, name) != 0 || archive_entry_filetype(e) != AE_IFREG || !format ||
        !strstr(format, "(uncompressed)") || archive_entry_is_encrypted(e))
        return broken(err);
    return KB_OK;
}

static enum kb_code take_manifest(struct importing *i, struct kb_error *err)
{
    CLEANUP(text_free) struct text json = {0};
    enum kb_code code = next_entry(i, MANIFEST, err);
    for (la_ssize_t n = 1; code == KB_OK && n != 0;) {
        n = archive_read_data(i->archive, i->block, BLOCK);
        if (n < 0 || json.size + (size_t)n > PERSON_MANIFEST_MOST)
            code = broken(err);
        else
            text_add_bytes(&json, i->block, (size_t)n);
    }
    if (code == KB_OK)
        code = person_manifest_parse(json.data, json.size, &i->manifest, err);
    int64_t sum = 0;
    for (int k = 0; k < i->manifest.n_files; k++)
        sum += i->manifest.files[k].size_bytes;
    if (code == KB_OK && i->p->most_bytes > 0 && sum > i->p->most_bytes)
        code = kb_fail(err, KB_BAD_INPUT,
                       _("the files of this person are larger than an upload may be"));
    return code;
}

static enum kb_code take_care(const struct asset_care *care, struct kb_error *err)
{
    enum kb_code code = care ? cancel_check(care->cancel, err) : KB_OK;
    return code == KB_OK && care && care->room ? care->room(care->ctx, err) : code;
}

static enum kb_code copy_entry(struct importing *i, struct asset_upload *u, int64_t size,
                               struct kb_error *err)
{
    int64_t cared = 0;
    enum kb_code code = take_care(i->p->care, err);
    for (la_ssize_t n = 1; code == KB_OK && n != 0;) {
        n = archive_read_data(i->archive, i->block, BLOCK);
        if (n < 0 || n > size - asset_upload_offset(u))
            return broken(err);
        if (n > 0)
            code = asset_upload_write(u, i->block, (size_t)n, err);
        if (code == KB_OK && asset_upload_offset(u) - cared >= CARE) {
            cared = asset_upload_offset(u);
            code = take_care(i->p->care, err);
        }
    }
    return code == KB_OK && asset_upload_offset(u) != size ? broken(err) : code;
}

static enum kb_code take_file(struct importing *i, const struct person_entry *e,
                              struct kb_error *err)
{
    struct asset_upload *u = NULL;
    struct asset_params params = {.name = e->name,
                                  .size_bytes = e->size_bytes,
                                  .client = i->p->client,
                                  .lang = i->p->lang,
                                  .expires_ms = kb_wall_ms() + UNTIL_MS};
    enum kb_code code = next_entry(i, e->role, err);
    if (code == KB_OK)
        code = asset_create(i->s, &params, i->assets[i->n_assets], err);
    if (code != KB_OK)
        return code;
    code = asset_upload_open(&u, i->s, i->assets[i->n_assets++], err);
    if (code != KB_OK)
        return code;
    asset_upload_expect(u, e->sha256);
    code = copy_entry(i, u, e->size_bytes, err);
    if (code != KB_OK) {
        asset_upload_drop(&u);
        return code;
    }
    code = asset_upload_close(&u, i->s, true, NULL, err);
    return code == KB_BAD_INPUT ? broken(err) : code; // another SHA-256
}

static enum kb_code make_person(struct importing *i, char ret_id[33], struct kb_error *err)
{
    const struct person_manifest *m = &i->manifest;
    json_auto_t *options = json_loads(m->options, 0, NULL);
    for (int k = 1; k < m->n_files; k++)
        json_object_set_new(options, m->files[k].role, json_string(i->assets[k]));
    CLEANUP(kb_freep) char *all = json_dumps(options, JSON_COMPACT);
    const char *name = i->p->name ? i->p->name : m->name;
    enum kb_code code = all ? KB_BAD_INPUT : kb_no_memory(err);
    int64_t taken = 1;
    for (int n = 1; code == KB_BAD_INPUT && taken > 0 && n <= NAMES; n++) {
        CLEANUP(kb_freep)
        char *numbered = n == 1 ? kb_strdup(name) : kb_printf("%s-%d", name, n);
        struct person_params p = {
            .name = numbered, .video = i->assets[0], .options = all, .face_at = m->face_at};
        code = person_create(i->s, &p, ret_id, err);
        struct person other = {0};
        taken = code != KB_OK && person_find(i->s, numbered, true, &other, NULL) == KB_OK;
        person_free(&other);
    }
    return code;
}

enum kb_code person_import(struct store *s, const struct person_import *p, char ret_id[33],
                           struct kb_error *err)
{
    CLEANUP(importing_free) struct importing *i = kb_alloc(sizeof(*i));
    i->s = s;
    i->p = p;
    enum kb_code code = open_file(i, err);
    if (code == KB_OK)
        code = take_manifest(i, err);
    for (int k = 0; code == KB_OK && k < i->manifest.n_files; k++)
        code = take_file(i, &i->manifest.files[k], err);
    if (code == KB_OK)
        code = make_person(i, ret_id, err);
    for (int k = 0; code != KB_OK && k < i->n_assets; k++)
        asset_delete(s, i->assets[k], NULL);
    return code;
}

// --- writing

struct person_export {
    char *folder, *name, *manifest;
    struct person_entry files[PERSON_FILES];
    int n_files, next;
    struct archive *archive;
    int fd;       // of the present one, -1 between two
    int64_t left; // bytes of it
    struct text out;
    size_t sent; // of out
    bool begun, closed, broken, dropped;
    char block[BLOCK];
};

void person_export_free(void *person_export)
{
    struct person_export *e = person_export;
    if (!e)
        return;
    e->dropped = true; // what libarchive still writes goes nowhere
    archive_write_free(e->archive);
    if (e->fd >= 0)
        close(e->fd);
    text_free(&e->out);
    free(e->folder);
    free(e->name);
    free(e->manifest);
    free(e);
}

const char *person_export_name(const struct person_export *e)
{
    return e->name;
}

static enum kb_code add_file(struct store *s, const char *role, const char *id, json_t *list,
                             struct person_export *e, struct kb_error *err)
{
    struct asset a = {0};
    enum kb_code code = asset_find(s, id, &a, err);
    if (code != KB_OK)
        return code;
    CLEANUP(kb_freep) char *path = path_join("files", a.sha256);
    struct person_entry *f = &e->files[e->n_files++];
    f->size_bytes = beneath_size(e->folder, path);
    if (!a.sha256[0] || f->size_bytes <= 0)
        return kb_fail(err, KB_NOT_FOUND, _("'%s' is not here (any more); upload it again"),
                       a.name);
    snprintf(f->role, sizeof(f->role), "%s", role);
    memcpy(f->sha256, a.sha256, sizeof(f->sha256));
    json_t *one = json_pack("{s:s, s:s, s:I, s:s}", "role", role, "name", a.name, "size",
                            (json_int_t)f->size_bytes, "sha256", a.sha256);
    return one && json_array_append_new(list, one) == 0 ? KB_OK : kb_no_memory(err);
}

static json_t *face_json(const double at[3])
{
    if (at[0] < 0)
        return json_null();
    return at[2] < 0 ? json_pack("[f, f]", at[0], at[1])
                     : json_pack("[f, f, f]", at[0], at[1], at[2]);
}

static enum kb_code plan(struct store *s, const struct person *p, struct person_export *e,
                         struct kb_error *err)
{
    CLEANUP(batch_options_free) struct batch_options o = {0};
    json_auto_t *files = json_array();
    json_auto_t *options = json_loads(p->options, 0, NULL);
    enum kb_code code = batch_options_parse(p->options, &o, err);
    if (code == KB_OK)
        code = add_file(s, "video", p->video, files, e, err);
    for (int i = 0; code == KB_OK && i < o.n_materials; i++) {
        const char *role = o.materials[i].role->name;
        code = add_file(s, role, o.materials[i].asset, files, e, err);
        json_object_del(options, role);
    }
    if (code != KB_OK)
        return code;
    json_auto_t *all =
        json_pack("{s:i, s:s, s:o, s:O, s:O}", "koubo_person", VERSION, "name", p->name, "face_at",
                  face_json(p->face_at), "options", options, "files", files);
    e->manifest = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    return e->manifest ? KB_OK : kb_no_memory(err);
}

enum kb_code person_export_create(struct store *s, const char *id, struct person_export **ret,
                                  struct kb_error *err)
{
    CLEANUP(person_free) struct person p = {0};
    enum kb_code code = person_find(s, id, false, &p, err);
    if (code != KB_OK)
        return code;
    struct person_export *e = kb_alloc(sizeof(*e));
    e->fd = -1;
    e->folder = kb_strdup(s->folder);
    CLEANUP(kb_freep) char *safe = path_safe_name(p.name, 200);
    e->name = kb_printf("%s" PERSON_ENDING, safe);
    code = plan(s, &p, e, err);
    if (code == KB_OK)
        *ret = e;
    else
        person_export_free(e);
    return code;
}

static la_ssize_t write_out(struct archive *a, void *ctx, const void *data, size_t n)
{
    struct person_export *e = ctx;
    (void)a;
    if (!e->dropped)
        text_add_bytes(&e->out, data, n);
    return (la_ssize_t)n;
}

static enum kb_code cannot_write(struct person_export *e, struct kb_error *err)
{
    return kb_fail(err, KB_INTERNAL, _("cannot write the zip: %s"),
                   archive_error_string(e->archive));
}

static enum kb_code write_header(struct person_export *e, const char *name, int64_t size,
                                 struct kb_error *err)
{
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return kb_no_memory(err);
    archive_entry_set_pathname_utf8(entry, name);
    archive_entry_set_size(entry, size);
    archive_entry_set_mtime(entry, (time_t)(kb_wall_ms() / 1000), 0);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    int result = archive_write_header(e->archive, entry);
    archive_entry_free(entry);
    return result == ARCHIVE_OK ? KB_OK : cannot_write(e, err);
}

static enum kb_code begin(struct person_export *e, struct kb_error *err)
{
    size_t n = strlen(e->manifest);
    e->begun = true;
    e->archive = archive_write_new();
    if (!e->archive)
        return kb_no_memory(err);
    if (archive_write_set_format_zip(e->archive) != ARCHIVE_OK ||
        archive_write_set_options(e->archive, "zip:compression=store,zip:hdrcharset=UTF-8") !=
            ARCHIVE_OK ||
        archive_write_set_bytes_per_block(e->archive, 0) != ARCHIVE_OK ||
        archive_write_open(e->archive, e, NULL, write_out, NULL) != ARCHIVE_OK)
        return cannot_write(e, err);
    enum kb_code code = write_header(e, MANIFEST, (int64_t)n, err);
    if (code != KB_OK)
        return code;
    return archive_write_data(e->archive, e->manifest, n) == (la_ssize_t)n &&
                   archive_write_finish_entry(e->archive) == ARCHIVE_OK
               ? KB_OK
               : cannot_write(e, err);
}

static enum kb_code begin_file(struct person_export *e, struct kb_error *err)
{
    const struct person_entry *f = &e->files[e->next];
    CLEANUP(kb_freep) char *path = path_join("files", f->sha256);
    e->fd = beneath_open(e->folder, path, O_RDONLY, 0);
    if (e->fd < 0)
        return kb_fail(err, KB_INTERNAL, _("cannot read '%s': %s"), f->role, beneath_reason(errno));
    e->left = f->size_bytes;
    return write_header(e, f->role, f->size_bytes, err);
}

static enum kb_code continue_file(struct person_export *e, struct kb_error *err)
{
    ssize_t n = 0;
    if (e->left == 0) {
        close(e->fd);
        e->fd = -1;
        e->next++;
        return archive_write_finish_entry(e->archive) == ARCHIVE_OK ? KB_OK : cannot_write(e, err);
    }
    do
        n = read(e->fd, e->block, (size_t)KB_MIN(e->left, BLOCK));
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return kb_fail(err, KB_INTERNAL, _("cannot read '%s': %s"), e->files[e->next].role,
                       kb_strerror(n < 0 ? errno : EIO));
    e->left -= n;
    return archive_write_data(e->archive, e->block, (size_t)n) == n ? KB_OK : cannot_write(e, err);
}

// Some more of the file into out.
static enum kb_code produce(struct person_export *e, struct kb_error *err)
{
    if (!e->begun)
        return begin(e, err);
    if (e->fd >= 0)
        return continue_file(e, err);
    if (e->next < e->n_files)
        return begin_file(e, err);
    e->closed = true;
    return archive_write_close(e->archive) == ARCHIVE_OK ? KB_OK : cannot_write(e, err);
}

int64_t person_export_read(void *person_export, char *buffer, size_t max)
{
    struct person_export *e = person_export;
    while (!e->broken && e->sent == e->out.size) {
        if (e->closed)
            return -1;
        struct kb_error err = {0};
        text_clear(&e->out);
        e->sent = 0;
        if (produce(e, &err) == KB_OK)
            continue;
        kb_wrap(&err, _("the file '%s' is broken off"), e->name);
        CLEANUP(kb_freep) char *said = sentence_for_log(&err);
        log_warn("%s", said);
        e->broken = true;
    }
    if (e->broken)
        return -2;
    size_t n = KB_MIN(max, e->out.size - e->sent);
    memcpy(buffer, e->out.data + e->sent, n);
    e->sent += n;
    return (int64_t)n;
}
