#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void bytes_hex(char *ret, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = bytes;
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[from[i] >> 4];
        ret[2 * i + 1] = digits[from[i] & 15];
    }
    ret[2 * n] = '\0';
}

char *base64_encode(const void *bytes, size_t n)
{
    const uint8_t *from = bytes;
    char *ret = kb_alloc((n + 2) / 3 * 4 + 1), *to = ret;
    for (size_t i = 0; i < n; i += 3) {
        size_t rest = KB_MIN(n - i, (size_t)3);
        uint32_t three = (uint32_t)from[i] << 16;
        three |= rest > 1 ? (uint32_t)from[i + 1] << 8 : 0;
        three |= rest > 2 ? from[i + 2] : 0;
        for (size_t k = 0; k < 4; k++)
            *to++ = k <= rest ? alphabet[three >> (18 - 6 * k) & 63] : '=';
    }
    return ret;
}

char *base64_decode(const char *text, size_t n, size_t *ret_size)
{
    size_t n_pad = 0;
    while (n_pad < 2 && n_pad < n && text[n - 1 - n_pad] == '=')
        n_pad++;
    if (n % 4 != 0)
        return NULL;
    CLEANUP(kb_freep) char *ret = kb_alloc(n / 4 * 3 + 1);
    for (size_t i = 0, at = 0; i < n; i += 4) {
        uint32_t three = 0;
        for (size_t k = i; k < i + 4; k++) {
            const char *letter = k < n - n_pad ? memchr(alphabet, text[k], 64) : alphabet;
            if (!letter)
                return NULL;
            three = three << 6 | (uint32_t)(letter - alphabet);
        }
        for (int shift = 16; shift >= 0; shift -= 8)
            ret[at++] = (char)(three >> shift);
    }
    *ret_size = n / 4 * 3 - n_pad;
    ret[*ret_size] = '\0';
    return TAKE(ret);
}
