// Voices of services and programs: the file in which they stand, what each is asked, and what
// becomes of what they answer. tests/voices/service.mjs is the service.
#include "tests/media/make.h"
#include "tests/voices/service.h"

#include "base/file.h"
#include "media/pieces.h"
#include "media/sentences.h"
#include "voices/voices.h"

#include <math.h>

#define KEY "sk-secret-of-the-test"

static int setup(void **state)
{
    return make_setup(state) == 0 ? service_start() : -1;
}

static int teardown(void **state)
{
    service_stop();
    return make_teardown(state);
}

static json_t *make_voice(const char *json)
{
    CLEANUP(kb_freep) char *text = service_json(json);
    json_error_t where;
    json_t *ret = json_loads(text, 0, &where);
    if (!ret)
        fail_msg("%s: %s", text, where.text);
    return ret;
}

// Speak a text; the pieces stay in "pieces".
static enum kb_code recite(const json_t *voice, const char *text, const struct voice_wish *wish,
                           int64_t **ret_sizes, int *ret_n, struct kb_error *err)
{
    int fd = open(make_path("pieces"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    enum kb_code code = voice_recite(voice, text, wish, fd, ret_sizes, ret_n, err);
    close(fd);
    return code;
}

static const struct voice_wish quick = {.retry_ms = 1};

// --- what each service is asked

static void assert_json(const json_t *found, const char *wanted)
{
    json_auto_t *expected = make_voice(wanted);
    const char *name;
    json_t *value;
    json_object_foreach(expected, name, value)
    {
        const json_t *is = json_object_get(found, name);
        bool same = json_is_number(value)
                        ? fabs(json_number_value(is) - json_number_value(value)) < 1e-6
                        : json_equal(is, value);
        if (!same) {
            CLEANUP(kb_freep) char *dump = json_dumps(found, 0);
            fail_msg("%s in %s", name, dump);
        }
    }
}

static void test_services(void **state)
{
    static const struct {
        const char *voice, *path, *body;
        double speed;
    } cases[] = {
        {"{'name':'a','kind':'openai','url':'URL','key':'" KEY "','model':'m','voice':'nova',"
         "'options':{'instructions':'calm'}}",
         "/v1/audio/speech",
         "{'model':'m','input':'你好。','voice':'nova','response_format':'wav','speed':1.5,"
         "'instructions':'calm'}",
         1.5},
        {"{'name':'a','kind':'openai','url':'URL/v1/'}", "/v1/audio/speech",
         "{'model':'tts-1','voice':'alloy','speed':1}", 0},
        {"{'name':'d','kind':'duix','url':'URL','voice':'uuid-1','reference_audio':'/code/x.wav',"
         "'reference_text':'参考','options':{'topP':0.5}}",
         "/v1/invoke",
         "{'speaker':'uuid-1','text':'你好。','format':'wav','topP':0.5,'max_new_tokens':1024,"
         "'chunk_length':100,'repetition_penalty':1.2,'temperature':0.7,'need_asr':false,"
         "'streaming':false,'is_fixed_seed':0,'is_norm':0,'reference_audio':'/code/x.wav',"
         "'reference_text':'参考'}",
         0},
        {"{'name':'g','kind':'gpt-sovits','url':'URL','reference_audio':'ref.wav',"
         "'reference_text':'参考','options':{'top_k':5}}",
         "/tts",
         "{'text':'你好。','text_lang':'auto','ref_audio_path':'ref.wav','prompt_text':'参考',"
         "'prompt_lang':'zh','media_type':'wav','streaming_mode':false,'speed_factor':0.8,"
         "'top_k':5}",
         0.8},
        {"{'name':'c','kind':'cosyvoice','url':'URL','voice':'中文女','rate_hz':24000}",
         "/inference_sft", "{'tts_text':'你好。','spk_id':'中文女'}", 0},
        {"{'name':'c','kind':'cosyvoice','url':'URL','mode':'zero_shot','reference_text':'参考',"
         "'reference_file':'FILE'}",
         "/inference_zero_shot",
         "{'tts_text':'你好。','prompt_text':'参考','prompt_wav':'a recording'}", 0},
    };
    CLEANUP(kb_freep) char *file = kb_strdup(make_bytes("参考.wav", "a recording", 11));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        json_auto_t *voice = make_voice(cases[i].voice);
        CLEANUP(kb_freep) int64_t *sizes = NULL;
        int n = 0;
        if (json_object_get(voice, "reference_file"))
            json_object_set_new(voice, "reference_file", json_string(file));
        assert_ok(err, voice_check(voice, false, &err));
        const struct voice_wish wish = {.speed = cases[i].speed, .retry_ms = 1};
        assert_ok(err, recite(voice, "你好。", &wish, &sizes, &n, &err));
        assert_int_equal(n, 1);
        json_auto_t *asked = ask_service("last");
        assert_string_equal(voice_text(asked, "path"), cases[i].path);
        assert_json(json_object_get(asked, "body"), cases[i].body);
        const char *key = voice_text(json_object_get(asked, "headers"), "authorization");
        assert_string_equal(key, i == 0 ? "Bearer " KEY : "");
        // A sound file in any case: the tone of three letters, with its silence.
        size_t size;
        CLEANUP(kb_freep) char *bytes = load_bytes(make_path("pieces"), &size);
        assert_memory_equal(bytes, "RIFF", 4);
        assert_int_equal(size, sizes[0]);
        assert_int_equal(size, 44 + 2 * 24000 * (3 * 0.08 + 0.4));
    }
}

// Sentences are asked for one by one, become one speech with pauses, and each has its time.
static void test_a_speech(void **state)
{
    static const char text[] = "你好。今天天气很好！\nGood bye.";
    static const double lengths[] = {3 * 0.08, 7 * 0.08, 9 * 0.08}, pauses[] = {0.5, 1};
    struct kb_error err = {0};
    json_auto_t *voice = make_voice("{'name':'a','kind':'openai','url':'URL'}");
    CLEANUP(kb_freep) int64_t *sizes = NULL;
    int n = 0, before = service_number("count");
    assert_ok(err, recite(voice, text, &quick, &sizes, &n, &err));
    assert_int_equal(n, 3);
    assert_int_equal(service_number("count"), before + 3);
    for (int tempo = 1; tempo <= 2; tempo++) {
        CLEANUP(words_free) struct words words = {0};
        const struct pieces p = {
            make_path("pieces"), sizes, n, make_path("piece"), tempo, 500, NULL};
        const char *path = make_path("speech.wav");
        assert_ok(err, pieces_join(path, text, &p, &words, &err));
        assert_false(file_exists(p.scratch));
        assert_int_equal(words.n, 3);
        double at = 0;
        for (int i = 0; i < 3; i++) {
            const struct word *w = &words.list[i];
            double from = (double)w->begin_us / 1e6, to = (double)w->end_us / 1e6;
            double length = lengths[i] / tempo + 0.04; // 20 ms of silence stay at both ends
            if (fabs(from - at) > 0.05 || fabs(to - from - length) > 0.06)
                fail_msg("sentence %d at %g to %g s, tempo %d", i, from, to, tempo);
            at = to + (i < 2 ? pauses[i] - 0.04 : 0);
        }
        assert_memory_equal(text + words.list[1].first, "今天天气很好！", words.list[1].n);
        CLEANUP(kb_freep) char *rate = probe(path, "a", "stream=sample_rate");
        assert_int_equal(atoi(rate), 24000);
    }
}

// --- what goes wrong

static void test_misbehaving(void **state)
{
    static const struct {
        const char *text, *says;
        enum kb_code code;
        int asked;
    } cases[] = {
        {"refuse", "answered 400: no: Bearer *****", KB_UNAVAILABLE, 1},
        {"code", "answered no sound: speaker not found", KB_UNAVAILABLE, 1},
        {"broken", "answered 500: <h1>Internal Error</h1>", KB_UNAVAILABLE, 3},
        {"moved", "answered 302", KB_UNAVAILABLE, 1},
        {"slow", "cannot be asked at http://127.0.0.1", KB_UNAVAILABLE, 1},
        {"cut", "cannot be asked", KB_UNAVAILABLE, 3},
        {"endless", "more than 64 MB", KB_BAD_INPUT, 1},
        {" \n。", "no text", KB_BAD_INPUT, 0},
    };
    json_auto_t *voice =
        make_voice("{'name':'a','kind':'openai','url':'URL','key':'" KEY "','timeout_s':1}");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(kb_freep) int64_t *sizes = NULL;
        int n = 0, before = service_number("count");
        if (strcmp(cases[i].text, "endless") == 0)
            json_object_set_new(voice, "timeout_s", json_integer(60));
        assert_fails(err, cases[i].code, cases[i].says,
                     recite(voice, cases[i].text, &quick, &sizes, &n, &err));
        assert_null(strstr(err.text, KEY));
        assert_null(strstr(err.kept, KEY));
        assert_int_equal(service_number("count"), before + cases[i].asked);
    }
    // What fails once is asked again.
    struct kb_error err = {0};
    CLEANUP(kb_freep) int64_t *sizes = NULL;
    int n = 0, before = service_number("count");
    assert_ok(err, recite(voice, "once", &quick, &sizes, &n, &err));
    assert_int_equal(service_number("count"), before + 2);
    // Nobody is there.
    json_object_set_new(voice, "url", json_string("http://127.0.0.1:1"));
    assert_fails(err, KB_UNAVAILABLE, "does its service run",
                 recite(voice, "hello", &quick, &sizes, &n, &err));
}

