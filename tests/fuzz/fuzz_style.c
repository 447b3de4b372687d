// A .kbs file of a film with two faces: read, then applied to a speech. Size and checksum are made
// right, and so are the names of the film and the listener.
#include "face/track_internal.h"
#include "lipsync/style.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define HASH_AT     16 // of the header of 104 bytes: both hashes, frames, faces, size, checksum
#define SIZE_AT     88
#define CHECKSUM_AT 96
#define N_FACES     2
#define N_SAMPLES   50

#define HASH "0123456789abcdef0123456789abcdef"

static void apply(const struct style *s)
{
    struct kb_error err = {0};
    static float delta[N_SAMPLES][MOTION_POINTS][2], voice[N_SAMPLES];
    const struct motion told = {N_SAMPLES, delta, voice};
    CLEANUP(motion_free) struct motion *ret = NULL;
    for (int i = 0; i < N_SAMPLES; i++)
        delta[i][i % MOTION_POINTS][1] = 0.01f * (float)i;
    CLEANUP(kb_freep) char *sentence = style_describe(s);
    if (s->verdict == STYLE_LEARNT)
        style_apply(&ret, s, &told, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    const struct track track = {.info = {.n_frames = 3, .n_faces = N_FACES, .video_hash = HASH}};
    static struct style styles[TRACK_MAX_FACES];
    CLEANUP(kb_freep) uint8_t *copy = kb_alloc(size + 1);
    uint64_t stored = size;
    memcpy(copy, data, size);
    if (size >= CHECKSUM_AT + sizeof(stored)) {
        memcpy(copy + HASH_AT, HASH HASH, 64);
        memcpy(copy + SIZE_AT, &stored, sizeof(stored));
    }
    fuzz_seal(copy, size, CHECKSUM_AT);
    if (style_load(styles, &track, HASH, fuzz_file(copy, size), &err) == KB_OK)
        for (int i = 0; i < N_FACES; i++)
            apply(&styles[i]);
    return 0;
}
