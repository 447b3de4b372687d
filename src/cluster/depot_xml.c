#include "cluster/depot_xml.h"

#include "base/text.h"

#include <expat.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH      8
#define LEAF_BYTES 4096

struct reader {
    XML_Parser parser;
    xml_each *each;
    void *ctx;
    int depth;
    struct {
        char name[XML_NAME_BYTES];
        struct text text;
    } open[DEPTH];
};

static void XMLCALL on_start(void *opaque, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = opaque;
    if (r->depth == DEPTH || strlen(name) >= XML_NAME_BYTES) {
        XML_StopParser(r->parser, XML_FALSE);
        return;
    }
    snprintf(r->open[r->depth].name, XML_NAME_BYTES, "%s", name);
    text_clear(&r->open[r->depth].text);
    r->depth++;
}

static void XMLCALL on_text(void *opaque, const XML_Char *s, int n)
{
    struct reader *r = opaque;
    struct text *text = &r->open[r->depth - 1].text; // there is no text outside of all elements
    if (text->size + (size_t)n > LEAF_BYTES)
        XML_StopParser(r->parser, XML_FALSE);
    else
        text_add_bytes(text, s, (size_t)n);
}

static void XMLCALL on_end(void *opaque, const XML_Char *name)
{
    struct reader *r = opaque;
    r->depth--;
    r->each(r->ctx, r->depth > 0 ? r->open[r->depth - 1].name : "", r->open[r->depth].name,
            text_get(&r->open[r->depth].text));
}

static void XMLCALL on_doctype(void *opaque, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int has_internal)
{
    struct reader *r = opaque;
    XML_StopParser(r->parser, XML_FALSE);
}

bool xml_read(const char *text, size_t n, xml_each *each, void *ctx)
{
    struct reader r = {.parser = XML_ParserCreate(NULL), .each = each, .ctx = ctx};
    if (!r.parser)
        abort(); // memory is out
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    bool good = n <= INT_MAX && XML_Parse(r.parser, text, (int)n, XML_TRUE) == XML_STATUS_OK;
    XML_ParserFree(r.parser);
    for (int i = 0; i < DEPTH; i++)
        text_free(&r.open[i].text);
    return good;
}
