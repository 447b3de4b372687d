// Subtitles to be looked at: those of a speech or an uploaded file before a batch is made with
// them, and those of a result, for its player and as a file.
#include "base/file.h"
#include "finish/reframe.h"
#include "media/subtitle_file.h"
#include "queue/options.h"
#include "queue/result.h"
#include "queue/subtitles.h"
#include "server/api/fields.h"
#include "server/internal.h"

#include <stdlib.h>
#include <string.h>

#define CROP_UNIT 100 // pixels for each of a shape's 9 or 16

// {"subtitles": [{"begin": seconds, "end": seconds, "text": "…"}]}, as the option takes them.
static void reply_list(struct request *r, const struct subtitle_track *t)
{
    json_auto_t *list = json_array();
    for (size_t i = 0; i < t->n; i++)
        json_array_append_new(
            list, json_pack("{s:f, s:f, s:s}", "begin", (double)(t->at[i].start_us / 1000) / 1000,
                            "end", (double)(t->at[i].end_us / 1000) / 1000, "text", t->at[i].text));
    json_auto_t *all = json_pack("{s:O}", "subtitles", list);
    CLEANUP(kb_freep)
    char *text = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (text)
        reply_json(r, 200, text);
    else
        reply_error(r, &(struct kb_error){.code = KB_NO_SPACE});
}

// As the option subtitle_size; 0: its default.
static bool query_size(struct request *r, float *ret)
{
    const char *text = query_text(r, "size");
    char *end = NULL;
    double size = text ? strtod(text, &end) : 0;
    *ret = (float)size;
    if (!text || (*end == '\0' &&
                  (size == 0 || (size >= CAPTIONS_LEAST_SIZE && size <= CAPTIONS_MOST_SIZE))))
        return true;
    CLEANUP(kb_freep)
    char *why = kb_printf(_("'size' must be a number from %d to %d"), (int)CAPTIONS_LEAST_SIZE,
                          (int)CAPTIONS_MOST_SIZE);
    reply_problem(r, 400, "bad_input", why);
    return false;
}

// The picture that they will stand in: of the film, or of the shape that is cut out of it, of which
// a line needs to know no more than how wide it is for its height.
static bool query_picture(struct request *r, int64_t *width, int64_t *height)
{
    struct reframe_params crop = {0};
    const char *shape = query_text(r, "crop");
    if (!request_query_int(r, "width", 2, 65536, 1280, width) ||
        !request_query_int(r, "height", 2, 65536, 720, height))
        return false;
    if (shape && !reframe_parse(shape, &crop)) {
        reply_problem(r, 400, "bad_input",
                      _("'crop' must be a shape such as 9:16, 1:1, 4:5 or 16:9; its sides may be 1 "
                        "to 4 at most"));
        return false;
    }
    if (shape) {
        *width = crop.width * CROP_UNIT;
        *height = crop.height * CROP_UNIT;
    }
    return true;
}

static void get_of_asset(struct request *r)
{
    CLEANUP(subtitle_track_clear) struct subtitle_track track = {0};
    struct kb_error err = {0};
    int64_t width, height;
    float size;
    if (!query_picture(r, &width, &height) || !query_size(r, &size))
        return;
    if (subtitles_of_asset(request_store(r), request_part(r, 0), (int)width, (int)height, size,
                           &track, &err) == KB_OK)
        reply_list(r, &track);
    else
        reply_error(r, &err);
}

// The name of the result with another ending.
static void set_download(struct request *r, const char *result, const char *ending)
{
    CLEANUP(kb_freep) char *stem = path_stem(result);
    CLEANUP(kb_freep) char *name = kb_printf("%s.%s", stem, ending);
    reply_download(r, name);
}

static void get_of_result(struct request *r)
{
    static const char *const formats[] = {"json", "vtt", "srt", NULL};
    CLEANUP(subtitle_track_clear) struct subtitle_track track = {0};
    CLEANUP(result_free) struct result result = {0};
    CLEANUP(text_free) struct text text = {0};
    const char *format = NULL;
    int64_t job;
    struct kb_error err = {0};
    if (!request_part_id(r, 0, &job) || !query_word(r, "format", formats, &format))
        return;
    enum kb_code code = result_find(request_store(r), job, &result, &err);
    if (code == KB_OK)
        code = subtitles_of_result(request_store(r), job, &track, &err);
    if (code != KB_OK) {
        reply_error(r, &err);
        return;
    }
    bool srt = format && strcmp(format, "srt") == 0;
    if (!srt && !(format && strcmp(format, "vtt") == 0)) {
        reply_list(r, &track);
        return;
    }
    (srt ? subtitles_to_srt : subtitles_to_vtt)(&text, &track, 0);
    if (request_query(r, "download"))
        set_download(r, result.name, format);
    reply_text(r, 200, srt ? "application/x-subrip; charset=utf-8" : "text/vtt; charset=utf-8",
               text_get(&text));
}

const struct route api_subtitles_routes[] = {
    {"GET", "/api/v1/assets/{id}/subtitles", get_of_asset, 0, NULL},
    {"GET", "/api/v1/results/{job}/subtitles", get_of_result, 0, NULL},
    {0},
};
