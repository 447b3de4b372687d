// The person's own way of speaking: what a film of them, with its own sound, shows of how far their
// mouth opens, how its width and its two sides go with that, how far it closes, and how their lips
// differ from what the listener (motion.h) tells of the same sound. It is fitted in a fraction of a
// second and then changes what the listener tells of any speech.
//
//     told ──► gain × told + bias + weights × (a few shapes of told, at a few times around)
//          ──► stretched along the person's own opening, so that it spans the person's own range
//
// Displacements are canonical units from the person's own closed mouth (rig/person.h), points in
// the track's order. style_fit: any thread. A struct style is plain data.
#ifndef LIPSYNC_STYLE_H
#define LIPSYNC_STYLE_H

#include "base/cancel.h"
#include "face/track.h"
#include "lipsync/motion.h"

#define STYLE_SHAPES       5
#define STYLE_TAPS         5
#define STYLE_NUMBERS      (2 * MOTION_POINTS) // x, y of every point
#define STYLE_MIN_SPEECH_S 10  // of voice with the face in the picture; less teaches nothing sure
#define STYLE_MAX_FILM_S   180 // of a film are looked at
#define STYLE_MAX_LAG      12  // samples that the film's sound may be early or late: 0.3 s

enum style_verdict {
    STYLE_NONE,      // nothing was looked at
    STYLE_NO_SOUND,  // the film has none, or no voice
    STYLE_QUIET,     // the mouth does not move as it does in speech
    STYLE_SHORT,     // less than STYLE_MIN_SPEECH_S of speech, or of film
    STYLE_DUBBED,    // the sound does not fit the lips at any lag
    STYLE_NO_BETTER, // what was fitted on parts of the film did not improve the others
    STYLE_LEARNT,
    STYLE_N_VERDICTS
};

// A linear change of what the listener tells. Scores: shapes . (told - mean), within +-reach.
struct style_map {
    int32_t n_shapes, n_taps;
    int32_t taps[STYLE_TAPS]; // samples of the motion before (< 0) or after the one in question
    float gain;
    float mean[STYLE_NUMBERS], bias[STYLE_NUMBERS];
    float shapes[STYLE_SHAPES][STYLE_NUMBERS]; // of length 1
    float reach[STYLE_SHAPES];
    float weights[STYLE_TAPS][STYLE_SHAPES][STYLE_NUMBERS];
    // 5 % and 95 % of the opening while the person speaks: as the film shows it, and as the map
    // tells it of the film's sound; and how the points go when the opening grows by 1.
    float seen_low, seen_high, told_low, told_high;
    float opening[STYLE_NUMBERS];
};

// How well lips were told of parts of the film that were left out of the fit: root mean square
// distance of a point, canonical units, and correlation of the opening.
struct style_figures {
    float error, correlation;
};

struct style {
    int32_t verdict;             // enum style_verdict
    int32_t speaks;              // the mouth moves in the film as it does in speech; then
    float range_low, range_high; // 5 % and 95 % of its opening (rig/person.h)
    float speech_s;              // voice with the face in the picture
    float lag_s;                 // the film's sound is that late (> 0) against its lips
    float agreement;             // correlation of the opening told and seen, at that lag
    struct style_figures before, after;
    struct style_map map; // all zero unless learnt
};

struct style_params { // borrowed
    const struct track *track;
    int face;
    const struct motion *told; // of the film's own sound, from its time 0 on
    int64_t start_us;          // when the first picture is shown, as the sound counts (reader.h)
    const struct cancel *cancel;
};

// KB_BAD_INPUT where the landmarks make no face (person_fit()), KB_CANCELLED, KB_NO_SPACE. That
// nothing could be learnt is no failure: the verdict says it. Looks at STYLE_MAX_FILM_S.
//
// The film's blocks of two seconds are dealt to four parts (two, below 16 s); each is told by what
// was fitted on the others (a fifth of a second beside it left out). The verdict is STYLE_LEARNT
// only if there the error falls by 3 % and the correlation does not fall, against what is told
// without a style: gain × told, the gain as far as the person's range wants it (style_gain()).
// Of ridge regressions (Hoerl and Kennard 1970) with one, three or five taps, and of those with
// more or less of a penalty, the one that does best there is kept, and fitted on all of the film;
// or the bias and the ranges alone, where the best is not better than these by 2 %.
enum kb_code style_fit(struct style *ret, const struct style_params *p, struct kb_error *err);

// The motion of any speech as this person does it, a new one. Only of STYLE_LEARNT.
enum kb_code style_apply(struct motion **ret, const struct style *s, const struct motion *told,
                         struct kb_error *err);

// How far a speech that opens the mouth from low to high (motion_range()) is stretched for a person
// who opens it from own_low to own_high: 0.6..1.6; 1 where either is unknown (high not above low).
float style_gain(float low, float high, float own_low, float own_high);

// What was found, a sentence without its end, for logs: "it speaks for 4.2 s, which is …". A new
// string.
char *style_describe(const struct style *s);

// --- of a film

struct style_film { // borrowed
    const char *video;
    const struct reader_info *info; // of it, if it is open; NULL: it is opened to be asked
    const struct track *track;      // of it
    struct motion_model *listener;
    const char *folder; // where styles of films lie (style_save()); NULL: none
    const struct cancel *cancel;
};

// Of n of its faces: those kept in the folder, if they are of this film, this listener and all of
// the film; else hears the film, once, and fits. Takes a third of a second for a minute of film. A
// face whose landmarks make none has STYLE_QUIET. The same codes as style_fit() else, and those of
// reading the film; no sound is no failure.
enum kb_code style_obtain(struct style *ret, const struct style_film *f, const int *faces, int n,
                          struct kb_error *err);

// Styles of all faces of a film, kept as folder/HASH.kbs (docs/track-file.md). The film is heard
// once. ret: track_info(f->track)->n_faces of them; f->folder must not be NULL. The track must
// cover the whole film.
enum kb_code style_learn(struct style ret[TRACK_MAX_FACES], const struct style_film *f,
                         struct kb_error *err);

// The file by itself. hash: motion_model_hash(). Loading is KB_NOT_FOUND or KB_BAD_INPUT for
// anything but a whole file of this version, this film and this listener.
enum kb_code style_save(const struct style *styles, const struct track *t, const char *hash,
                        const char *path, struct kb_error *err);
enum kb_code style_load(struct style ret[TRACK_MAX_FACES], const struct track *t, const char *hash,
                        const char *path, struct kb_error *err);

#endif
