// Which language the program speaks, and where its catalogue lies.
//
// gettext looks at LANGUAGE only when the locale is not "C", and in a container the locale that
// LANG names is often not installed: setlocale() then fails and nothing would be translated.
// "C.UTF-8" is always there, so it stands in, and LANGUAGE carries the language.
//
// Newer glibc (Debian 13) takes "C.UTF-8" for "C" too. Of a name such as "C_CN.UTF-8" it has no
// files and takes those of the nearest one, which is C.UTF-8 again, but gettext sees another name.
#include "cli/cli.h"

#include "base/file.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Texts that glibc's argp looks up in this program's catalogue.
static const char *const argp_texts[] __attribute__((unused)) = {
    N_("Try `%s --help' or `%s --usage' for more information.\n"),
    N_("%s: Too many arguments\n"),
};

static const char *wanted_locale(void)
{
    static const char *const names[] = {"LC_ALL", "LC_MESSAGES", "LANG"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return value;
    }
    return "C";
}

// The first of LANGUAGE's list that koubo speaks, else what the locale says. LANG=C asks for the
// texts as they are, whatever the list says.
static bool wants_chinese(const char *locale)
{
    const char *list = getenv("LANGUAGE");
    for (const char *name = list ? list : ""; *name;) {
        if (strncmp(name, "zh", 2) == 0)
            return true;
        if (strncmp(name, "en", 2) == 0)
            return false;
        name += strcspn(name, ":");
        name += strspn(name, ":");
    }
    return strncmp(locale, "zh", 2) == 0;
}

static void let_language_count(void)
{
    const char *messages = setlocale(LC_MESSAGES, NULL);
    if (messages[0] == 'C' && (messages[1] == '\0' || messages[1] == '.'))
        setlocale(LC_MESSAGES, "C_CN.UTF-8"); // if it fails, the texts are English
}

// Beside the program in the build tree (po/), else where it is installed.
static char *catalogue_folder(const char *uninstalled, const char *installed)
{
    CLEANUP(kb_freep) char *built = path_beside_program(uninstalled);
    return file_is_dir(built) ? TAKE(built) : path_beside_program(installed);
}

// glibc's own sentences (strerror, getopt) are in the package "locales" and its language packs. If
// they are missing, a small catalogue of ours has the ones a user of this program meets.
static void translate_libc(void)
{
    static const char probe[] = "No such file or directory";
    if (strcmp(dgettext("libc", probe), probe) != 0)
        return;
    CLEANUP(kb_freep) char *folder = catalogue_folder("po/libc", "../share/koubo/locale");
    bindtextdomain("libc", folder);
}

bool cli_set_language(const char *lang)
{
    if (lang && strcmp(lang, "zh") != 0 && strcmp(lang, "en") != 0)
        return false;
    const char *wanted = wanted_locale();
    const char *set = setlocale(LC_ALL, "");
    bool plain = strcmp(wanted, "C") == 0 || strcmp(wanted, "POSIX") == 0;
    if (!set || plain)
        setlocale(LC_ALL, "C.UTF-8");
    let_language_count();
    setlocale(LC_NUMERIC, "C"); // numbers in options, JSON and files have a point

    // One of the two for everything: gettext, left to itself, would take texts of glibc in any
    // language of the list, and ours only in Chinese.
    bool chinese = lang ? strcmp(lang, "zh") == 0 : !plain && wants_chinese(wanted);
    setenv("LANGUAGE", chinese ? "zh_CN" : "en", 1);

    CLEANUP(kb_freep) char *folder = catalogue_folder("po", "../share/locale");
    bindtextdomain("koubo", folder);
    textdomain("koubo");
    if (chinese)
        translate_libc();
    return true;
}

bool cli_is_chinese(void)
{
    const char *language = getenv("LANGUAGE");
    return language && strncmp(language, "zh", 2) == 0;
}

const char *cli_speak_both_languages(void)
{
    bool chinese = cli_is_chinese();
    setenv("LANGUAGE", "zh_CN", 1);
    textdomain("koubo"); // forget what was looked up under another LANGUAGE
    translate_libc();
    enum kb_language ours = chinese ? KB_LANGUAGE_CATALOGUE : KB_LANGUAGE_SOURCE;
    kb_language_set_process(ours);
    return kb_language_name(ours);
}
