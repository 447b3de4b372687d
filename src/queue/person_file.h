// A whole person as one file (NAME.koubo): a zip of stored entries, "manifest.json" first, then
// "video" and the files that the options name, each by its role ("mouth_from"). docs/people.md.
//
// Reading is for files of strangers: nothing is decompressed or decoded, entries have to be those
// of the manifest, in its order, with its sizes and SHA-256; names of files are only what they are
// called. What was copied is looked at in the cage like any upload. Not thread-safe.
#ifndef QUEUE_PERSON_FILE_H
#define QUEUE_PERSON_FILE_H

#include "asset/asset.h"
#include "queue/person.h"

#define PERSON_MANIFEST_MOST 65536 // bytes
#define PERSON_ENDING        ".koubo"

struct person_entry {
    char role[24]; // "video", or a material_role's name
    char name[256];
    int64_t size_bytes;
    char sha256[65];
};
struct person_manifest {
    char *name, *options; // options: JSON without those that are files
    double face_at[3];    // x < 0: none
    struct person_entry files[PERSON_FILES];
    int n_files;
};
// KB_BAD_INPUT unless all of it is as it has to be: the film first, each role once, sizes of 1 byte
// or more whose sum fits. Also then person_manifest_free() is fine.
enum kb_code person_manifest_parse(const char *json, size_t size, struct person_manifest *ret,
                                   struct kb_error *err);
void person_manifest_free(struct person_manifest *m);

struct person_import {
    const char *path;          // the file
    const char *name;          // NULL = as the file says; "-2", "-3"… where that is taken
    int64_t most_bytes;        // that all its files may have; 0 = any
    const char *client, *lang; // as in asset_params
    const struct asset_care *care;
};
// All or nothing. KB_BAD_INPUT: it is no such file, a damaged one, or too large.
enum kb_code person_import(struct store *s, const struct person_import *p, char ret_id[33],
                           struct kb_error *err);

// The file, made while it is read. create looks up all it needs; afterwards s is not used.
struct person_export;
enum kb_code person_export_create(struct store *s, const char *id, struct person_export **ret,
                                  struct kb_error *err);
const char *person_export_name(const struct person_export *e); // "NAME.koubo", safe as a file's
// As stream_read_fn and stream_free_fn of http.h: bytes, -1 at the end, -2 = broken off (a line in
// the log says why).
int64_t person_export_read(void *person_export, char *buffer, size_t max);
void person_export_free(void *person_export);

#endif
