// From now on the program's texts have their Chinese, as in koubo serve; tests speak English until
// a thread or the process chooses otherwise.
#ifndef TESTS_CHINESE_H
#define TESTS_CHINESE_H

#include "tests/test.h"

#include <libintl.h>
#include <locale.h>

static inline void load_chinese(void)
{
    const char *folder = getenv("KOUBO_PO");
    assert_non_null(folder);
    assert_non_null(setlocale(LC_ALL, "C.UTF-8"));
    setlocale(LC_NUMERIC, "C");
    setenv("LANGUAGE", "zh_CN", 1);
    bindtextdomain("koubo", folder);
    textdomain("koubo");
    kb_language_set_process(KB_LANGUAGE_SOURCE);
}

#endif
