// What of H.264's bits must be known to put the pictures of two encoders into one stream: units,
// and the parameter sets that say how the pictures are to be read (ITU-T H.264, 7.3 and annex B).
// Reads what strangers wrote: everything is checked. Internal to media/. Thread-safe (no state).
#ifndef MEDIA_H264_H
#define MEDIA_H264_H

#include "base/base.h"

#include <stddef.h>
#include <stdint.h>

enum {
    H264_SLICE = 1,
    H264_IDR = 5, // a slice of a picture before which nothing is needed
    H264_SEI = 6,
    H264_SPS = 7,
    H264_PPS = 8,
    H264_DELIMITER = 9,
    H264_FILLER = 12
};

#define H264_MAX_PPS 255

// One unit, without what separates it from the others; size >= 1.
struct h264_unit {
    const uint8_t *data;
    size_t size;
};

static inline int h264_type(const struct h264_unit *u)
{
    return u->data[0] & 31;
}

// Where the next one is looked for.
struct h264_units {
    const uint8_t *at, *end;
    int length_bytes; // before each unit: 1, 2 or 4; 0: start codes separate them
    bool broken;      // a unit is longer than what is there: the units end before it
};
bool h264_next(struct h264_units *s, struct h264_unit *ret);

// Of a film of 8 bits in 4:2:0, whole pictures.
struct h264_sps {
    int profile, constraints, level; // as the bytes say
    int id;
    int log2_frame_num, order_type, log2_order; // log2_order: of order type 0, else 0
    int n_refs;
    bool gaps;
    int width, height;                      // in blocks of 16 x 16
    int crop[4];                            // left, right, top, bottom, in units of two pixels
    int aspect[2];                          // 1:1 where nothing is said
    int range, primaries, transfer, matrix; // as H.264 numbers them: 0, 2, 2, 2 where not said
    int n_reorder, n_buffered;              // -1: not said
};
// False: broken, or of a film of another kind; also where it has what asks something of other
// encoders: scaling lists, a buffer's timing.
bool h264_read_sps(struct h264_sps *ret, const struct h264_unit *sps);
bool h264_read_pps(const struct h264_unit *pps, int *ret_id, int *ret_sps_id);
// The same PPS of another SPS. ret: room for H264_PPS_ROOM(pps->size). Returns how many bytes; 0:
// it is broken.
#define H264_PPS_ROOM(size) (2 * (size) + 16)
size_t h264_pps_of(const struct h264_unit *pps, int sps_id, uint8_t *ret);

// What an MP4 says of its stream (avcC), pointing into it.
struct h264_config {
    int length_bytes;
    struct h264_unit sps; // the only one
    int n_pps;
    struct h264_unit pps[H264_MAX_PPS];
};
// False: broken, or not exactly one SPS, or no PPS.
bool h264_read_config(struct h264_config *ret, const uint8_t *data, size_t size);
// The same of units with lengths of 4 bytes. ret: room for h264_config_size().
size_t h264_config_size(const struct h264_config *c);
void h264_write_config(const struct h264_config *c, uint8_t *ret);

#endif
