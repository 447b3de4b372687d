// Parameter sets and units of H.264 that a film may have. What is written of them is read as it
// was.
#include "tests/fuzz/fuzz.h"

#include "media/h264.h"

#include <stdlib.h>
#include <string.h>

static void must(bool so)
{
    if (!so)
        abort();
}

static void read_units(const uint8_t *data, size_t size, int length_bytes)
{
    struct h264_units units = {data, data + size, length_bytes, false};
    struct h264_unit u;
    size_t total = 0;
    while (h264_next(&units, &u)) {
        must(u.size > 0 && u.data >= data && u.data + u.size <= data + size);
        total += u.size;
    }
    must(total <= size);
}

static void read_pps(const struct h264_unit *u)
{
    int id, sps, id_again, sps_again;
    if (!h264_read_pps(u, &id, &sps))
        return;
    CLEANUP(kb_freep) uint8_t *pps = kb_alloc(H264_PPS_ROOM(u->size));
    struct h264_unit of = {pps, h264_pps_of(u, 7, pps)};
    must(of.size <= H264_PPS_ROOM(u->size));
    if (of.size > 0)
        must(h264_read_pps(&of, &id_again, &sps_again) && id_again == id && sps_again == 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct h264_config config, again;
    struct h264_sps sps;
    for (int n = 0; n <= 4; n += n == 2 ? 2 : 1)
        read_units(data, size, n);
    if (size > 0) {
        const struct h264_unit u = {data, size};
        if (h264_read_sps(&sps, &u))
            must(sps.width > 0 && sps.height > 0 && sps.n_refs <= 16 && sps.id < 32);
        read_pps(&u);
    }
    if (!h264_read_config(&config, data, size))
        return 0;
    size_t n = h264_config_size(&config);
    CLEANUP(kb_freep) uint8_t *written = kb_alloc(n);
    h264_write_config(&config, written);
    must(h264_read_config(&again, written, n) && again.n_pps == config.n_pps &&
         again.sps.size == config.sps.size &&
         memcmp(again.sps.data, config.sps.data, config.sps.size) == 0);
    for (int i = 0; i < config.n_pps; i++) {
        must(again.pps[i].size == config.pps[i].size);
        read_pps(&config.pps[i]);
    }
    return 0;
}
