// Another background behind the people, or none: what the user asked for. The step is
// background_step (finish/internal.h); docs/background.md tells how it is done.
// Thread-safe: no state.
#ifndef FINISH_BACKGROUND_H
#define FINISH_BACKGROUND_H

#include <stdbool.h>
#include <stdint.h>

enum background_kind {
    BACKGROUND_AS_IT_IS,
    BACKGROUND_BLUR,
    BACKGROUND_COLOUR,
    BACKGROUND_FILE // a picture or a film
};

// How people are told from what is behind them: by the network; by the colour of a screen behind
// them; or by the screen where the rim of the picture is evenly of one colour, else by the network.
enum background_key { KEY_AUTO, KEY_PERSON, KEY_GREEN, KEY_BLUE };

// A film in which nothing is behind the people: what the container is.
enum background_alpha { ALPHA_NONE, ALPHA_WEBM, ALPHA_MOV };

struct background_params {
    enum background_kind kind;
    uint8_t rgb[3];   // of BACKGROUND_COLOUR
    const char *path; // of BACKGROUND_FILE, the caller's
    enum background_key key;
    enum background_alpha alpha; // not none: kind is left as it is
};

// "none", "blur" or "#rrggbb", "rrggbb"; false if it is anything else.
bool background_parse(const char *text, struct background_params *ret);
// "auto", "person", "green", "blue".
bool background_key_parse(const char *text, enum background_key *ret);
// ".mp4", ".webm" or ".mov": what the name of the result ends in.
const char *background_ending(enum background_alpha alpha);
// "none", "webm", "mov".
bool background_alpha_parse(const char *text, enum background_alpha *ret);

#endif
