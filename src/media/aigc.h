// The implicit label of what AI made: GB 45438-2025, 6 and appendix E (docs/label.md). A JSON
// object of seven strings, kept in the file's metadata under the name AIGC. Thread-safe.
#ifndef MEDIA_AIGC_H
#define MEDIA_AIGC_H

#include "base/base.h"
#include "base/cancel.h"

#define AIGC_KEY      "AIGC"
#define AIGC_MARK_KEY "koubo_label" // ours: which visible label was drawn, and its text
#define AIGC_PRODUCER "koubo"       // where nobody says who makes it
#define AIGC_MAX      256           // bytes of a value

enum aigc_field {
    AIGC_LABEL, // "1": it is AI's; "2": it may be; "3": it is suspected
    AIGC_CONTENT_PRODUCER,
    AIGC_PRODUCE_ID,
    AIGC_RESERVED_CODE_1,
    AIGC_CONTENT_PROPAGATOR,
    AIGC_PROPAGATE_ID,
    AIGC_RESERVED_CODE_2,
    N_AIGC_FIELDS
};
extern const char *const aigc_names[N_AIGC_FIELDS]; // as in the object

// What a label says. All strings its own; NULL: the field is not there.
struct aigc {
    char *value[N_AIGC_FIELDS];
    bool unknown; // there are more fields than the standard has
};

// The label of something new: a new JSON string. produce_id: NULL = one is made up, 32 random
// hexadecimal digits. Who propagates is at first who produces.
char *aigc_make(const char *producer, const char *produce_id);

// What text says, which may be anybody's. False: it is no object of strings.
bool aigc_parse(const char *text, struct aigc *ret);
void aigc_clear(struct aigc *a);

// What of appendix E it does not keep: sentences in ret, new strings. Returns how many.
// *ret_broken: it cannot count as a label, else the sentences are advice.
#define AIGC_MAX_PROBLEMS (N_AIGC_FIELDS + 1)
int aigc_check(const struct aigc *a, char *ret[AIGC_MAX_PROBLEMS], bool *ret_broken);

// Is it a name or code that may stand there: 1 to AIGC_MAX bytes of UTF-8 without control
// characters. KB_BAD_INPUT, the sentence begins with option.
enum kb_code aigc_producer_check(const char *option, const char *producer, struct kb_error *err);
// Appendix E has letters of one byte only, without spaces: a code, not a name in Chinese.
bool aigc_is_plain(const char *value);

// What a film (or sound, or picture that FFmpeg reads) says of itself. Strings its own, NULL: not
// there.
struct aigc_tags {
    char *aigc; // the object as it stands there
    char *mark, *comment;
};
// KB_NOT_FOUND, KB_BAD_INPUT, KB_NO_SPACE, KB_CANCELLED.
enum kb_code aigc_read(const char *path, const struct cancel *cancel, struct aigc_tags *ret,
                       struct kb_error *err);
void aigc_tags_clear(struct aigc_tags *t);

#endif
