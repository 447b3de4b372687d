#include "asset/signature.h"

#include "base/base.h"

#include <string.h>
#include <unistd.h>

// What stands at a fixed place. The second text, if any, stands 8 bytes behind the first: that of a
// RIFF or FORM says what kind it is.
static const struct {
    const char *begin;
    size_t n;
    const char *kind;
} fixed[] = {
    {"RIFF", 4, "WAVE"},
    {"RIFF", 4, "AVI "},
    {"RIFF", 4, "WEBP"},
    {"RF64", 4, "WAVE"},
    {"BW64", 4, "WAVE"},
    {"FORM", 4, "AIFF"},
    {"FORM", 4, "AIFC"},
    {"riff\x2e\x91\xcf\x11", 8, NULL},             // Wave64
    {"\x1a\x45\xdf\xa3", 4, NULL},                 // Matroska, WebM
    {"FLV\x01", 4, NULL},                          //
    {"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 8, NULL}, // ASF: wmv, wma
    {"\x00\x00\x01\xba", 4, NULL},                 // MPEG program stream
    {"\x00\x00\x01\xb3", 4, NULL},                 // MPEG video
    {"\x00\x00\x01\xb0", 4, NULL},                 // MPEG-4 video
    {"\x00\x00\x00\x01", 4, NULL},                 // H.264, HEVC
    {"\x06\x0e\x2b\x34\x02\x05\x01\x01", 8, NULL}, // MXF
    {"OggS\0", 5, NULL},                           //
    {"fLaC", 4, NULL},                             //
    {"ID3\x02", 4, NULL},                          // mp3 and others
    {"ID3\x03", 4, NULL},                          //
    {"ID3\x04", 4, NULL},                          //
    {"#!AMR", 5, NULL},                            //
    {"caff\0", 5, NULL},                           //
    {".snd\0", 5, NULL},                           //
    {"\x0b\x77", 2, NULL},                         // AC-3
    {"\x7f\xfe\x80\x01", 4, NULL},                 // DTS
    {"wvpk", 4, NULL},                             // WavPack
    {"MAC \x96\x0f", 6, NULL},                     // Monkey's Audio 3.99
    {"\xff\xd8\xff", 3, NULL},                     // JPEG
    {"\x89PNG\r\n\x1a\n", 8, NULL},                //
    {"GIF87a", 6, NULL},                           //
    {"GIF89a", 6, NULL},                           //
    {"II*\0", 4, NULL},                            // TIFF
    {"MM\0*", 4, NULL},                            //
    {"\xff\x0a", 2, NULL},                         // JPEG XL
    {"\0\0\0\x0cJXL \r\n\x87\n", 12, NULL},        //
    {"\0\0\0\x0cjP  \r\n\x87\n", 12, NULL},        // JPEG 2000
};

static bool has_fixed(const uint8_t *head, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        size_t wanted = fixed[i].kind ? 12 : fixed[i].n;
        if (n >= wanted && memcmp(head, fixed[i].begin, fixed[i].n) == 0 &&
            (!fixed[i].kind || memcmp(head + 8, fixed[i].kind, 4) == 0))
            return true;
    }
    return false;
}

// mp4, mov, m4a, heic, avif: a box of one of the kinds that such files begin with.
static bool is_boxes(const uint8_t *head, size_t n)
{
    static const char *const kinds[] = {"ftyp", "moov", "mdat", "wide",
                                        "free", "skip", "pnot", "styp"};
    for (size_t i = 0; n >= 8 && i < ARRAY_LEN(kinds); i++)
        if (memcmp(head + 4, kinds[i], 4) == 0)
            return true;
    return false;
}

// The head of a frame of MPEG audio, layer 2 or 3, or of ADTS (aac); behind the zeros that some
// files begin with. "FF FE", with which texts in UTF-16 begin, is none.
static bool is_frame(const uint8_t *head, size_t n)
{
    while (n > 4 && head[0] == 0) {
        head++;
        n--;
    }
    if (n < 4 || head[0] != 0xff)
        return false;
    if ((head[1] & 0xf6) == 0xf0) // ADTS: rate, not reserved
        return (head[2] >> 2 & 15) < 13;
    int layer = head[1] >> 1 & 3, version = head[1] >> 3 & 3;
    return (head[1] & 0xe0) == 0xe0 && (layer == 1 || layer == 2) && version != 1 &&
           head[2] >> 4 != 15 && head[2] >> 4 != 0 && (head[2] >> 2 & 3) != 3;
}

// Packets of 188 bytes, each with a 'G' in front; of cameras, four bytes of time before that.
static bool is_transport(const uint8_t *head, size_t n)
{
    if (n > 2 * 188 && head[0] == 'G' && head[188] == 'G' && head[2 * 188] == 'G')
        return true;
    return n > 4 + 2 * 192 && head[4] == 'G' && head[4 + 192] == 'G' && head[4 + 2 * 192] == 'G';
}

static bool is_bitmap(const uint8_t *head, size_t n)
{
    static const uint8_t sizes[] = {12, 40, 52, 56, 64, 108, 124}; // of the second header
    if (n < 18 || memcmp(head, "BM", 2) != 0 || memcmp(head + 6, "\0\0\0", 4) != 0)
        return false;
    return memchr(sizes, head[14], sizeof(sizes)) && memcmp(head + 15, "\0\0", 3) == 0;
}

bool signature_is_media(const uint8_t *head, size_t n)
{
    return has_fixed(head, n) || is_boxes(head, n) || is_frame(head, n) || is_transport(head, n) ||
           is_bitmap(head, n);
}

bool signature_of_file(int fd)
{
    uint8_t head[SIGNATURE_BYTES];
    ssize_t n = pread(fd, head, sizeof(head), 0);
    return n > 0 && signature_is_media(head, (size_t)n);
}
