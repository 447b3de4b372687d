// A .kbt file: read, then looked at as a dub does. Sizes and checksum are made right.
#include "face/cast.h"
#include "face/track.h"
#include "rig/person.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define SIZE_AT     80 // of the header of 96 bytes: the file's size, then its checksum
#define CHECKSUM_AT 88
#define MAX_LOOKED  64 // frames

static void look(const struct track *t)
{
    const struct track_info *info = track_info(t);
    struct track_face face;
    struct track_mouth mouth;
    float points[TRACK_N_POINTS][3];
    for (int f = 0; f < info->n_faces; f++) {
        struct kb_error err = {0};
        struct person person;
        struct posed posed;
        bool fits = person_fit(&person, t, f, NULL, &err) == KB_OK;
        for (int i = 0; i < KB_MIN(info->n_frames, MAX_LOOKED); i++) {
            track_face(t, f, i, &face);
            track_points3_smooth(t, f, i, 1.5f, points);
            track_shot(t, i);
            if (fits)
                person_at(&person, t, f, i, &posed);
        }
        for (int i = 0; i < track_n_mouths(t, f); i++)
            track_mouth(t, f, i, &mouth);
        track_hidden(t, f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = NULL;
    CLEANUP(kb_freep) uint8_t *copy = kb_alloc(size + 1);
    uint64_t stored = size;
    memcpy(copy, data, size);
    if (size >= CHECKSUM_AT + sizeof(stored))
        memcpy(copy + SIZE_AT, &stored, sizeof(stored));
    fuzz_seal(copy, size, CHECKSUM_AT);
    if (track_load(&t, fuzz_file(copy, size), &err) == KB_OK)
        look(t);
    return 0;
}
