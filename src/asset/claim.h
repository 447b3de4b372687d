// The inspector's side of an asset: claim it, tell what was found, or give it back.
// Threads: as the store they are given (store/store.h).
#ifndef ASSET_CLAIM_H
#define ASSET_CLAIM_H

#include "asset/asset.h"

// The next asset that is "new" or "making", for a lease of 60 s. KB_EOF: none. results_first: what
// becomes a result (asset.job) goes before what is a user's, else after it.
enum kb_code asset_claim(struct store *s, const char *worker, bool results_first, struct asset *ret,
                         struct kb_error *err);
// How far the looking at it is, 0..1; never goes back. What cannot be written now is left unsaid.
void asset_tell(struct store *s, const char *id, double progress);
// This inspector is to end before it knows: another one can claim it at once.
enum kb_code asset_give_back(struct store *s, const char *id, const char *worker,
                             struct kb_error *err);
// This inspector has ended (or starts anew): what it had claimed can be claimed at once. lost: with
// its server, or it was told to; crashed: by itself while it was at a file, which counts against
// the file (asset_sweep).
enum kb_code asset_worker_lost(struct store *s, const char *worker, struct kb_error *err);
enum kb_code asset_worker_crashed(struct store *s, const char *worker, struct kb_error *err);
// The content is not there any more: whoever has it becomes "bad" for this reason.
enum kb_code asset_content_gone(struct store *s, const char *sha256, const struct kb_error *why,
                                struct kb_error *err);
#define ASSET_FACE_BOXES 8
// What an inspector found. Fields that do not apply stay 0 / NULL.
struct asset_facts {
    const char *kind; // "audio" or "video"
    int64_t duration_ms;
    int width, height; // of the video, upright
    double fps;
    const char *codec;
    int n_faces;      // most seen in one of the frames looked at; -1 unknown
    int n_face_boxes; // in the picture that is the thumbnail, ASSET_FACE_BOXES at most
    float face_boxes[ASSET_FACE_BOXES][4]; // x, y, width, height, 0..1 of it
    double face_boxes_at;                  // when that picture is shown, seconds from the first one
    const char *warnings[8];               // codes, NULL-terminated: docs/openapi.yaml lists them
    const uint8_t *peaks;                  // wave form, 0..255
    int n_peaks;                           // at most 400
    bool thumbnail;                        // thumbs/<sha256>.jpg was written
};
// State "ready".
enum kb_code asset_set_facts(struct store *s, const char *id, const struct asset_facts *facts,
                             struct kb_error *err);
// When each word of a "making" asset is said, in the JSON of media/words.h. KB_NOT_FOUND.
enum kb_code asset_set_words(struct store *s, const char *id, const char *json,
                             struct kb_error *err);
// What was found of that content, for a machine that shall not look at it again: an object of kind,
// duration_ms, width, height, fps, codec, faces, face_boxes, face_boxes_at and warnings, as the
// columns hold them. Appended to ret; "null" while nobody has looked.
enum kb_code content_facts_json(struct store *s, const char *sha256, struct text *ret,
                                struct kb_error *err);

#endif
