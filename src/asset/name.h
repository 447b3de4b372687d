// The names that users give to their files. Thread-safe.
#ifndef ASSET_NAME_H
#define ASSET_NAME_H

// The last part of a path as a name that can be shown: invalid UTF-8 becomes U+FFFD; control
// characters and marks that turn the direction of writing are left out; cut at 255 bytes. "" when
// nothing is left.
void asset_clean_name(char ret[256], const char *name);

#endif
