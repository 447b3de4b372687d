// What can be told of a dub before any work.
#include "lipsync/dub.h"

#include "base/file.h"
#include "lipsync/dub_internal.h"
#include "lipsync/join.h"
#include "lipsync/subtitles.h"
#include "lipsync/timeline.h"
#include "media/audio.h"

#define SPARE_BYTES (16 << 20) // room that must be free beside the estimated output

bool dub_is_deep(const struct dub_params *p)
{
    return p->keep_deep && p->finish.background.alpha == ALPHA_NONE;
}

// A generous guess of the output's size in bytes.
static int64_t estimate_bytes(const struct reader_info *v, int64_t length_us)
{
    // CRF 18 seldom needs more than 0.15 bits a pixel at 25 fps; a source bitrate may be higher.
    int64_t bits = (int64_t)v->width * v->height * 15 / 100 * 25;
    bits = KB_MAX(bits, v->bitrate) + 192000;
    return bits / 8 * (length_us / 1000000 + 1);
}

// Whose file it was that cannot be used.
static enum kb_code name_it(enum kb_code code, const char *whose, struct kb_error *err)
{
    return code == KB_OK || code == KB_CANCELLED ? code : kb_wrap(err, "%s", whose);
}

// What is shown before, or after, can be read; and how long it is.
static enum kb_code check_join(const char *path, const struct dub_params *p,
                               const struct reader_info *film, int64_t *length_us,
                               struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *r = NULL;
    const struct reader_params rp = {.cancel = p->watch.cancel};
    if (!path)
        return KB_OK;
    if (film->deep &&
        (film->transfer == AVCOL_TRC_SMPTE2084 || film->transfer == AVCOL_TRC_ARIB_STD_B67))
        return kb_fail(err, KB_BAD_INPUT,
                       _("'%s' cannot be joined to a film that keeps its HDR colours; leave out "
                         "--hdr keep"),
                       path);
    enum kb_code code = reader_open(&r, path, &rp, err);
    if (code != KB_OK)
        return code;
    const struct reader_info *info = reader_info(r);
    if (info->duration_us > JOIN_MAX_US)
        return join_too_long(path, err);
    *length_us += info->is_still ? JOIN_STILL_US : info->duration_us;
    return KB_OK;
}

static enum kb_code check_music(const struct dub_params *p, struct kb_error *err)
{
    CLEANUP(audio_close) struct audio_reader *music = NULL;
    const struct audio_params ap = {.cancel = p->watch.cancel};
    return p->music.path ? audio_open(&music, p->music.path, &ap, err) : KB_OK;
}

// Other films of the person.
static enum kb_code check_other(const char *path, const struct dub_params *p, struct kb_error *err)
{
    CLEANUP(reader_close) struct reader *r = NULL;
    const struct reader_params rp = {.height = p->height, .cancel = p->watch.cancel};
    return path ? reader_open(&r, path, &rp, err) : KB_OK;
}

static enum kb_code check_film(const struct dub_params *p, const struct reader_info *info,
                               struct kb_error *err)
{
    if (p->start_us > 0 && info->duration_us > 0 && p->start_us >= info->duration_us)
        return kb_fail(err, KB_BAD_INPUT,
                       _("--start %.3f s lies behind the end of '%s' (%.3f s); choose an earlier "
                         "start"),
                       (double)p->start_us / 1e6, p->video, (double)info->duration_us / 1e6);
    if (p->bitrate_source && info->bitrate <= 0)
        return kb_fail(err, KB_BAD_INPUT,
                       _("--bitrate source: '%s' does not say its bitrate; use --crf instead"),
                       p->video);
    return KB_OK;
}

