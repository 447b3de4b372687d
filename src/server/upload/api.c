// Assets: sending them (tus.c, form.c), listing, looking at them, removing them.
#include "asset/asset.h"
#include "base/file.h"
#include "server/api/fields.h"
#include "server/internal.h"
#include "server/upload/form.h"
#include "server/upload/tus.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void list_assets(struct request *r)
{
    static const char *const kinds[] = {"audio", "video", "text", NULL};
    static const char *const states[] = {"uploading", "fetching", "making", "new",
                                         "ready",     "bad",      NULL};
    struct asset_filter f = {.search = query_text(r, "search")};
    if (!query_page(r, &f.offset, &f.limit) || !query_word(r, "kind", kinds, &f.kind) ||
        !query_word(r, "state", states, &f.state))
        return;
    CLEANUP(text_free) struct text answer = {0};
    struct kb_error err = {0};
    if (asset_list_json(request_store(r), &f, &answer, &err) == KB_OK)
        reply_json(r, 200, text_get(&answer));
    else
        reply_error(r, &err);
}

static void get_asset(struct request *r)
{
    CLEANUP(text_free) struct text answer = {0};
    struct kb_error err = {0};
    if (asset_json(request_store(r), request_part(r, 0), &answer, &err) == KB_OK)
        reply_json(r, 200, text_get(&answer));
    else
        reply_error(r, &err);
}

static void delete_asset(struct request *r)
{
    struct kb_error err = {0};
    if (asset_delete(request_store(r), request_part(r, 0), &err) == KB_OK)
        reply_empty(r, 204);
    else
        reply_conflict(r, &err);
}

static void inspect_asset(struct request *r)
{
    const char *id = request_part(r, 0);
    CLEANUP(text_free) struct text answer = {0};
    struct kb_error err = {0};
    if (asset_inspect_again(request_store(r), id, &err) == KB_OK &&
        asset_json(request_store(r), id, &answer, &err) == KB_OK)
        reply_json(r, 200, text_get(&answer));
    else
        reply_conflict(r, &err);
}

// What a browser is told about a user's file. Nothing here can run in a page, and a file of another
// name is only ever downloaded: nobody is sent HTML that somebody else uploaded.
static const char *content_type(const struct asset *a)
{
    static const struct {
        const char *extension, *type;
    } types[] = {
        {"mp4", "video/mp4"},   {"m4v", "video/mp4"},        {"mov", "video/quicktime"},
        {"webm", "video/webm"}, {"mkv", "video/x-matroska"}, {"avi", "video/x-msvideo"},
        {"flv", "video/x-flv"}, {"wmv", "video/x-ms-wmv"},   {"mpg", "video/mpeg"},
        {"mpeg", "video/mpeg"}, {"ts", "video/mp2t"},        {"3gp", "video/3gpp"},
        {"mp3", "audio/mpeg"},  {"wav", "audio/wav"},        {"m4a", "audio/mp4"},
        {"aac", "audio/aac"},   {"flac", "audio/flac"},      {"ogg", "audio/ogg"},
        {"opus", "audio/ogg"},  {"oga", "audio/ogg"},        {"wma", "audio/x-ms-wma"},
        {"aiff", "audio/aiff"}, {"amr", "audio/amr"},        {"jpg", "image/jpeg"},
        {"jpeg", "image/jpeg"}, {"png", "image/png"},        {"webp", "image/webp"},
        {"bmp", "image/bmp"},   {"gif", "image/gif"},        {"heic", "image/heic"},
        {"heif", "image/heif"}, {"avif", "image/avif"},
    };
    const char *dot = strrchr(a->name, '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(types); i++) {
        const char *type = types[i].type;
        if (strcasecmp(dot + 1, types[i].extension) != 0)
            continue;
        // A video container that holds only sound, and the other way round.
        if (strcmp(a->kind, "audio") == 0 && strcmp(type, "video/mp4") == 0)
            return "audio/mp4";
        if (strcmp(a->kind, "audio") == 0 && strcmp(type, "video/webm") == 0)
            return "audio/webm";
        if (strcmp(a->kind, "video") == 0 && strcmp(type, "audio/ogg") == 0)
            return "video/ogg";
        return type;
    }
    return a->spoken ? "audio/wav" : "application/octet-stream";
}

// False: answered.
static bool find_content(struct request *r, struct asset *ret)
{
    struct kb_error err = {0};
    enum kb_code code = asset_find(request_store(r), request_part(r, 0), ret, &err);
    if (code == KB_OK && ret->job)
        code =
            kb_fail(&err, KB_NOT_FOUND, _("this file does not exist (any more); upload it again"));
    if (code == KB_OK && !ret->sha256[0])
        code = kb_fail(&err, KB_NOT_FOUND, _("'%s' is not whole yet"), ret->name);
    if (code != KB_OK)
        reply_error(r, &err);
    return code == KB_OK;
}

static void get_content(struct request *r)
{
    struct asset a;
    if (!find_content(r, &a))
        return;
    CLEANUP(kb_freep) char *path = path_join("files", a.sha256);
    const char *type = content_type(&a);
    bool unknown = strcmp(type, "application/octet-stream") == 0;
    struct reply_file_params p = {
        .folder = request_server(r)->params.data,
        .path = path,
        .type = type,
        .download = unknown || request_query(r, "download") ? a.name : NULL,
    };
    reply_file(r, &p);
}

static void get_thumbnail(struct request *r)
{
    struct asset a;
    if (!find_content(r, &a))
        return;
    CLEANUP(kb_freep) char *path = kb_printf("thumbs/%s.jpg", a.sha256);
    // An asset never changes its content, so its picture never changes either.
    struct reply_file_params p = {.folder = request_server(r)->params.data,
                                  .path = path,
                                  .type = "image/jpeg",
                                  .immutable = true};
    reply_file(r, &p);
}

const struct route api_uploads_routes[] = {
    {"OPTIONS", "/api/v1/uploads", tus_options, 0, NULL},
    {"OPTIONS", "/api/v1/uploads/{id}", tus_options, 0, NULL},
    {"POST", "/api/v1/uploads", NULL, ROUTE_SINK, &tus_create_sink},
    {"POST", "/api/v1/uploads/{id}", NULL, ROUTE_SINK, &tus_override_sink},
    {"PATCH", "/api/v1/uploads/{id}", NULL, ROUTE_SINK, &tus_patch_sink},
    {"HEAD", "/api/v1/uploads/{id}", tus_head, 0, NULL},
    {"DELETE", "/api/v1/uploads/{id}", tus_delete, 0, NULL},
    {"POST", "/api/v1/assets", NULL, ROUTE_SINK, &form_sink},
    {"GET", "/api/v1/assets", list_assets, 0, NULL},
    {"GET", "/api/v1/assets/{id}", get_asset, 0, NULL},
    {"DELETE", "/api/v1/assets/{id}", delete_asset, 0, NULL},
    {"POST", "/api/v1/assets/{id}/inspect", inspect_asset, 0, NULL},
    {"GET", "/api/v1/assets/{id}/content", get_content, 0, NULL},
    {"GET", "/api/v1/assets/{id}/thumbnail", get_thumbnail, 0, NULL},
    {0},
};
