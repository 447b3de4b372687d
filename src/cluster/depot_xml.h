// The XML that S3 answers with. Expat reads it; nothing of it is kept but what is asked for.
// Thread-safe.
#ifndef CLUSTER_DEPOT_XML_H
#define CLUSTER_DEPOT_XML_H

#include "base/base.h"

#define XML_NAME_BYTES 64

// At the end of each element: its name, that of the element around it ("" = none), and the text
// directly in it, at most 4 kB.
typedef void xml_each(void *ctx, const char *parent, const char *name, const char *text);

// False: it is not well-formed, brings a document type (and with it entities), or is deeper or
// longer in its parts than any answer of S3.
bool xml_read(const char *text, size_t n, xml_each *each, void *ctx);

#endif
