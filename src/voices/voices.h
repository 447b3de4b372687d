// Voices beside espeak-ng's: services that answer a text with sound over HTTP, and programs that
// write it to a file. Which ones there are is a JSON file of one user's, mode 0600, as it holds
// keys: docs/voices.md tells what is in it. What a voice answers is bytes of a stranger: nothing
// here decodes them (media/pieces.h does).
// Thread-safe, but for two who change one file at the same time: the later one stays.
#ifndef VOICES_VOICES_H
#define VOICES_VOICES_H

#include "base/cancel.h"
#include "base/guard.h"
#include "base/text.h"

#include <jansson.h>

#define VOICES_NAME_BYTES 40
#define VOICES_MOST       100 // in one file

extern const char *const voices_kinds[]; // "openai", "duix", …, NULL

// $XDG_CONFIG_HOME/koubo/voices.json, else ~/.config/koubo/voices.json; NULL: there is no home.
char *voices_user_path(void);
char *voices_data_path(const char *data); // voices.json in a server's data folder

// The voices of a file, an array of objects; json_decref() it. A file that is not there has none.
// KB_BAD_INPUT: others can read it, or it is not as it should be: the sentence says what to do.
enum kb_code voices_load(json_t **ret, const char *path, struct kb_error *err);
// Both files': those of data (NULL: none is asked) before the user's own of the same name.
enum kb_code voices_load_all(json_t **ret, const char *data, struct kb_error *err);
// Replaced as a whole, mode 0600; its folder is made.
enum kb_code voices_save(const json_t *list, const char *path, struct kb_error *err);

// The one of that name, lent; NULL: there is none.
json_t *voices_find(const json_t *list, const char *name);
// Put it in the place of the one of the same name, or at the end. KB_BAD_INPUT: too many.
enum kb_code voices_put(json_t *list, json_t *voice, struct kb_error *err);
bool voices_remove(json_t *list, const char *name); // false: there is none

// Is everything in it as its kind wants? by_page: it comes over the network: no program, no file of
// this machine may be named, and it gets "page": true, by which the server's guard judges where it
// leads to (what the owner of the file wrote down may lie on this machine or in a private network).
enum kb_code voice_check(json_t *voice, bool by_page, struct kb_error *err);
// What may be seen of it: a new object, with stars for its key and for what else is called as
// secrets are (api_key, token, Authorization…) among its options and its program's arguments. With
// the stars back, what was kept: voice_fill_key() puts the secrets of known (may be NULL) in their
// place, if the address is the same.
json_t *voice_shown(const json_t *voice);
enum kb_code voice_fill_key(json_t *voice, const json_t *known, struct kb_error *err);

const char *voice_text(const json_t *voice, const char *name); // a field, "" if it is not there
// Does it take the speed itself? Else the sound is stretched afterwards.
bool voice_has_speed(const json_t *voice);

struct voice_wish {
    double speed;              // 0 = 1; for those that take it
    const struct guard *guard; // of a server; NULL: only what nobody may ask for is refused
    const struct cancel *cancel;
    int retry_ms; // before the second attempt, three times as long before the third; 0 = 1000
    // Called before each sentence; may be NULL.
    void (*tell)(void *ctx, int done, int total);
    void *ctx;
};

// Speak text sentence by sentence (media/sentences.h); what comes for each is appended to fd.
// *ret_sizes: bytes of each, a new list of *ret_n. KB_BAD_INPUT, KB_UNAVAILABLE with the service's
// own words, without its key; KB_CANCELLED; KB_NO_SPACE.
enum kb_code voice_recite(const json_t *voice, const char *text, const struct voice_wish *wish,
                          int fd, int64_t **ret_sizes, int *ret_n, struct kb_error *err);

#endif
