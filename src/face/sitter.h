// What the tracker has of one person: the records of the frames, the pictures of the mouth, what
// they look like. Internal to face/. Not thread-safe.
//
// A sitter belongs to one view of the film until that ends (sitter_end()); then it may be joined to
// one of an earlier view, who looks the same.
#ifndef FACE_SITTER_H
#define FACE_SITTER_H

#include "face/cover.h"
#include "face/library.h"
#include "face/likeness.h"

struct sitter {
    int n, capacity; // records
    struct track_record *records;
    int32_t *frames;          // number of the frame of each record
    struct cover_look *looks; // what it shows around the mouth; until the view ends
    bool active;
    struct mesh mesh; // of the last frame where it was seen
    float box[4];
    int64_t last_us;
    double area;    // sum over frames
    double skin[3]; // sums of library_skin()
    int64_t n_skin;
    struct library library;
    // Of those whose view has ended:
    bool ended;
    int view; // the last one they are seen in
    struct likeness likeness;
    double hidden; // sum of track_hidden() over the frames
};

void sitter_clear(struct sitter *p);
// Seen in this frame, as this mesh. KB_NO_SPACE.
enum kb_code sitter_put(struct sitter *p, const AVFrame *frame, int number, const struct mesh *mesh,
                        struct kb_error *err);
// The view is over: what covers the mouth in it is known, and what they look like.
void sitter_end(struct sitter *p, int view);
// Append what p has to q, whose view ended earlier; p is left empty. KB_NO_SPACE.
enum kb_code sitter_join(struct sitter *q, struct sitter *p, struct kb_error *err);
// As a face of a track of n_frames; p is left without records and pictures. KB_NO_SPACE.
enum kb_code sitter_hand_over(struct sitter *p, int n_frames, struct track_identity *ret,
                              struct kb_error *err);

#endif