// Everything beside speech and film that the run opens once it has the track, minutes later.
static enum kb_code check_around(const struct dub_params *p, const struct reader_info *film,
                                 int64_t *length_us, struct kb_error *err)
{
    const struct finish_source source = {.threads = 1, .cancel = p->watch.cancel};
    const struct finish_picture picture = dub_picture(film);
    enum kb_code code =
        name_it(check_other(p->mouth_from, p, err), _("the mouth's film (--mouth-from)"), err);
    if (code == KB_OK)
        code = name_it(check_other(p->style_from, p, err),
                       _("the film of how they speak (--style-from)"), err);
    if (code == KB_OK)
        code =
            name_it(check_join(p->intro, p, film, length_us, err), _("the intro (--intro)"), err);
    if (code == KB_OK)
        code =
            name_it(check_join(p->outro, p, film, length_us, err), _("the outro (--outro)"), err);
    if (code == KB_OK)
        code = name_it(check_music(p, err), _("the music (--music)"), err);
    return code == KB_OK ? finisher_check(&p->finish, &source, &picture, err) : code;
}

static enum kb_code check_inputs(const struct dub_params *p, struct reader **ret_film,
                                 int64_t *ret_bytes, struct kb_error *err)
{
    CLEANUP(audio_close) struct audio_reader *audio = NULL;
    CLEANUP(reader_close) struct reader *video = NULL;
    struct audio_params ap = {.cancel = p->watch.cancel};
    struct reader_params rp = {
        .height = p->height, .deep = dub_is_deep(p), .cancel = p->watch.cancel};

    enum kb_code code = p->audio ? audio_open(&audio, p->audio, &ap, err) : KB_OK;
    if (code == KB_OK)
        code = reader_open(&video, p->video, &rp, err);
    if (code == KB_OK)
        code = check_film(p, reader_info(video), err);
    if (code != KB_OK)
        return code;
    const struct reader_info *info = reader_info(video);
    int64_t length = audio ? audio_duration_us(audio) : info->duration_us;
    if (p->keep_video)
        length = KB_MAX(length, info->duration_us);
    if (p->duration_us > 0)
        length = KB_MIN(length, p->duration_us);
    code = check_around(p, info, &length, err);
    if (code != KB_OK)
        return code;
    *ret_bytes = estimate_bytes(info, length);
    *ret_film = TAKE(video);
    return KB_OK;
}

static enum kb_code check_subtitles(const struct dub_params *p, struct kb_error *err)
{
    const struct captions_params *c = &p->finish.captions;
    CLEANUP(kb_freep) char *srt = subtitles_path(p->output);
    if (c->as & CAPTIONS_SRT && c->file && file_same(c->file, srt))
        return kb_fail(err, KB_BAD_INPUT,
                       _("the output '%s' is one of the inputs; choose another name"), srt);
    return captions_check(c, err);
}

// --- what both halves of a dub must agree on

void dub_settle_rows(struct dub_params *p)
{
    if (p->finish.reframe.width <= 0)
        return;
    p->finish.reframe.rows = p->height;
    p->height = 0;
}

struct finish_picture dub_picture(const struct reader_info *v)
{
    return (struct finish_picture){.width = v->width,
                                   .height = v->height,
                                   .frame_rate = timeline_rate(v->frame_rate),
                                   .sample_aspect = v->sample_aspect,
                                   .range = v->range,
                                   .space = v->space,
                                   .deep = v->deep};
}

enum kb_code dub_check(const struct dub_params *params, struct reader **ret_film,
                       struct kb_error *err)
{
    struct dub_params settled = *params, *p = &settled;
    CLEANUP(reader_close) struct reader *film = NULL;
    int64_t bytes = 0;
    const char *const inputs[] = {p->video,
                                  p->audio,
                                  p->mouth_from,
                                  p->style_from,
                                  p->intro,
                                  p->outro,
                                  p->music.path,
                                  p->finish.logo.path,
                                  p->finish.background.path,
                                  p->finish.captions.file};
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++)
        if (inputs[i] && file_same(inputs[i], p->output))
            return kb_fail(err, KB_BAD_INPUT,
                           _("the output '%s' is one of the inputs; choose another name"),
                           p->output);
    dub_settle_rows(p);
    enum kb_code code = check_subtitles(p, err);
    if (code == KB_OK)
        code = check_inputs(p, &film, &bytes, err);
    if (code == KB_OK)
        code = file_check_writable(p->output, bytes + SPARE_BYTES, err);
    if (code == KB_OK && ret_film)
        *ret_film = TAKE(film);
    return code;
}
