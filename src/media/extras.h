// What a film carries beside its picture: subtitles, which a result keeps where they are text, and
// what it cannot keep. Thread-safe: no shared state.
#ifndef MEDIA_EXTRAS_H
#define MEDIA_EXTRAS_H

#include "base/base.h"
#include "base/cancel.h"

// Times in microseconds from the film's first picture; may be negative. text: UTF-8, owned.
struct subtitle {
    int64_t start_us, end_us;
    char *text;
};

struct subtitle_track {
    char language[4]; // ISO 639-2, "" unknown
    struct subtitle *at;
    size_t n;
};

#define EXTRAS_MAX_TRACKS 8

struct extras {
    struct subtitle_track tracks[EXTRAS_MAX_TRACKS];
    int n_tracks;
    int n_lost_subtitles; // tracks of pictures, or more than there is room for
    int n_sounds;         // sound tracks
    bool has_alpha;       // the picture knows transparency; not told of GIFs
};

// start_us: reader_info's. Reads through the film if it has subtitles. KB_NOT_FOUND, KB_BAD_INPUT,
// KB_CANCELLED. Release with extras_clear().
enum kb_code extras_read(struct extras *ret, const char *film, int64_t start_us,
                         const struct cancel *cancel, struct kb_error *err);
void extras_clear(struct extras *e);

// The text of a line of ASS, as which FFmpeg's decoders give every subtitle: eight fields, then the
// text, in which {…} is style, \N a new line and \h a blank. Cut between letters.
#define SUBTITLE_BYTES 1004
void subtitle_plain(const char *ass, char ret[SUBTITLE_BYTES]);

// Append a copy of a subtitle. False: there are too many.
bool subtitle_add(struct subtitle_track *t, int64_t start_us, int64_t end_us, const char *text);

#endif
