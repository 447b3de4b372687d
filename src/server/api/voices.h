// Who speaks a text, and how: the fields that all who take a text to speak share.
// Threads: on the network thread of the request.
#ifndef SERVER_API_VOICES_H
#define SERVER_API_VOICES_H

#include "asset/speech.h"
#include "http/http.h"

#define SPEECH_LETTERS 5000 // of a text to speak

// text, voice, speed and pause of a body. *ret_text and *ret_voice (NULL: by the text) live as long
// as body. False: answered.
bool speech_fields(struct request *r, json_t *body, const char **ret_text, const char **ret_voice,
                   struct asset_speech *ret);

#endif
