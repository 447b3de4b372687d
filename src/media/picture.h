// Brings decoded pictures into one shape: upright, scaled, even, 8-bit yuv420p. A film may change
// its size on the way; what has other proportions then gets bars. What is transparent lies on
// white, as on a page or in a phone's gallery, or on a chequered ground: whatever colours the file
// has there do not show.
// What was made for bright screens (PQ, HLG) gets the colours of all the others, BT.709, or stays
// as it is and is carried along with ten bits (media/deep.h). Not thread-safe; may move between
// threads.
#ifndef MEDIA_PICTURE_H
#define MEDIA_PICTURE_H

#include "base/base.h"
#include "media/filters.h"
#include "media/frame.h"

// All-zero before shaper_init().
struct shaper {
    // The shape, fixed by the first picture.
    int width, height;
    int first_width, first_height; // of the first picture, upright
    AVRational sample_aspect;
    enum AVColorRange range;
    enum AVColorSpace space;
    enum AVColorPrimaries primaries;
    enum AVColorTransferCharacteristic transfer;
    bool denoise, tone_map, deep;
    bool chequered; // set it after shaper_init()
    int threads;
    int32_t matrix[9]; // where the container says how to hold the picture
    bool has_matrix;

    // The graph and what goes into it; no graph = pictures pass through.
    struct filters filters;
    int in_width, in_height, in_format;
    AVRational in_aspect;
    int inner_width, inner_height; // what comes out of it; the rest of the shape is bars
    bool ready;
    // The same for pictures with transparency, to 8-bit RGBA.
    struct filters to_rgba;
    int alpha_width, alpha_height, alpha_format;
};

// Fix the shape by a film's first picture. matrix: 9 values of the container's display matrix or
// NULL (one in the picture itself wins). height, denoise, deep, threads: see struct reader_params.
enum kb_code shaper_init(struct shaper *s, const AVFrame *first, const int32_t *matrix, int height,
                         bool denoise, bool deep, int threads, struct kb_error *err);
// *frame is replaced by the shaped picture; its pts and duration stay.
enum kb_code shaper_apply(struct shaper *s, AVFrame *frame, struct kb_error *err);
// Does a picture like f, upright and in this shape already, stay as it is?
bool shaper_is_plain(const struct shaper *s, const AVFrame *f);
// Forget earlier pictures (the denoiser remembers them).
void shaper_reset(struct shaper *s);

#endif
