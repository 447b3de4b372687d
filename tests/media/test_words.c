// Where sentences and words of a text are, and the times of words as they are kept.
#include "../test.h"

#include "media/sentences.h"
#include "media/words.h"

// "|" between sentences, "/" where a line ends.
static void assert_sentences(const char *text, const char *wanted)
{
    CLEANUP(kb_freep) struct sentence *list = NULL;
    char found[4000] = "";
    int n = 0;
    assert_true(sentences_find(text, &list, &n));
    for (int i = 0; i < n; i++) {
        size_t used = strlen(found);
        snprintf(found + used, sizeof(found) - used, "%.*s%s", (int)list[i].n, text + list[i].first,
                 list[i].paragraph ? "/" : "|");
    }
    assert_string_equal(found, wanted);
}

static void test_sentences(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {" \n\t。！……", ""},
        {"你好", "你好/"},
        {"你好。世界！再见？", "你好。|世界！|再见？/"},
        {"他说：“走吧！”然后走了。", "他说：“走吧！”|然后走了。/"},
        {"真的？！太好了……", "真的？！|太好了……/"},
        {"圆周率是3.14。版本2.0发布", "圆周率是3.14。|版本2.0发布/"},
        {"请看koubo.com。用Python.我们写", "请看koubo.com。|用Python.|我们写/"},
        {"Hello there. It costs 3.14 dollars! Why? See a.b.c?x=1 now.",
         "Hello there.|It costs 3.14 dollars!|Why?|See a.b.c?x=1 now./"},
        {"Dr. Smith met Mr. J. Doe at 5 p.m. on Nov. 3rd. He left.",
         "Dr. Smith met Mr. J. Doe at 5 p.m. on Nov. 3rd.|He left./"},
        {"Use tools, e.g. a saw. Then rest", "Use tools, e.g. a saw.|Then rest/"},
        {"Wait... what? \"Yes.\" He said", "Wait... what?|\"Yes.\"|He said/"},
        {"1. 打开软件\n2. 选择文件。\r\n\r\n3. 完成", "1. 打开软件/2. 选择文件。/3. 完成/"},
        {"  第一段\u3000\n\n\u3000\u3000第二段。---\n", "第一段/第二段。/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_sentences(cases[i][0], cases[i][1]);
}

// What is too long is parted at commas, else at blanks, else between letters; nothing is lost.
static void test_long_sentences(void **state)
{
    static const char *const parts[] = {"一二三四五六七八九十，", "many words of it ", "没有标点"};
    for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
        char text[3000] = "";
        for (int i = 0; i < 80; i++)
            strcat(text, parts[k]);
        CLEANUP(kb_freep) struct sentence *list = NULL;
        int n = 0;
        size_t sum = 0;
        assert_true(sentences_find(text, &list, &n));
        assert_true(n >= 2);
        for (int i = 0; i < n; i++) {
            const char *end = text + list[i].first + list[i].n;
            assert_in_range(list[i].n, 60, SENTENCE_BYTES);
            assert_true(((unsigned char)text[list[i].first] & 0xc0) != 0x80);
            if (k == 0)
                assert_memory_equal(end - 3, "，", 3);
            if (k == 1)
                assert_true(*end == ' ' || *end == '\0');
            sum += list[i].n + (k == 1);
        }
        assert_true(sum + 2 >= strlen(text));
    }
}

static void test_splitting(void **state)
{
    static const char *const cases[][2] = {
        {"你好，world!", "你|好|world|"},
        {"3.14元、50%的$9.99", "3.14|元|50%|的|$9.99|"},
        {"don't stop: e-mail a@b.cn.", "don't|stop|e-mail|a@b.cn|"},
        {"コード é ａｂ 한국어", "コ|ー|ド|é|ａｂ|한국어|"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(words_free) struct words w = {.text = kb_strdup(cases[i][0])};
        char found[200] = "";
        assert_true(words_split(&w, 0, strlen(w.text)));
        for (int k = 0; k < w.n; k++)
            snprintf(found + strlen(found), sizeof(found) - strlen(found), "%.*s|",
                     (int)w.list[k].n, w.text + w.list[k].first);
        assert_string_equal(found, cases[i][1]);
    }
}

static void test_json(void **state)
{
    struct kb_error err = {0};
    CLEANUP(words_free) struct words w = {.text = kb_strdup("你好 \"x\"")}, back = {0};
    assert_true(words_add(&w, (struct word){20000, 300000, 0, 3}));
    assert_true(words_add(&w, (struct word){290000, 290000, 3, 3}));
    assert_true(words_add(&w, (struct word){1000000, 1500000, 8, 1}));
    CLEANUP(kb_freep) char *json = words_json(&w);
    assert_string_equal(json, "{\"text\":\"你好 \\\"x\\\"\",\"words\":[[20,300,0,3],"
                              "[290,290,3,3],[1000,1500,8,1]]}");
    assert_ok(err, words_parse(&back, json, &err));
    assert_string_equal(back.text, w.text);
    assert_int_equal(back.n, 3);
    assert_memory_equal(back.list, w.list, 3 * sizeof(*w.list));
    json_auto_t *packed = words_pack(&w);
    struct words unpacked = {.text = kb_strdup(w.text)};
    assert_true(words_unpack(&unpacked, packed));
    assert_int_equal(unpacked.n, 3);
    assert_memory_equal(unpacked.list, w.list, 3 * sizeof(*w.list));
    words_free(&unpacked);
}

static void test_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"text\":\"ab\"}",
        "{\"text\":1,\"words\":[]}",
        "{\"text\":\"ab\",\"words\":{}}",
        "{\"text\":\"ab\",\"words\":[],\"more\":1}",
        "{\"text\":\"ab\",\"words\":[[0,1,0]]}",
        "{\"text\":\"ab\",\"words\":[[0,1,0,3]]}",
        "{\"text\":\"ab\",\"words\":[[0,1,2,1]]}",
        "{\"text\":\"ab\",\"words\":[[0,1,0,0]]}",
        "{\"text\":\"ab\",\"words\":[[0,1,-1,1]]}",
        "{\"text\":\"ab\",\"words\":[[0,1,1,9223372036854775807]]}",
        "{\"text\":\"ab\",\"words\":[[2,1,0,1]]}",
        "{\"text\":\"ab\",\"words\":[[-1,1,0,1]]}",
        "{\"text\":\"ab\",\"words\":[[0,86400001,0,1]]}",
        "{\"text\":\"ab\",\"words\":[[0,1.5,0,1]]}",
        "{\"text\":\"ab\",\"words\":[[0,1,0,2],[0,1,1,1]]}",
        "{\"text\":\"ab\",\"words\":[[5,6,0,1],[4,6,1,1]]}",
        "{\"text\":\"你\",\"words\":[[0,1,0,2]]}",
        "{\"text\":\"你\",\"words\":[[0,1,1,2]]}",
        "{\"text\":\"a\\u0000b\",\"words\":[]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kb_error err = {0};
        struct words w = {0};
        if (words_parse(&w, bad[i], &err) != KB_BAD_INPUT || w.text || w.list)
            fail_msg("%s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentences), cmocka_unit_test(test_long_sentences),
        cmocka_unit_test(test_splitting), cmocka_unit_test(test_json),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
