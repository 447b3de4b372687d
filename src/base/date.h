// Times as HTTP and mail write them: in English whatever the locale. Thread-safe.
#ifndef BASE_DATE_H
#define BASE_DATE_H

#include "base/base.h"

#define DATE_BYTES 40 // holds any

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7) of seconds since 1970. What lies outside of the
// years 1970 to 9999 becomes their begin or end: a file may carry any time.
void date_http(char ret[DATE_BYTES], int64_t time_s);
// The same with "+0000" at the end (RFC 5322, 3.3).
void date_mail(char ret[DATE_BYTES], int64_t time_s);

// Of what date_http() writes, to the letter. False: it is something else. The two obsolete forms
// are not worth their code: a condition that is not understood is one that is not there.
bool date_http_parse(const char *text, int64_t *ret_time_s);

#endif
