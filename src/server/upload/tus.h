// Uploads that can be resumed: the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload)
// with creation, creation-with-upload, termination, expiration and checksum. docs/uploads.md.
// Threads: on the network thread of the request.
#ifndef SERVER_UPLOAD_TUS_H
#define SERVER_UPLOAD_TUS_H

#include "http/http.h"

// Which requests send to which uploads: a later PATCH or DELETE takes the upload over from an
// earlier one.
// Thread-safe; it outlives the HTTP server.
struct transfers;
struct transfers *transfers_create(void);
void transfers_free(struct transfers **all); // NULL is fine

void tus_options(struct request *r);
void tus_head(struct request *r);
void tus_delete(struct request *r);
extern const struct body_sink tus_create_sink;   // POST of the collection
extern const struct body_sink tus_patch_sink;    // PATCH of one
extern const struct body_sink tus_override_sink; // POST of one with X-HTTP-Method-Override

// The header Upload-Metadata taken apart: "filename 5Yqo,lang emg=". For tests and fuzzing too.
struct tus_metadata {
    char *filename; // NULL if not given
    char lang[4];   // "" if not given or neither "zh" nor "en"
};
// header may be NULL. KB_BAD_INPUT for anything that is not key, one space, base64.
enum kb_code tus_metadata_parse(struct tus_metadata *ret, const char *header, struct kb_error *err);
void tus_metadata_free(struct tus_metadata *m);

#endif
