// Why a transfer of libcurl failed, in the language of the thread: curl_easy_strerror() has English
// alone. Thread-safe.
#ifndef NOTIFY_REASON_H
#define NOTIFY_REASON_H

#include <curl/curl.h>

// A text of the program (base/sentence.h keeps it for any language): "the address's name is not
// known". Never NULL; of rare codes it says no more than that the transfer failed.
const char *transfer_reason(CURLcode code);

#endif
