#include "finish/font.h"

#include "base/text.h"

#include <fontconfig/fontconfig.h>
#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_TRUETYPE_TABLES_H
#include <stdio.h>
#include <string.h>

// In the order of how they look on a film; the second is in a small package that set-up installs.
static const char *const preferred[] = {
    "Noto Sans CJK SC",    "Source Han Sans SC", "Noto Sans SC",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",  "Droid Sans Fallback",
};

// Fonts with that family's name (NULL: any) and that letter (0: any).
static FcFontSet *find(const char *family, FcChar32 letter)
{
    FcPattern *pattern = FcPatternCreate();
    FcObjectSet *objects = FcObjectSetBuild(FC_FAMILY, (char *)NULL);
    FcCharSet *letters = FcCharSetCreate();
    FcFontSet *found = NULL;
    if (pattern && objects && letters) {
        if (family)
            FcPatternAddString(pattern, FC_FAMILY, (const FcChar8 *)family);
        if (letter && FcCharSetAddChar(letters, letter))
            FcPatternAddCharSet(pattern, FC_CHARSET, letters);
        found = FcFontList(NULL, pattern, objects);
    }
    if (letters)
        FcCharSetDestroy(letters);
    if (objects)
        FcObjectSetDestroy(objects);
    if (pattern)
        FcPatternDestroy(pattern);
    return found;
}

// The name of the first one, by which it is found again. False: there is none.
static bool take_first(FcFontSet *fonts, char ret[FONT_NAME])
{
    FcChar8 *name = NULL;
    bool found = fonts && fonts->nfont > 0 &&
                 FcPatternGetString(fonts->fonts[0], FC_FAMILY, 0, &name) == FcResultMatch &&
                 strlen((const char *)name) < FONT_NAME;
    if (found)
        snprintf(ret, FONT_NAME, "%s", (const char *)name);
    if (fonts)
        FcFontSetDestroy(fonts);
    return found;
}

static enum kb_code no_such_font(const char *wanted, struct kb_error *err)
{
    CLEANUP(text_free) struct text names = {0};
    FcFontSet *all = find(NULL, 0x6587); // 文
    for (int i = 0, n = 0; all && i < all->nfont && n < 8; i++) {
        FcChar8 *name = NULL;
        if (FcPatternGetString(all->fonts[i], FC_FAMILY, 0, &name) != FcResultMatch ||
            strlen((const char *)name) >= 64 ||
            (names.data && strstr(names.data, (const char *)name)))
            continue;
        text_addf(&names, "%s%s", n++ ? ", " : "", (const char *)name);
    }
    if (all)
        FcFontSetDestroy(all);
    return kb_fail(err, KB_NOT_FOUND,
                   _("there is no font '%s' on this machine; of those that have Chinese there are: "
                     "%s"),
                   wanted, names.data ? names.data : "-");
}

enum kb_code font_family(const char *wanted, char ret[FONT_NAME], struct kb_error *err)
{
    if (!FcInit())
        return kb_fail(err, KB_UNAVAILABLE, _("the fonts of this machine cannot be read"));
    if (wanted) {
        if (strlen(wanted) < FONT_NAME && take_first(find(wanted, 0), ret)) {
            snprintf(ret, FONT_NAME, "%s", wanted);
            return KB_OK;
        }
        return no_such_font(wanted, err);
    }
    for (size_t i = 0; i < ARRAY_LEN(preferred); i++)
        if (take_first(find(preferred[i], 0x6587), ret)) {
            snprintf(ret, FONT_NAME, "%s", preferred[i]);
            return KB_OK;
        }
    if (take_first(find(NULL, 0x6587), ret))
        return KB_OK;
    return kb_fail(err, KB_UNAVAILABLE,
                   _("no font of this machine has Chinese letters; install the package "
                     "fonts-wqy-microhei or fonts-noto-cjk"));
}

static double line_of(const char *file, int index)
{
    FT_Library library = NULL;
    FT_Face face = NULL;
    double line = 1;
    if (FT_Init_FreeType(&library) != 0)
        return 1;
    if (FT_New_Face(library, file, index, &face) == 0) {
        const TT_OS2 *os2 = FT_Get_Sfnt_Table(face, FT_SFNT_OS2);
        // libass scales by these as VSFilter did.
        if (os2 && face->units_per_EM > 0 && os2->usWinAscent + os2->usWinDescent > 0)
            line = (double)(os2->usWinAscent + os2->usWinDescent) / face->units_per_EM;
        FT_Done_Face(face);
    }
    FT_Done_FreeType(library);
    return line > 0.5 && line < 4 ? line : 1;
}

double font_line(const char *family)
{
    double line = 1;
    FcResult result;
    FcPattern *pattern = FcInit() ? FcPatternCreate() : NULL;
    if (!pattern)
        return 1;
    FcPatternAddString(pattern, FC_FAMILY, (const FcChar8 *)family);
    FcConfigSubstitute(NULL, pattern, FcMatchPattern);
    FcDefaultSubstitute(pattern);
    FcPattern *found = FcFontMatch(NULL, pattern, &result);
    FcChar8 *file;
    int index = 0;
    if (found && FcPatternGetString(found, FC_FILE, 0, &file) == FcResultMatch) {
        FcPatternGetInteger(found, FC_INDEX, 0, &index);
        line = line_of((const char *)file, index);
    }
    if (found)
        FcPatternDestroy(found);
    FcPatternDestroy(pattern);
    return line;
}
