// Texts that become speeches, from the row to what a voice service said. Which one speaks:
//
//   making, pieces NULL   an inspector (espeak-ng)
//   making, pieces ''     the server's speakers ask the voice's service, uploads/<id>.part grows
//   making, pieces [n,…]  an inspector joins what came: bytes of each sentence
//
// Threads: as the store they are given (store/store.h).
#ifndef ASSET_SPEECH_H
#define ASSET_SPEECH_H

#include "asset/asset.h"

struct asset_speech {
    double speed;   // 0 = 1
    bool has_pause; // else as usual (media/recital.h)
    int pause_ms;
    bool fetched; // by a service: asset_next_speech() gives it
    bool sample;  // only to be heard: in no list, goes after an hour
    double tempo; // by which the inspector makes it faster; 0 = 1
};

// How an asset's text is to be spoken. *ret_pieces: the JSON of what came, a new string, "" if it
// is not there (yet). KB_NOT_FOUND.
enum kb_code asset_speech(struct store *s, const char *id, struct asset_speech *ret,
                          char **ret_pieces, struct kb_error *err);
// The first text to ask a service for (samples first, then the oldest) that wanted takes. KB_EOF:
// none. wanted must not use s.
enum kb_code asset_next_speech(struct store *s,
                               bool (*wanted)(void *ctx, const char *id, const char *voice),
                               void *ctx, char ret_id[33], struct kb_error *err);
// Where what comes is kept, emptied, and locked while it is open: a descriptor, or -1 with a
// sentence. close() it.
int asset_open_pieces(struct store *s, const char *id, struct kb_error *err);
// How much of it has come, 0..1. KB_NOT_FOUND: it was deleted.
enum kb_code asset_tell_speech(struct store *s, const char *id, double progress,
                               struct kb_error *err);
// Why it cannot be spoken now; it is asked for again later. Seen in the asset's "error" until then.
enum kb_code asset_hold_speech(struct store *s, const char *id, const struct kb_error *why,
                               struct kb_error *err);
// All of it is there: sizes is a JSON list of numbers. KB_NOT_FOUND: it was deleted, and what came
// is removed.
enum kb_code asset_set_pieces(struct store *s, const char *id, const char *sizes, double tempo,
                              struct kb_error *err);
// Why a sample (or any asset) is bad, or why it cannot be spoken now (asset_hold_speech()), in the
// language of the thread, a new string; NULL: neither.
char *asset_error(struct store *s, const char *id);

#endif
