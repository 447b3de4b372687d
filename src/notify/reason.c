#include "notify/reason.h"

#include "base/base.h"

const char *transfer_reason(CURLcode code)
{
    static const struct {
        CURLcode code;
        const char *text;
    } table[] = {
        {CURLE_COULDNT_RESOLVE_HOST, N_("the name of the server is not known")},
        {CURLE_COULDNT_CONNECT, N_("the server cannot be reached")},
        {CURLE_OPERATION_TIMEDOUT, N_("the server did not answer in time")},
        {CURLE_GOT_NOTHING, N_("the server answered nothing")},
        {CURLE_RECV_ERROR, N_("the connection broke off")},
        {CURLE_SEND_ERROR, N_("the connection broke off")},
        {CURLE_PARTIAL_FILE, N_("the connection broke off")},
        {CURLE_WEIRD_SERVER_REPLY, N_("the server speaks another protocol")},
        {CURLE_UNSUPPORTED_PROTOCOL, N_("the address leads to a protocol that is not allowed")},
        {CURLE_URL_MALFORMAT, N_("the address is not valid")},
        {CURLE_TOO_MANY_REDIRECTS, N_("the server sends from address to address")},
        {CURLE_SSL_CONNECT_ERROR, N_("no encrypted connection comes about")},
        {CURLE_PEER_FAILED_VERIFICATION, N_("the certificate of the server is not valid")},
        {CURLE_LOGIN_DENIED, N_("the server refuses user or password")},
        {CURLE_USE_SSL_FAILED, N_("the server offers no encryption")},
        {CURLE_WRITE_ERROR, N_("what came could not be written")},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].code == code)
            return _(table[i].text);
    return _("the transfer failed");
}
