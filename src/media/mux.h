// One film in the making, mp4 unless its name ends in .mov, .mkv or .webm: written as
// file_part_path() says, renamed to path when whole.
// Not thread-safe; may move between threads.
#ifndef MEDIA_MUX_H
#define MEDIA_MUX_H

#include "base/base.h"
#include "base/cancel.h"

#include <libavformat/avformat.h>

// All-zero is closed.
struct mux {
    char *path, *part;
    AVFormatContext *out; // add streams between mux_open() and mux_start()
    const struct cancel *cancel;
    bool created; // part exists and is ours to delete
};

enum kb_code mux_open(struct mux *m, const char *path, const struct cancel *cancel,
                      struct kb_error *err);
// What the file says of itself, before mux_start(); value: UTF-8, NULL = nothing. KB_NO_SPACE.
enum kb_code mux_tag(struct mux *m, const char *name, const char *value, struct kb_error *err);
enum kb_code mux_start(struct mux *m, struct kb_error *err);
// Empties the packet. Its times are in units of from.
enum kb_code mux_write(struct mux *m, AVPacket *packet, AVRational from, struct kb_error *err);
// Write the index to the front, sync, rename.
enum kb_code mux_finish(struct mux *m, struct kb_error *err);
// Deletes part unless mux_finish() succeeded.
void mux_close(struct mux *m);

#endif
