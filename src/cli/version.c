#include "cli/version.h"

#include "base/base.h"
#include "cli/commit.h"
#include "nn/session.h"

#include <curl/curl.h>
#include <libavcodec/avcodec.h>
#include <libavfilter/avfilter.h>
#include <libavformat/avformat.h>
#include <microhttpd.h>
#include <sqlite3.h>

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

const char *version_commit(void)
{
    // An archive that is unpacked inside somebody's repository would be told that one's commit.
    return KOUBO_ARCHIVED[0] == '$' ? KOUBO_COMMIT : KOUBO_ARCHIVED;
}

static void describe_ffmpeg(char *ret, size_t size)
{
    const unsigned v[] = {avformat_version(), avcodec_version(), avfilter_version(),
                          avutil_version()};
    static const char *const names[] = {"avformat", "avcodec", "avfilter", "avutil"};
    int n = snprintf(ret, size, "%s:", av_version_info());
    for (size_t i = 0; i < ARRAY_LEN(v) && n < (int)size; i++)
        n += snprintf(ret + n, size - (size_t)n, " %s %u.%u.%u", names[i], AV_VERSION_MAJOR(v[i]),
                      AV_VERSION_MINOR(v[i]), AV_VERSION_MICRO(v[i]));
}

void version_parts(struct version_part ret[VERSION_PARTS])
{
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    const struct version_part parts[] = {
        {"FFmpeg", ""}, {"oneDNN", ""}, {"SQLite", ""}, {"libmicrohttpd", ""}, {"libcurl", ""},
    };
    _Static_assert(ARRAY_LEN(parts) == VERSION_PARTS, "one line a library");
    memcpy(ret, parts, sizeof(parts));
    describe_ffmpeg(ret[0].version, sizeof(ret[0].version));
    session_library(ret[1].version, sizeof(ret[1].version));
    snprintf(ret[2].version, sizeof(ret[2].version), "%s", sqlite3_libversion());
    snprintf(ret[3].version, sizeof(ret[3].version), "%s", MHD_get_version());
    snprintf(ret[4].version, sizeof(ret[4].version), "%s, %s", curl->version,
             curl->ssl_version ? curl->ssl_version : "no TLS");
}

void version_print(FILE *f, bool verbose)
{
    fprintf(f, "koubo %s\n", KOUBO_VERSION);
    if (!verbose)
        return;
    struct version_part parts[VERSION_PARTS];
    version_parts(parts);
    fprintf(f, "%-14s %s\n", "commit", version_commit());
    fprintf(f, "%-14s %s\n", "compiler", COMPILER);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        fprintf(f, "%-14s %s\n", parts[i].name, parts[i].version);
}
