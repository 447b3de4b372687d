// Names, addresses, dates and lines of subtitles: what is true of them whatever they are.
#include "asset/name.h"
#include "base/date.h"
#include "base/file.h"
#include "base/uri.h"
#include "base/utf8.h"
#include "media/extras.h"
#include "store/names.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

// Does a part of the path lead elsewhere?
static bool leads_out(const char *path)
{
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && *part == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return true;
    }
    return false;
}

static void check_names(const char *text)
{
    char clean[256];
    asset_clean_name(clean, text);
    CLEANUP(kb_freep) char *safe = path_safe_name(text, 200);
    CLEANUP(kb_freep) char *stem = shelf_stem(text, text, 1000);
    CLEANUP(kb_freep) char *shelf = shelf_name(12, text);
    if (!utf8_valid(clean) || strchr(clean, '/') || !utf8_valid(safe) || strlen(safe) > 200 ||
        strpbrk(safe, "/\\") || !*safe || strchr(stem, '/') || strlen(stem) > SHELF_STEM ||
        strchr(shelf, '/') || shelf_parse(shelf) != 12)
        abort();
    static const char *const folders[] = {"results", "files",  "thumbs",
                                          "uploads", "tracks", "work"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        struct file_name name;
        if (file_name_parse(&name, folders[i], text) && leads_out(text))
            abort();
    }
    shelf_parse(text);
}

static void check_text(const char *text)
{
    CLEANUP(kb_freep) char *clean = utf8_clean(text);
    if (!utf8_valid(clean) || (utf8_valid(text) && strcmp(clean, text) != 0) ||
        utf8_count(clean) != utf8_count(text))
        abort();
    for (int n = 4; n < 12; n++) {
        int fits = utf8_fit(text, n);
        if (fits < 0 || fits > n || (size_t)fits > strlen(text) || (*text && fits == 0))
            abort();
    }
    char shown[SUBTITLE_BYTES];
    subtitle_plain(text, shown);
    if (strlen(shown) >= sizeof(shown) || (utf8_valid(text) && !utf8_valid(shown)))
        abort();
}

static void check_address(const char *text)
{
    int64_t time_s;
    char date[DATE_BYTES];
    if (date_http_parse(text, &time_s)) {
        date_http(date, time_s);
        if (strcmp(date, text) != 0)
            abort();
    }
    CLEANUP(text_free) struct text coded = {0};
    uri_encode(&coded, text, strlen(text), "");
    CLEANUP(kb_freep) char *back = kb_strdup(text_get(&coded));
    if (!uri_decode(back, true) || strcmp(back, text) != 0)
        abort();
    CLEANUP(kb_freep) char *decoded = kb_strdup(text);
    uri_decode(decoded, true);
    if (strlen(decoded) > strlen(text) || uri_http(text) > strlen(text))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(kb_freep) char *text = fuzz_text(data, size);
    check_names(text);
    check_text(text);
    check_address(text);
    return 0;
}