// An answer that is no sound is found out where it is read.
static void test_noise(void **state)
{
    struct kb_error err = {0};
    json_auto_t *voice = make_voice("{'name':'a','kind':'openai','url':'URL'}");
    CLEANUP(kb_freep) int64_t *sizes = NULL;
    int n = 0;
    assert_ok(err, recite(voice, "Hello. This is noise.", &quick, &sizes, &n, &err));
    struct pieces p = {make_path("pieces"), sizes, n, make_path("piece"), 1, 500, NULL};
    assert_fails(err, KB_BAD_INPUT, "'This is noise.'",
                 pieces_join(make_path("noise.wav"), "Hello. This is noise.", &p, NULL, &err));
    assert_false(file_exists(make_path("noise.wav")));
    assert_false(file_exists(p.scratch));
    err = (struct kb_error){0};
    sizes[1] = 1 << 30; // more than there is
    assert_fails(err, KB_INTERNAL, "not whole",
                 pieces_join(make_path("noise.wav"), "Hello. This is noise.", &p, NULL, &err));
}

// What came over the network goes only where the server's guard lets it.
static void test_guard(void **state)
{
    const struct guard strict = {0};
    const struct voice_wish wish = {.guard = &strict, .retry_ms = 1};
    struct kb_error err = {0};
    json_auto_t *voice = make_voice("{'name':'a','kind':'openai','url':'URL'}");
    CLEANUP(kb_freep) int64_t *sizes = NULL, *more = NULL;
    int n = 0, before = service_number("count");
    assert_ok(err, recite(voice, "hello", &wish, &sizes, &n, &err)); // the owner's file says so
    assert_ok(err, voice_check(voice, true, &err));
    assert_fails(err, KB_BAD_INPUT, "127.0.0.1", recite(voice, "hello", &wish, &more, &n, &err));
    assert_int_equal(service_number("count"), before + 1);
    json_auto_t *metadata =
        make_voice("{'name':'a','kind':'openai','url':'http://169.254.169.254'}");
    assert_fails(err, KB_BAD_INPUT, "169.254.169.254",
                 recite(metadata, "hello", &quick, &more, &n, &err));
}

