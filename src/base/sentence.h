// Sentences that are kept, and shown later to people of another language than the one in which they
// were first said. A kept sentence is what gettext is asked for, with the values that stand in it:
//
//   RS "cannot open '%s': %s" US "a.mp4" US SO "No such file or directory"
//
// One RS … for each context that kb_wrap() put before it; SO marks a value that is a text of the
// program itself and has a translation, too. Anything without an RS at its beginning is plain text
// and is shown as it is. Thread-safe.
#ifndef BASE_SENTENCE_H
#define BASE_SENTENCE_H

#include "base/base.h"

#include <stdarg.h>

// The sentence in the language of this thread, a new string. NULL stays NULL.
char *sentence_say(const char *kept);

// A sentence without a '%' as it is kept, a new string: sentence_keep(_("cancelled")).
char *sentence_keep(const char *text);

// For kb_fail(): fmt and its values as they are kept. "" when they do not fit.
void sentence_pack(char *ret, size_t size, const char *fmt, va_list args);

// What is kept of err: its sentence for any language, or, if that did not fit, as it was said. A
// new string of valid UTF-8.
char *sentence_of(const struct kb_error *err);
// The same said in the language of the process, which its log speaks. A new string.
char *sentence_for_log(const struct kb_error *err);

// What stands between a context that says fmt and the rest: nothing if the source of fmt ends with
// a space, whatever its translation ends with.
const char *sentence_joint(const char *fmt);

// Fail with a sentence that was kept, as kb_fail() does; kept is copied.
enum kb_code sentence_fail(struct kb_error *err, enum kb_code code, const char *kept);

// Put one value in place of another, where it stands as a whole or inside a value.
void sentence_replace(struct kb_error *err, const char *from, const char *to);

#endif
