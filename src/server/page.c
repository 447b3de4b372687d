#include "server/page.h"

#include "base/bytes.h"
#include "base/file.h"
#include "server/internal.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/sha.h>

#define MAX_FILES 1000
#define MAX_BYTES (64 << 20)

struct bytes {
    void *data; // NULL if empty
    size_t size;
};

struct page_file {
    char *name; // "index.html", "assets/index-4f2a.js"
    const char *type;
    struct bytes data, gzip;
    char etag[40];
};

struct page {
    struct page_file *files;
    size_t n_files;
    struct bytes api; // docs/openapi.yaml
};

static const char *type_of(const char *name)
{
    static const struct {
        const char *end, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".webp", "image/webp"},
        {".woff2", "font/woff2"},
        {".json", "application/json"},
        {".webmanifest", "application/manifest+json"},
        {".txt", "text/plain; charset=utf-8"},
        {".yaml", "application/yaml"},
    };
    const char *end = strrchr(name, '.');
    for (size_t i = 0; end && i < ARRAY_LEN(types); i++)
        if (strcmp(end, types[i].end) == 0)
            return types[i].type;
    return "application/octet-stream";
}

// A copy, not a mapping: a page that is built anew may cut the file under our feet.
static enum kb_code read_file(struct bytes *ret, const char *path, struct kb_error *err)
{
    CLEANUP(file_unmap) struct file_map map = {0};
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
        return KB_OK;
    enum kb_code code = file_map(&map, path, err);
    if (code != KB_OK)
        return code;
    if (map.size > MAX_BYTES)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' is too large to be part of koubo's page"), path);
    void *data = malloc(map.size);
    if (!data)
        return kb_no_memory(err);
    memcpy(data, map.data, map.size);
    *ret = (struct bytes){data, map.size};
    return KB_OK;
}

static enum kb_code add_file(struct page *p, const char *folder, const char *name,
                             struct kb_error *err)
{
    if (p->n_files == MAX_FILES)
        return kb_fail(err, KB_BAD_INPUT, _("'%s' has too many files to be koubo's page"), folder);
    struct page_file *files = realloc(p->files, (p->n_files + 1) * sizeof(*files));
    if (!files)
        return kb_no_memory(err);
    p->files = files;
    struct page_file *f = &files[p->n_files++];
    *f = (struct page_file){.name = kb_strdup(name), .type = type_of(name)};

    CLEANUP(kb_freep) char *path = path_join(folder, name);
    CLEANUP(kb_freep) char *packed = kb_printf("%s.gz", path);
    enum kb_code code = read_file(&f->data, path, err);
    if (code != KB_OK)
        return code;
    read_file(&f->gzip, packed, NULL); // the page goes without
    unsigned char digest[32];
    SHA256(f->data.data, f->data.size, digest);
    f->etag[0] = '"';
    bytes_hex(f->etag + 1, digest, 16);
    memcpy(f->etag + 33, "\"", 2);
    return KB_OK;
}

// The files of folder/below ("" or "assets"), no deeper.
static enum kb_code add_folder(struct page *p, const char *folder, const char *below,
                               struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(folder, below);
    DIR *dir = opendir(*below ? path : folder);
    enum kb_code code = KB_OK;
    for (struct dirent *e = dir ? readdir(dir) : NULL; e && code == KB_OK; e = readdir(dir)) {
        CLEANUP(kb_freep)
        char *name = *below ? path_join(below, e->d_name) : kb_strdup(e->d_name);
        CLEANUP(kb_freep) char *whole = path_join(folder, name);
        if (e->d_name[0] != '.' && !text_ends(name, ".gz") && file_exists(whole))
            code = add_file(p, folder, name, err);
    }
    if (dir)
        closedir(dir);
    return code;
}

// The first of these that is there, a new string; NULL if none is.
static char *beside_program(const char *a, const char *b, bool (*is_there)(const char *path))
{
    CLEANUP(kb_freep) char *first = path_beside_program(a);
    CLEANUP(kb_freep) char *second = path_beside_program(b);
    return is_there(first) ? TAKE(first) : is_there(second) ? TAKE(second) : NULL;
}

