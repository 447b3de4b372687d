// Taking the fields of a request's JSON body and the words of its query apart. Each function that
// returns false has answered 400 already, with a sentence that names the field.
// Threads: on the network thread of the request.
#ifndef SERVER_API_FIELDS_H
#define SERVER_API_FIELDS_H

#include "http/http.h"

// Every name of body must be one of names (NULL-terminated).
bool fields_known(struct request *r, json_t *body, const char *const *names);
// A text of at most max letters without control characters. Absent or null: *ret = NULL, an error
// if required. *ret lives as long as body.
bool field_text(struct request *r, json_t *body, const char *name, bool required, size_t max,
                const char **ret);
// A whole number within bounds. *ret_there (may be NULL: then it is required) tells whether it was
// there.
bool field_int(struct request *r, json_t *body, const char *name, int64_t low, int64_t high,
               int64_t *ret, bool *ret_there);
// True or false. *ret_there tells whether it was there.
bool field_bool(struct request *r, json_t *body, const char *name, bool *ret, bool *ret_there);
// An object as JSON text, a new string. Absent or null: NULL.
bool field_object(struct request *r, json_t *body, const char *name, char **ret);

// offset and limit of a list.
bool query_page(struct request *r, int *ret_offset, int *ret_limit);
// One of words (NULL-terminated). Absent or empty: NULL.
bool query_word(struct request *r, const char *name, const char *const *words, const char **ret);
// Free text; NULL if absent or empty.
const char *query_text(struct request *r, const char *name);

#endif
