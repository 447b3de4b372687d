// Files of subtitles, as people have them: SRT, WebVTT, ASS and SSA, in any encoding. Thread-safe:
// no shared state.
#ifndef MEDIA_SUBTITLE_FILE_H
#define MEDIA_SUBTITLE_FILE_H

#include "base/charset.h"
#include "base/text.h"
#include "media/extras.h"

#define SUBTITLE_FILE_BYTES (4 << 20) // of a file at most

struct subtitle_file {
    struct subtitle_track track; // in order of their beginnings; times from the start of the film
    const char *format;          // "srt", "vtt" or "ass"
    char encoding[CHARSET_NAME];
    char *ass;     // of "ass": the whole file in UTF-8, for its styles; else NULL
    int n_skipped; // subtitles that end before they begin, or have nothing to show
};

// KB_NOT_FOUND; KB_BAD_INPUT: it is none of these, or holds no subtitle. Release with
// subtitle_file_clear().
enum kb_code subtitle_file_read(struct subtitle_file *ret, const char *path, struct kb_error *err);
// The same of bytes; name is what sentences call them.
enum kb_code subtitle_file_parse(struct subtitle_file *ret, const void *bytes, size_t n,
                                 const char *name, struct kb_error *err);
void subtitle_file_clear(struct subtitle_file *f);

// Does a file begin as one of them does? For signatures: n bytes of its beginning.
bool subtitle_file_begins(const uint8_t *head, size_t n);

// A track as a file of these formats, times moved by shift_us. What would end a subtitle early (an
// empty line, "-->") is kept from doing so.
void subtitles_to_srt(struct text *ret, const struct subtitle_track *t, int64_t shift_us);
void subtitles_to_vtt(struct text *ret, const struct subtitle_track *t, int64_t shift_us);

// All of its subtitles, and the list.
void subtitle_track_clear(struct subtitle_track *t);

#endif
