#include "cluster/wire.h"

#include "base/bytes.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define MAC_BYTES 32

bool node_name_is_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < NODE_NAME_BYTES && *name != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

void wire_sign(char ret[WIRE_MAC_BYTES], const char *secret, const char *text)
{
    unsigned char mac[MAC_BYTES];
    unsigned n = sizeof(mac);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text), mac,
         &n);
    bytes_hex(ret, mac, sizeof(mac));
}

bool wire_is_signed(const char *mac, const char *secret, const char *text)
{
    char right[WIRE_MAC_BYTES];
    wire_sign(right, secret, text);
    return strlen(mac) == WIRE_MAC_BYTES - 1 && CRYPTO_memcmp(mac, right, WIRE_MAC_BYTES - 1) == 0;
}