// --- programs

static void test_programs(void **state)
{
    static const struct {
        const char *command, *says;
        enum kb_code code;
    } cases[] = {
        {"['cp','SOUND','{out}']", NULL, KB_OK},
        {"['cat','SOUND']", NULL, KB_OK},
        {"['sh','-c','test $(wc -c <\"$1\") = 24 && test \"$2\" = 1.25 "
         "&& cat \"$3\"','x','{text_file}','{speed}','SOUND']",
         NULL, KB_OK},
        {"['sh','-c','echo bad key >&2; exit 3']", "failed (3): bad key", KB_UNAVAILABLE},
        {"['no-such-program-here']", "cannot be started", KB_UNAVAILABLE},
        {"['true']", "wrote no sound", KB_UNAVAILABLE},
        {"['true','{out}']", "wrote no sound", KB_UNAVAILABLE},
        {"['ln','-s','/etc/passwd','{out}']", "wrote no sound", KB_UNAVAILABLE},
        {"['sh','-c','sleep 60 & sleep 60']", "did not end in 1 seconds", KB_UNAVAILABLE},
        {"['sh','-c','yes']", "more than 64 MB", KB_BAD_INPUT},
    };
    CLEANUP(kb_freep)
    char *sound = kb_strdup(make_file("sound.wav", "-f lavfi -i sine=d=0.3"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(kb_freep)
        char *json = kb_printf("{'name':'p','kind':'command','timeout_s':%d}", i == 8 ? 1 : 60);
        json_auto_t *voice = make_voice(json);
        CLEANUP(text_free) struct text words = {0};
        for (const char *c = cases[i].command; *c; c++) {
            if (strncmp(c, "SOUND", 5) == 0) {
                text_add(&words, sound);
                c += 4;
            } else if (*c == '"') {
                text_add(&words, "\\\"");
            } else {
                text_add_bytes(&words, *c == '\'' ? "\"" : c, 1);
            }
        }
        json_object_set_new(voice, "command", json_loads(text_get(&words), 0, NULL));
        assert_ok(err, voice_check(voice, false, &err));
        CLEANUP(kb_freep) int64_t *sizes = NULL;
        int n = 0;
        const struct voice_wish wish = {.speed = 1.25};
        const char *text = i == 2 ? "it is $(id); {speed} `x`" : "hello";
        enum kb_code code = recite(voice, text, &wish, &sizes, &n, &err);
        if (code != cases[i].code || (cases[i].says && !strstr(err.text, cases[i].says)))
            fail_msg("%s: %s", cases[i].command, err.text);
        if (code == KB_OK) {
            size_t size, same;
            CLEANUP(kb_freep) char *bytes = load_bytes(make_path("pieces"), &size);
            CLEANUP(kb_freep) char *wanted = load_bytes(sound, &same);
            assert_int_equal(size, same);
            assert_memory_equal(bytes, wanted, size);
        }
        assert_int_equal(voice_has_speed(voice), i == 2);
    }
}

// --- the file

static void test_file(void **state)
{
    struct kb_error err = {0};
    json_auto_t *list = NULL, *again = NULL;
    const char *path = make_path("config/voices.json");
    assert_ok(err, voices_load(&list, path, &err)); // there is none yet
    assert_int_equal(json_array_size(list), 0);
    json_auto_t *voice = make_voice("{'name':'a','kind':'openai','url':'URL','key':'" KEY "'}");
    assert_ok(err, voices_put(list, voice, &err));
    assert_ok(err, voices_put(list, voice, &err)); // in the place of itself
    assert_ok(err, voices_save(list, path, &err));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_ok(err, voices_load(&again, path, &err));
    assert_true(json_equal(list, again));
    json_auto_t *shown = voice_shown(voices_find(again, "a"));
    assert_string_equal(voice_text(shown, "key"), "********");
    assert_ok(err, voice_fill_key(shown, voices_find(again, "a"), &err));
    assert_string_equal(voice_text(shown, "key"), KEY);
    json_object_set_new(shown, "key", json_string("********"));
    json_object_set_new(shown, "url", json_string("http://evil.example"));
    assert_fails(err, KB_BAD_INPUT, "give its key again",
                 voice_fill_key(shown, voices_find(again, "a"), &err));
    assert_true(voices_remove(again, "a"));
    assert_false(voices_remove(again, "a"));
    assert_int_equal(chmod(path, 0640), 0);
    json_auto_t *open = NULL;
    err = (struct kb_error){0};
    assert_fails(err, KB_BAD_INPUT, "chmod 600", voices_load(&open, path, &err));
}

// Whatever is called as secrets are is seen by nobody, comes back with its stars and is starred in
// what a service says.
static void test_secrets(void **state)
{
    struct kb_error err = {0};
    json_auto_t *voice = make_voice(
        "{'name':'a','kind':'openai','url':'URL','options':{'api_key':'sk-1','X-Auth-Token':'t-2',"
        "'secrets':['s-3','s-4'],'Authorization':'Bearer a-5','top_k':5,'max_tokens':100,"
        "'style':'calm','keyword':'plain','token':123456,'headers':[{'X-Api-Key':'h-6','n':7},"
        "'plain'],'cookies':[['c-7',8]]}}");
    json_auto_t *program =
        make_voice("{'name':'p','kind':'command','command':['env','TOKEN=t-6','say','--api-key',"
                   "'k-7','--key=k-8','-H','Authorization: Bearer b-9','{text_file}','out=x',"
                   "'--header=Authorization: Bearer b-1','https://host:8080/tts?a=b&api_key=k-2',"
                   "'https://host:8080/tts?a=b']}");
    assert_ok(err, voice_check(voice, false, &err));
    assert_ok(err, voice_check(program, false, &err));
    json_auto_t *shown = voice_shown(voice), *wanted = json_deep_copy(voice);
    json_t *o = json_object_get(wanted, "options");
    json_object_set_new(o, "api_key", json_string("********"));
    json_object_set_new(o, "X-Auth-Token", json_string("********"));
    json_object_set_new(o, "Authorization", json_string("********"));
    json_object_set_new(o, "secrets", json_pack("[s, s]", "********", "********"));
    json_object_set_new(o, "token", json_string("********"));
    json_object_set_new(o, "headers",
                        json_pack("[{s:s, s:i}, s]", "X-Api-Key", "********", "n", 7, "plain"));
    json_object_set_new(o, "cookies", json_pack("[[s, s]]", "********", "********"));
    assert_true(json_equal(shown, wanted));
    json_auto_t *seen = voice_shown(program);
    json_auto_t *arguments =
        json_pack("[s, s, s, s, s, s, s, s, s, s, s, s, s]", "env", "TOKEN=********", "say",
                  "--api-key", "********", "--key=********", "-H", "Authorization: ********",
                  "{text_file}", "out=x", "--header=Authorization: ********",
                  "https://host:8080/tts?a=b&api_key=********", "https://host:8080/tts?a=b");
    CLEANUP(kb_freep) char *as = json_dumps(json_object_get(seen, "command"), 0);
    CLEANUP(kb_freep) char *be = json_dumps(arguments, 0);
    assert_string_equal(as, be);

    assert_ok(err, voice_fill_key(shown, voice, &err));
    assert_true(json_equal(shown, voice));
    json_auto_t *led_away = voice_shown(voice);
    json_object_set_new(led_away, "url", json_string("http://evil.example"));
    assert_fails(err, KB_BAD_INPUT, "give its key again", voice_fill_key(led_away, voice, &err));
    // Stars for what was never kept: under another name, or in an option of another one.
    assert_fails(err, KB_BAD_INPUT, "none is kept", voice_fill_key(wanted, NULL, &err));
    json_auto_t *renamed = voice_shown(voice);
    json_object_set_new(json_object_get(renamed, "options"), "apikey", json_string("********"));
    assert_fails(err, KB_BAD_INPUT, "none is kept", voice_fill_key(renamed, voice, &err));

    // The program says what it was started with.
    json_object_set_new(program, "command",
                        json_pack("[s, s, s, s, s]", "sh", "-c", "echo \"no: $2 $1\" >&2; exit 1",
                                  "--token", "tell-tale"));
    CLEANUP(kb_freep) int64_t *sizes = NULL;
    int n = 0;
    err = (struct kb_error){0};
    assert_fails(err, KB_UNAVAILABLE, "no:  *********",
                 recite(program, "hello", &quick, &sizes, &n, &err));
}

// What a program starts ends with it, whether it holds the program's output or not.
static void test_children(void **state)
{
    CLEANUP(kb_freep) char *sound = kb_strdup(make_file("sound.wav", "-f lavfi -i sine=d=0.3"));
    for (int quiet = 0; quiet < 2; quiet++) {
        struct kb_error err = {0};
        CLEANUP(kb_freep) int64_t *sizes = NULL;
        CLEANUP(kb_freep) char *number = kb_strdup(make_path("number"));
        CLEANUP(kb_freep)
        char *script = kb_printf("sleep 600 %s& echo $! >'%s'; cat '%s'",
                                 quiet ? ">/dev/null 2>&1 " : "", number, sound);
        json_auto_t *voice = json_pack("{s:s, s:s, s:[s, s, s]}", "name", "p", "kind", "command",
                                       "command", "sh", "-c", script);
        int n = 0;
        assert_ok(err, recite(voice, "hello", &quick, &sizes, &n, &err));
        size_t size;
        CLEANUP(kb_freep) char *text = load_bytes(number, &size);
        pid_t pid = atoi(text);
        assert_true(pid > 1);
        // Nobody may have waited for it yet: a zombie has no command line.
        CLEANUP(kb_freep) char *path = kb_printf("/proc/%d/cmdline", (int)pid);
        bool alive = true;
        for (int i = 0; alive && i < 1000; i++) {
            char command[8] = "";
            FILE *f = fopen(path, "re");
            alive = f && fread(command, 1, sizeof(command) - 1, f) > 0;
            if (f)
                fclose(f);
            usleep(10000);
        }
        assert_false(alive);
    }
}

static void test_refuses(void **state)
{
    static const struct {
        const char *voice, *says;
        bool by_page;
    } cases[] = {
        {"{'name':'a b','kind':'openai','url':'URL'}", "a-z", false},
        {"{'name':'','kind':'openai','url':'URL'}", "a-z", false},
        {"{'name':'a','kind':'other','url':'URL'}", "openai, duix", false},
        {"{'name':'a','kind':'openai'}", "needs \"url\"", false},
        {"{'name':'a','kind':'openai','url':'ftp://x'}", "must be like", false},
        {"{'name':'a','kind':'openai','url':'http://u:p@x'}", "must be like", false},
        {"{'name':'a','kind':'openai','url':'http://x?key=1'}", "must be like", false},
        {"{'name':'a','kind':'openai','url':'URL','command':['x']}", "has no \"command\"", false},
        {"{'name':'a','kind':'openai','url':'URL','key':'a\\nb'}", "cannot have", false},
        {"{'name':'a','kind':'openai','url':'URL','options':{'a':{'b':1}}}", "cannot have", false},
        {"{'name':'a','kind':'openai','url':'URL','timeout_s':9999}", "from 1 to 600", false},
        {"{'name':'a','kind':'gpt-sovits','url':'URL'}", "needs \"reference_audio\"", false},
        {"{'name':'a','kind':'cosyvoice','url':'URL'}", "needs \"voice\"", false},
        {"{'name':'a','kind':'cosyvoice','url':'URL','mode':'x'}", "zero_shot", false},
        {"{'name':'a','kind':'command','command':[]}", "needs \"command\"", false},
        {"{'name':'a','kind':'command','command':['x']}", "at the machine itself", true},
        {"{'name':'a','kind':'cosyvoice','url':'URL','mode':'zero_shot','reference_file':'/etc/x'}",
         "at the machine itself", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        json_auto_t *voice = make_voice(cases[i].voice);
        if (voice_check(voice, cases[i].by_page, &err) != KB_BAD_INPUT ||
            !strstr(err.text, cases[i].says))
            fail_msg("%s: %s", cases[i].voice, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_services),    cmocka_unit_test(test_a_speech),
        cmocka_unit_test(test_misbehaving), cmocka_unit_test(test_noise),
        cmocka_unit_test(test_guard),       cmocka_unit_test(test_programs),
        cmocka_unit_test(test_file),        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_secrets),     cmocka_unit_test(test_children),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
