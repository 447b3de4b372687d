// What koubo batch makes: pairs of a speech and a video, of all that were given with each other, by
// their names, or from a list. Main thread only.
#ifndef CLI_PAIRS_H
#define CLI_PAIRS_H

#include "cli/inputs.h"

struct pair {
    char *audio;         // a path; NULL: text is spoken
    char *text;          // NULL
    char *voice;         // for text; NULL: by the text
    char *video;         // a path
    char *output;        // where the result goes
    char *options;       // of a list, as is what follows: options as in the API, JSON; NULL
    char *base;          // the folder that paths in them are relative to
    int line;            // of the list; 0: none
    struct kb_error why; // what is wrong with its line; code KB_OK: nothing
};

struct pairs {
    struct pair *items;
    int n, capacity;
};

// One more; NULL as fits. It stands until the next.
struct pair *pairs_add(struct pairs *p, const char *audio, const char *video);

// Each speech with each video, speeches first.
void pairs_each(struct pairs *p, const struct inputs *speeches, const struct inputs *videos);

// Each video with a text, which is not spoken yet. voice: NULL = by the text.
void pairs_say(struct pairs *p, const char *text, const char *voice, const struct inputs *videos);

// Each video with the speech of the same name, or with the longest name that is part of its own, as
// in 01.wav and teacher_01.mp4; numbers count whole. Says what is left over. KB_BAD_INPUT: nothing
// fits.
enum kb_code pairs_by_name(struct pairs *p, const struct inputs *speeches,
                           const struct inputs *videos, struct kb_error *err);

// The lines of a list (base/csv.h; "-" is the standard input). What is wrong with one line is kept
// with it. KB_BAD_INPUT, KB_NOT_FOUND: the list itself. folder: NULL or where outputs go.
// ending: of outputs that have none, ".mp4".
enum kb_code pairs_from_list(struct pairs *p, const char *path, const char *folder,
                             const char *ending, struct kb_error *err);
// Such a list with one line to copy, in the user's language.
void pairs_print_template(void);

// Where no output is said: in that folder, named after the video, or after both where there is more
// than one speech. A pair whose output is that of one before it is wrong.
void pairs_name_outputs(struct pairs *p, const char *folder, const char *ending);
// What the output of a pair ends in: ending, unless its own options want another one.
const char *pair_ending(const struct pair *pair, const char *ending);
// More than one speech?
bool pairs_differ(const struct pairs *p);
// For people: "film.mp4", or with the speech where there is more than one. A new string.
char *pair_title(const struct pair *pair, bool with_speech);

void pairs_free(struct pairs *p);

#endif