static void load_api(struct page *p, const char *folder)
{
    CLEANUP(kb_freep) char *copied = folder ? path_join(folder, "openapi.yaml") : NULL;
    CLEANUP(kb_freep)
    char *path =
        copied && file_exists(copied)
            ? TAKE(copied)
            : beside_program("../docs/openapi.yaml", "../share/koubo/openapi.yaml", file_exists);
    if (path)
        read_file(&p->api, path, NULL);
}

enum kb_code page_load(struct page **ret, const char *folder, struct kb_error *err)
{
    CLEANUP(page_free) struct page *p = kb_alloc(sizeof(*p));
    CLEANUP(kb_freep)
    char *found = folder ? kb_strdup(folder)
                         : beside_program("../web/dist", "../share/koubo/web", file_is_dir);
    load_api(p, found);
    enum kb_code code = found ? add_folder(p, found, "", err) : KB_OK;
    if (code == KB_OK && found)
        code = add_folder(p, found, "assets", err);
    if (code == KB_OK)
        *ret = TAKE(p);
    return code;
}

void page_free(struct page **page)
{
    struct page *p = TAKE(*page);
    if (!p)
        return;
    for (size_t i = 0; i < p->n_files; i++) {
        free(p->files[i].name);
        free(p->files[i].data.data);
        free(p->files[i].gzip.data);
    }
    free(p->files);
    free(p->api.data);
    free(p);
}

// --- routes

static const struct page_file *find_file(const struct page *p, const char *name)
{
    for (size_t i = 0; p && i < p->n_files; i++)
        if (strcmp(p->files[i].name, name) == 0)
            return &p->files[i];
    return NULL;
}

// A browser that was sent to such an address shows a way back.
static void not_found(struct request *r)
{
    const char *sentence = _("there is nothing at this address");
    const char *accept = request_header(r, "Accept");
    if (!accept || !strstr(accept, "text/html")) {
        reply_problem(r, 404, "not_found", sentence);
        return;
    }
    CLEANUP(kb_freep)
    char *html = kb_printf("<!doctype html><meta charset=\"utf-8\">"
                           "<meta name=\"viewport\" content=\"width=device-width\">"
                           "<title>koubo</title><p>%s</p><p><a href=\"/\">koubo</a></p>\n",
                           sentence);
    reply_text(r, 404, "text/html; charset=utf-8", html);
}

static void send_file(struct request *r, const char *name)
{
    const struct server *s = request_server(r);
    const struct page_file *f = find_file(s ? s->page : NULL, name);
    if (!f) {
        not_found(r);
        return;
    }
    // The build puts a hash of the content into the names below assets/.
    reply_memory(r, f->type, f->etag, text_begins(name, "assets/"), f->data.data, f->data.size,
                 f->gzip.data, f->gzip.size);
}

static void send_index(struct request *r)
{
    const struct server *s = request_server(r);
    if (find_file(s ? s->page : NULL, "index.html"))
        send_file(r, "index.html");
    else
        reply_problem(r, 503, "no_page",
                      _("the web page is not built yet: run ./start.sh in the folder of koubo; the "
                        "API works without it"));
}

static void get_asset(struct request *r)
{
    CLEANUP(kb_freep) char *name = path_join("assets", request_part(r, 0));
    send_file(r, name);
}

// The page's views are behind "#": only "/" and its files have addresses.
static void get_file(struct request *r)
{
    send_file(r, request_part(r, 0));
}

static void get_api(struct request *r)
{
    const struct server *s = request_server(r);
    if (!s || !s->page || !s->page->api.size) {
        not_found(r);
        return;
    }
    CLEANUP(kb_freep)
    char *text = kb_printf("%.*s", (int)s->page->api.size, (const char *)s->page->api.data);
    reply_header(r, "Cache-Control", "no-cache");
    reply_text(r, 200, "application/yaml", text);
}

const struct route page_routes[] = {
    {"GET", "/", send_index, ROUTE_OPEN, NULL},
    {"GET", "/{file}", get_file, ROUTE_OPEN, NULL},
    {"GET", "/assets/{file}", get_asset, ROUTE_OPEN, NULL},
    {"GET", "/api/v1/openapi.yaml", get_api, ROUTE_OPEN, NULL},
    {"GET", "/*", not_found, ROUTE_OPEN, NULL},
    {0},
};
