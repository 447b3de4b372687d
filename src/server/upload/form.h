// POST /api/v1/assets: files in a form, an address to fetch, or a text to speak.
// Threads: on the network thread of the request.
#ifndef SERVER_UPLOAD_FORM_H
#define SERVER_UPLOAD_FORM_H

#include "http/http.h"

extern const struct body_sink form_sink;

#endif
