// Subtitles: where they come from, how they look, and the step that draws them into the pictures.
//
// The dub loads them (captions_load()), the finisher lays them out for the pictures as they leave
// it and draws them if that is wanted; then captions_track() is what goes into the file as a
// stream, and beside it as an SRT. Not thread-safe: one thread at a time.
#ifndef FINISH_CAPTIONS_H
#define FINISH_CAPTIONS_H

#include "base/base.h"
#include "finish/font.h"
#include "media/subtitle_file.h"
#include "media/words.h"

// How they are given; bits.
enum captions_as { CAPTIONS_BURN = 1, CAPTIONS_SRT = 2, CAPTIONS_STREAM = 4 };
// "burn", "srt", "stream", several with commas between; "none" alone is 0. False: another word.
bool captions_as_parse(const char *text, unsigned *ret);
#define CAPTIONS_AS_WORDS "burn, srt, stream, none"

enum captions_place { CAPTIONS_BOTTOM, CAPTIONS_MIDDLE, CAPTIONS_TOP };
bool captions_place_parse(const char *text, enum captions_place *ret);

// "#rrggbb" or "rrggbb": 0xRRGGBB.
bool captions_colour_parse(const char *text, uint32_t *ret);

#define CAPTIONS_LEAST_SIZE 2.0 // per cent of the picture's shorter side
#define CAPTIONS_MOST_SIZE  15.0
#define CAPTIONS_TEXT_BYTES WORDS_TEXT_BYTES

struct captions;

struct captions_params {
    unsigned as; // 0: none, whatever else is here
    // Where from: the first that is there.
    const char *file;                  // SRT, VTT, ASS
    const struct subtitle_track *cues; // times of the dub
    const struct words *words;         // what the speech says, and when; none in it: as NULL
    const char *text;                  // what it says, without times
    // How they look, unless the file is an ASS, which says so itself. 0: as good as it can be.
    float size;      // letters' height in per cent of the picture's shorter side; 0 = 5.5
    uint32_t colour; // 0xRRGGBB
    bool coloured;   // colour is meant; else white
    bool box;        // on a dark box; else with an outline
    enum captions_place place;
    const char *font; // NULL: font_family() chooses
    // Of the dub alone: what captions_load() made of the above.
    struct captions *loaded;
};

// Something is asked for, and there is something to make it of.
bool captions_wanted(const struct captions_params *p);

// words: of p->text, with times as they were found in the speech; NULL where another source is
// taken. Borrowed, with all of p, until captions_free(). KB_NOT_FOUND, KB_BAD_INPUT,
// KB_UNAVAILABLE.
enum kb_code captions_load(struct captions **ret, const struct captions_params *p,
                           const struct words *words, struct kb_error *err);
// In the times of the dub, in order, none over another; broken into lines once a finisher was
// opened with them. What lies behind length_us is left out.
const struct subtitle_track *captions_track(const struct captions *c);
unsigned captions_as(const struct captions *c);
// What was read; NULL where they come from elsewhere.
const struct subtitle_file *captions_file(const struct captions *c);
void captions_free(struct captions **c);

// What can be checked before any work: the file is one, the font is there. The same codes.
enum kb_code captions_check(const struct captions_params *p, struct kb_error *err);

// What they will be in pictures of that shape, for a page that shows them before they are made;
// size as in captions_params. Appended to *ret.
enum kb_code captions_preview(struct subtitle_track *ret, const struct words *words, int width,
                              int height, float size, struct kb_error *err);

#endif
