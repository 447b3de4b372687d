#include "media/gallery.h"

#include "base/file.h"

#include <libheif/heif.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <webp/demux.h>

#define HEAD     30 // bytes of a file that tell what it is
#define STILL_MS 40
#define HURRY_MS 10  // browsers show pictures that want to be shown for no longer
#define CALM_MS  100 // for this long

struct gallery {
    struct file_map file;
    char *path;
    int width, height, channels; // 3 or 4: RGB, RGBA
    bool has_alpha;              // and some of it is transparent
    // HEIC: one picture.
    struct heif_context *heif;
    struct heif_image_handle *picture;
    bool given;
    // Animated WebP.
    WebPAnimDecoder *webp;
    int shown_until_ms; // as the file says
    int64_t next_ms;    // as we say
};

void gallery_close(struct gallery **g)
{
    if (!*g)
        return;
    heif_image_handle_release((*g)->picture);
    heif_context_free((*g)->heif);
    WebPAnimDecoderDelete((*g)->webp);
    file_unmap(&(*g)->file);
    free((*g)->path);
    free(*g);
    *g = NULL;
}

bool gallery_has_alpha(const struct gallery *g)
{
    return g->has_alpha;
}

const char *gallery_format(const struct gallery *g)
{
    return g->webp ? "webp" : "heic";
}

static enum kb_code too_large(const struct gallery *g, int max_side, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the picture of '%s' is %dx%d; at most %dx%d is supported, scale it down "
                     "first"),
                   g->path, g->width, g->height, max_side, max_side);
}

// --- HEIC ---

// Of the brands of ISO media files those that hold HEVC pictures; "mif1" alone may hold AVIF too.
static bool is_heic(const uint8_t head[HEAD])
{
    static const char brands[][5] = {"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1"};
    if (memcmp(head + 4, "ftyp", 4) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(brands); i++)
        if (memcmp(head + 8, brands[i], 4) == 0)
            return true;
    return false;
}

static enum kb_code heif_failed(const struct gallery *g, struct heif_error e, struct kb_error *err)
{
    if (e.code == heif_error_Memory_allocation_error &&
        e.subcode != heif_suberror_Security_limit_exceeded) // a number in the file is too large
        return kb_no_memory(err);
    return kb_fail(err, KB_BAD_INPUT,
                   _("the HEIC picture '%s' cannot be read (%s); export it as JPEG"), g->path,
                   e.message);
}

static enum kb_code open_heic(struct gallery *g, int max_side, struct kb_error *err)
{
    g->heif = heif_context_alloc();
    if (!g->heif)
        return kb_no_memory(err);
    heif_context_set_maximum_image_size_limit(g->heif, max_side);
    struct heif_error e =
        heif_context_read_from_memory_without_copy(g->heif, g->file.data, g->file.size, NULL);
    if (e.code == heif_error_Ok)
        e = heif_context_get_primary_image_handle(g->heif, &g->picture);
    if (e.code != heif_error_Ok)
        return heif_failed(g, e, err);
    g->width = heif_image_handle_get_width(g->picture);
    g->height = heif_image_handle_get_height(g->picture);
    g->has_alpha = heif_image_handle_has_alpha_channel(g->picture);
    g->channels = g->has_alpha ? 4 : 3;
    return g->width > max_side || g->height > max_side ? too_large(g, max_side, err) : KB_OK;
}

// Upright, as libheif turns it.
static enum kb_code read_heic(struct gallery *g, AVPacket *ret, struct kb_error *err)
{
    if (g->given)
        return KB_EOF;
    struct heif_image *image = NULL;
    struct heif_error e = heif_decode_image(
        g->picture, &image, heif_colorspace_RGB,
        g->channels == 4 ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, NULL);
    if (e.code != heif_error_Ok)
        return heif_failed(g, e, err);
    int stride = 0;
    const uint8_t *rows = heif_image_get_plane_readonly(image, heif_channel_interleaved, &stride);
    int row = g->width * g->channels;
    bool fits = rows && heif_image_get_width(image, heif_channel_interleaved) == g->width &&
                heif_image_get_height(image, heif_channel_interleaved) == g->height;
    int status = fits ? av_new_packet(ret, row * g->height) : AVERROR_INVALIDDATA;
    for (int y = 0; status >= 0 && y < g->height; y++)
        memcpy(ret->data + (ptrdiff_t)y * row, rows + (ptrdiff_t)y * stride, (size_t)row);
    heif_image_release(image);
    if (!fits)
        return kb_fail(err, KB_BAD_INPUT,
                       _("the HEIC picture '%s' cannot be read (%s); export it as JPEG"), g->path,
                       _("its size is not what it says"));
    if (status < 0)
        return kb_no_memory(err);
    g->given = true;
    ret->pts = ret->dts = 0;
    ret->duration = STILL_MS;
    return KB_OK;
}

// --- animated WebP ---

static bool is_moving_webp(const uint8_t head[HEAD])
{
    return memcmp(head, "RIFF", 4) == 0 && memcmp(head + 8, "WEBPVP8X", 8) == 0 && (head[20] & 2);
}

static int shown_for(int wanted_ms)
{
    return wanted_ms > HURRY_MS ? wanted_ms : CALM_MS;
}

static enum kb_code webp_failed(const struct gallery *g, struct kb_error *err)
{
    return kb_fail(err, KB_BAD_INPUT,
                   _("the animated WebP '%s' cannot be read: it is cut short or damaged; copy it "
                     "again or convert it to mp4"),
                   g->path);
}

