// The visible mark of what AI made, GB 45438-2025, 5.4 (docs/label.md): text in a corner all along,
// or larger for the first seconds, or both; over intro and outro too. Its letters have at least 5 %
// of the picture's shorter side and it stands at least two seconds, whatever is asked for.
//
// Thread-safe: no state. The step itself is one of finish.h's.
#ifndef FINISH_LABEL_H
#define FINISH_LABEL_H

#include "base/base.h"

enum label_show { LABEL_OFF, LABEL_CORNER, LABEL_START, LABEL_BOTH, N_LABEL_SHOWS };
enum label_place {
    LABEL_TOP_LEFT,
    LABEL_TOP_RIGHT,
    LABEL_BOTTOM_LEFT,
    LABEL_BOTTOM_RIGHT,
    N_LABEL_PLACES
};
extern const char *const label_shows[N_LABEL_SHOWS];   // "off", "corner", "start", "both"
extern const char *const label_places[N_LABEL_PLACES]; // "top-left"…

#define LABEL_TEXT          "AI生成"       // where none is given
#define LABEL_TEXT_ENGLISH  "AI-generated" // what callers give to those who read English
#define LABEL_OPACITY       0.9f
#define LABEL_LEAST_OPACITY 0.6f // "clear to the eye"
#define LABEL_MAX_LETTERS   24

struct label_params {
    enum label_show show;
    enum label_place place; // of the corner's
    float opacity;          // LABEL_LEAST_OPACITY to 1; 0 = LABEL_OPACITY
    const char *text;       // as label_text_check() takes it; NULL = LABEL_TEXT
    const char *producer;   // of the implicit label (media/aigc.h), NULL = "koubo"
};

bool label_show_parse(const char *word, enum label_show *ret);
bool label_place_parse(const char *word, enum label_place *ret);
// A text says that it is AI's ("AI", "人工智能") and that it was generated or synthesised (生成,
// 合成, generated, synthetic), else it is no label. KB_BAD_INPUT.
enum kb_code label_text_check(const char *text, struct kb_error *err);
// What the file says of its visible mark (AIGC_MARK_KEY): "both AI生成". A new string; NULL: none.
char *label_note(const struct label_params *p);
// The corner that the mark has all along, or -1: for what else wants to be in one.
int label_corner(const struct label_params *p);

#endif
