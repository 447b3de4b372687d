// Assets: what users give. Uploaded files, files fetched from an address, speech made from text.
// A content is kept once however often it is uploaded (SHA-256).
// Threads: as the store they are given (store/store.h).
#ifndef ASSET_ASSET_H
#define ASSET_ASSET_H

#include "base/cancel.h"
#include "store/store.h"

// What a long copy minds.
struct asset_care {
    const struct cancel *cancel; // KB_CANCELLED
    // May it go on? Asked every 16 MiB; another code than KB_OK ends it. May be NULL.
    enum kb_code (*room)(void *ctx, struct kb_error *err);
    void *ctx;
};

// uploading ─┐
// fetching  ─┼─► new ─► ready | bad       "new" is whole but not looked at yet by an inspector
// making    ─┘                            (koubo worker --inspect); only it decodes.
struct asset_params {
    const char *name;   // as the user calls it; any UTF-8, never a path. Cut at 255 bytes, folders
                        // and control characters taken out
    int64_t size_bytes; // declared; -1 = unknown until asset_upload_close(whole = true)
    const char *client; // who, for limits: request_client_key(); may be NULL
    const char *lang;   // "zh" or "en": that of who sent it, kept for them (tus)
    int64_t expires_ms; // an unfinished upload is removed after this time
    const struct asset_care *care; // of asset_add_file(); may be NULL
    int64_t job; // whose result a machine sends (queue/remote.h); 0 = it is a user's
    const struct asset_speech *speech; // of asset_create_speech(): asset/speech.h; may be NULL
};

struct asset {
    char id[33];
    char state[16]; // as above
    char kind[8];   // "audio", "video" or "" while unknown
    char name[256];
    char sha256[65]; // "" until whole
    bool spoken;     // made from a text
    char voice[64];  // of that text, "" = any
    char lang[4];
    int64_t size_bytes, received_bytes, expires_ms, duration_ms;
    int width, height;
    int64_t job; // as in asset_params; 0: pages are told of it
};

// A new upload with nothing received. A size of 0 is KB_BAD_INPUT ("is empty").
enum kb_code asset_create(struct store *s, const struct asset_params *p, char ret_id[33],
                          struct kb_error *err);
// State "fetching": the server's courier fills it as an upload. url is http or https.
enum kb_code asset_create_url(struct store *s, const struct asset_params *p, const char *url,
                              char ret_id[33], struct kb_error *err);
// State "making": an inspector speaks text. voice as in media/voice.h, may be NULL.
enum kb_code asset_create_speech(struct store *s, const struct asset_params *p, const char *text,
                                 const char *voice, char ret_id[33], struct kb_error *err);
// An existing file of this machine, copied (reflink where the disk can). State "new".
enum kb_code asset_add_file(struct store *s, const struct asset_params *p, const char *path,
                            char ret_id[33], struct kb_error *err);

// Also what becomes a result.
enum kb_code asset_find(struct store *s, const char *id, struct asset *ret, struct kb_error *err);
// The address of a fetched one, the text of a made one (may be 20 KB), else "". A new string.
enum kb_code asset_source(struct store *s, const char *id, char **ret, struct kb_error *err);
// When each word of a speech is said, in the JSON of media/words.h, "" if that is not known. A new
// string.
enum kb_code asset_words(struct store *s, const char *id, char **ret, struct kb_error *err);
// n users' files of this client (NULL: of all) that have not ended coming: sent, fetched or spoken.
int asset_count_uploads(struct store *s, const char *client);
// Letters of all texts that wait to be spoken.
int64_t asset_spoken_letters(struct store *s);

// One asset / a page of them, newest first, as JSON (docs/openapi.yaml: Asset, AssetList). Users'
// only: KB_NOT_FOUND for what becomes a result.
enum kb_code asset_json(struct store *s, const char *id, struct text *ret, struct kb_error *err);
struct asset_filter {
    const char *kind, *state, *search; // NULL = any; search in the name
    int offset, limit;                 // limit 1..1000, 0 = 50
};
enum kb_code asset_list_json(struct store *s, const struct asset_filter *f, struct text *ret,
                             struct kb_error *err);
// KB_BAD_INPUT while a job that has not ended needs it, or it is a person's (the sentence names the
// batch or the person). Users' only,
// as all below that is asked for by people.
enum kb_code asset_delete(struct store *s, const char *id, struct kb_error *err);

// A fetch or synthesis that failed: state "bad" with this sentence.
enum kb_code asset_fail(struct store *s, const char *id, const struct kb_error *why,
                        struct kb_error *err);
// A "bad" asset whose content is there is looked at once more: state "new". KB_NOT_FOUND,
// KB_BAD_INPUT if it is not bad, or its content is not there.
enum kb_code asset_inspect_again(struct store *s, const char *id, struct kb_error *err);
// The first asset to fetch (state "fetching", oldest first) that wanted takes. KB_EOF: none.
// wanted must not use s.
enum kb_code asset_next_fetch(struct store *s,
                              bool (*wanted)(void *ctx, const char *id, const char *url), void *ctx,
                              char ret_id[33], struct kb_error *err);
// File the speech that was made at path as the content of a "making" asset: state "new".
enum kb_code asset_set_content(struct store *s, const char *id, const char *path,
                               struct kb_error *err);
// Where the content lies, a new string.
char *asset_path(const struct store *s, const char *sha256);
// Remove uploads that expired. An asset over which its inspector crashed 3 times becomes "bad".
enum kb_code asset_sweep(struct store *s, struct kb_error *err);

// Remove a content and its picture unless an asset has it. Call it after the commit that took the
// last asset away: it takes the database's write lock for itself, so that no upload of the same
// content is filed in between. A file that cannot be removed stays for retention.
enum kb_code content_release(struct store *s, const char *sha256, struct kb_error *err);
// Several at once, for the price of one.
enum kb_code contents_release(struct store *s, char (*sha256)[65], int n, struct kb_error *err);

#endif