// Whether something can be seen through after a picture was drawn: the file's own flag is also set
// by encoders that leave out what does not change. was_clear: before it.
static bool is_clear(const struct gallery *g, const WebPIterator *it, bool was_clear)
{
    bool whole = it->width == g->width && it->height == g->height;
    if (it->has_alpha)
        return was_clear || it->blend_method == WEBP_MUX_NO_BLEND;
    return was_clear && !whole;
}

// How many pictures, and for how long in all.
static enum kb_code open_webp(struct gallery *g, int max_side, int *ret_n, int64_t *ret_ms,
                              struct kb_error *err)
{
    WebPData data = {g->file.data, g->file.size};
    WebPDemuxer *demuxer = WebPDemux(&data);
    if (!demuxer)
        return webp_failed(g, err);
    g->width = (int)WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH);
    g->height = (int)WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
    g->channels = 4;
    WebPIterator it;
    bool clear = true;
    int64_t shown_ms = 0; // as the file says
    for (bool ok = WebPDemuxGetFrame(demuxer, 1, &it); ok; ok = WebPDemuxNextFrame(&it)) {
        shown_ms += it.duration;
        *ret_ms += shown_for(it.duration);
        ++*ret_n;
        clear = is_clear(g, &it, clear);
        g->has_alpha |= clear;
        clear |= it.dispose_method == WEBP_MUX_DISPOSE_BACKGROUND;
    }
    WebPDemuxReleaseIterator(&it);
    WebPDemuxDelete(demuxer);
    if (g->width < 1 || g->height < 1 || *ret_n < 1 || shown_ms > INT_MAX) // libwebp counts in int
        return webp_failed(g, err);
    if (g->width > max_side || g->height > max_side)
        return too_large(g, max_side, err);
    WebPAnimDecoderOptions options;
    if (WebPAnimDecoderOptionsInit(&options)) {
        options.color_mode = MODE_RGBA;
        g->webp = WebPAnimDecoderNew(&data, &options);
    }
    return g->webp ? KB_OK : webp_failed(g, err);
}

static enum kb_code read_webp(struct gallery *g, AVPacket *ret, struct kb_error *err)
{
    uint8_t *picture;
    int until_ms;
    if (!WebPAnimDecoderHasMoreFrames(g->webp) ||
        !WebPAnimDecoderGetNext(g->webp, &picture, &until_ms))
        return KB_EOF;
    int size = g->width * g->height * 4;
    if (av_new_packet(ret, size) < 0)
        return kb_no_memory(err);
    memcpy(ret->data, picture, (size_t)size);
    ret->pts = ret->dts = g->next_ms;
    ret->duration = shown_for(until_ms - g->shown_until_ms);
    g->next_ms += ret->duration;
    g->shown_until_ms = until_ms;
    return KB_OK;
}

// --- both ---

static enum kb_code describe(const struct gallery *g, AVFormatContext **ret, int n, int64_t ms,
                             struct kb_error *err)
{
    AVFormatContext *context = avformat_alloc_context();
    AVStream *stream = context ? avformat_new_stream(context, NULL) : NULL;
    if (!stream) {
        avformat_free_context(context);
        return kb_no_memory(err);
    }
    stream->time_base = (AVRational){1, 1000};
    stream->nb_frames = n;
    stream->duration = ms;
    if (n > 1)
        av_reduce(&stream->avg_frame_rate.num, &stream->avg_frame_rate.den, (int64_t)n * 1000, ms,
                  INT32_MAX);
    AVCodecParameters *par = stream->codecpar;
    par->codec_type = AVMEDIA_TYPE_VIDEO;
    par->codec_id = AV_CODEC_ID_RAWVIDEO;
    par->format = g->channels == 4 ? AV_PIX_FMT_RGBA : AV_PIX_FMT_RGB24;
    par->width = g->width;
    par->height = g->height;
    *ret = context;
    return KB_OK;
}

enum kb_code gallery_open(struct gallery **ret, AVFormatContext **ret_context, AVIOContext *io,
                          const char *path, int max_side, struct kb_error *err)
{
    uint8_t head[HEAD];
    avio_seek(io, 0, SEEK_SET);
    bool whole = avio_read(io, head, HEAD) == HEAD;
    avio_seek(io, 0, SEEK_SET);
    bool heic = whole && is_heic(head);
    if (!heic && !(whole && is_moving_webp(head)))
        return KB_OK;
    CLEANUP(gallery_close) struct gallery *g = kb_alloc(sizeof(*g));
    g->path = kb_strdup(path);
    int n = heic;
    int64_t ms = heic ? STILL_MS : 0;
    enum kb_code code = file_map(&g->file, path, err);
    if (code == KB_OK)
        code = heic ? open_heic(g, max_side, err) : open_webp(g, max_side, &n, &ms, err);
    if (code == KB_OK)
        code = describe(g, ret_context, n, ms, err);
    if (code == KB_OK)
        *ret = TAKE(g);
    return code;
}

enum kb_code gallery_read(struct gallery *g, AVPacket *ret, struct kb_error *err)
{
    return g->webp ? read_webp(g, ret, err) : read_heic(g, ret, err);
}

void gallery_rewind(struct gallery *g)
{
    g->given = false;
    g->shown_until_ms = 0;
    g->next_ms = 0;
    if (g->webp)
        WebPAnimDecoderReset(g->webp);
}
