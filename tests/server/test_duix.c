// The Duix engine's API.
#include "tests/server/live.h"

#include "base/file.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "server/duix/codes.h"
#include "server/errand.h"
#include "store/sql.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct easy_state {
    struct live live;
    char share[64];
    struct source *source;
    int port;
};

static const char *in_share(struct easy_state *e, const char *name)
{
    static char paths[4][300];
    static int next;
    char *ret = paths[next++ % 4];
    snprintf(ret, sizeof(paths[0]), "%s/%s", e->share, name);
    return ret;
}

static void write_file(const char *path, const char *content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
}

static struct server_params easy_params(struct easy_state *e)
{
    return (struct server_params){.share = e->share, .defaults = "{\"ai_producer\":\"X1\"}"};
}

static int start(void **state)
{
    struct easy_state *e = kb_alloc(sizeof(*e));
    e->source = source_start(&e->port);
    site_open(&e->live.site);
    snprintf(e->share, sizeof(e->share), "%.40s/share", e->live.site.folder);
    assert_int_equal(mkdir(e->share, 0755), 0);
    assert_int_equal(mkdir(in_share(e, "temp"), 0755), 0);
    write_file(in_share(e, "temp/speech.wav"), "RIFF....WAVE speech");
    write_file(in_share(e, "person.mp4"), "....ftyp person");
    struct server_params p = easy_params(e);
    live_restart(&e->live, &p);
    *state = e;
    return 0;
}

static int stop(void **state)
{
    struct easy_state *e = *state;
    live_stop(&e->live);
    source_stop(&e->source);
    free(e);
    return 0;
}

// Submit; code and a part of msg of the answer. pn < 0: not sent.
static void submit(struct easy_state *e, const char *audio, const char *video, const char *code,
                   int pn, int wanted, const char *part)
{
    json_t *body = json_pack("{s:s?, s:s?, s:s?, s:i, s:i}", "audio_url", audio, "video_url", video,
                             "code", code, "chaofen", 0, "watermark_switch", 0);
    if (pn >= 0)
        json_object_set_new(body, "pn", json_integer(pn));
    CLEANUP(kb_freep) char *json = json_dumps(body, 0);
    json_decref(body);
    json_t *answer = live_ask(&e->live, 200, "POST", "/easy/submit", json);
    if (number_at(answer, "code") != wanted || !strstr(text_at(answer, "msg"), part))
        fail_msg("%s: %lld '%s', wanted %d '%s'", json, (long long)number_at(answer, "code"),
                 text_at(answer, "msg"), wanted, part);
    assert_true(json_is_boolean(json_object_get(answer, "success")));
    assert_int_equal(json_is_true(json_object_get(answer, "success")), wanted == 10000);
    assert_true(json_is_object(json_object_get(answer, "data")));
    json_decref(answer);
}

static json_t *query(struct easy_state *e, const char *code, int wanted)
{
    char address[200];
    snprintf(address, sizeof(address), "/easy/query?code=%s", code);
    json_t *answer = live_ask(&e->live, 200, "GET", address, NULL);
    assert_int_equal(number_at(answer, "code"), wanted);
    return answer;
}

static void assert_task(struct easy_state *e, const char *code, int status, int low, int high)
{
    json_t *a = query(e, code, 10000);
    assert_int_equal(number_at(a, "data.status"), status);
    assert_in_range(number_at(a, "data.progress"), low, high);
    assert_true(strlen(text_at(a, "data.msg")) > 0);
    json_decref(a);
}

// --- what is refused

static void missing_fields(void **state)
{
    struct easy_state *e = *state;
    submit(e, NULL, "person.mp4", "a", 1, 10002, "audio_url参数缺失");
    submit(e, "speech.wav", NULL, "a", 1, 10002, "video_url参数缺失");
    submit(e, "speech.wav", "person.mp4", NULL, 1, 10002, "code参数缺失");
    submit(e, "speech.wav", "person.mp4", "", 1, 10002, "code参数缺失");
    json_t *a = live_ask(&e->live, 200, "POST", "/easy/submit", "not json");
    assert_int_equal(number_at(a, "code"), 10002);
    json_decref(a);
    a = live_ask(&e->live, 200, "GET", "/easy/query", NULL);
    assert_int_equal(number_at(a, "code"), 10002);
    json_decref(a);
    json_decref(query(e, "never", 10004));
    char code[70];
    memset(code, 'a', 65);
    code[65] = '\0';
    submit(e, "speech.wav", "person.mp4", code, 1, 10002, "64");
    submit(e, "speech.wav", "person.mp4", "a\nb", 1, 10002, "control");
}

static void nothing_outside_the_share(void **state)
{
    struct easy_state *e = *state;
    char secret[200], long_name[3000];
    snprintf(secret, sizeof(secret), "%s/secret.wav", e->live.site.folder);
    write_file(secret, "RIFF secret");
    assert_int_equal(symlink(secret, in_share(e, "temp/link.wav")), 0);
    assert_int_equal(symlink("..", in_share(e, "temp/up")), 0);
    assert_int_equal(mkfifo(in_share(e, "temp/pipe"), 0644), 0);
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    const char *const names[] = {
        "../secret.wav",
        "../../secret.wav",
        "/code/data/../secret.wav",
        secret,
        "link.wav",
        "/code/data/temp/link.wav",
        "up/../../secret.wav",
        "/etc/passwd",
        "/proc/self/environ",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "temp/..",
        ".",
        "/",
        "pipe",
        "temp",
        long_name,
        "/code/data/temp/",
        "speech.wav/x",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        submit(e, names[i], "person.mp4", "out", 1, 10002, "audio_url");
        submit(e, "speech.wav", names[i], "out", 1, 10002, "video_url");
    }
    json_decref(query(e, "out", 10004));
    live_restart(&e->live, &(struct server_params){0});
    submit(e, "speech.wav", "person.mp4", "out", 1, 10002, "--share");
}

// What programs on other machines send for a file: the answer names what works.
// What lies in the share and is no media, is not given away.
static void only_media_of_the_share(void **state)
{
    struct easy_state *e = *state;
    static const struct {
        const char *name, *content;
    } files[] = {
        {".env", "KOUBO_TOKEN=4f5f6bd1a7b1c3e0\n"},
        {"temp/key.wav", "-----BEGIN OPENSSH PRIVATE KEY-----\n"},
        {"person2.mp4", "SQLite format 3"},
        {"list.m3u8", "#EXTM3U\nfile:///etc/passwd\n"},
        {"empty.wav", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        write_file(in_share(e, files[i].name), files[i].content);
        submit(e, files[i].name, "person.mp4", "no", 1, 10002, "audio_url");
        submit(e, "speech.wav", files[i].name, "no", 1, 10002, "no sound, video or picture");
    }
    json_t *assets = live_ask(&e->live, 200, "GET", "/api/v1/assets", NULL);
    assert_int_equal(number_at(assets, "total"), 0);
    json_decref(assets);
    assert_int_equal(site_count_files(&e->live.site, "files"), 0);
}

static void paths_of_other_machines(void **state)
{
    static const struct {
        const char *name, *says;
    } table[] = {
        {"file:///code/data/temp/speech.wav", "its name, 'speech.wav'"},
        {"FILE://C:/data/a%20b.wav", "its name, 'a%20b.wav'"},
        {"D:\\face2face\\temp\\speech.wav", "its name, 'speech.wav'"},
        {"d:/face2face/temp/数字人.wav", "its name, '数字人.wav'"},
        {"temp\\speech.wav", "its name, 'speech.wav'"},
        {"\\\\server\\share\\speech.wav", "its name, 'speech.wav'"},
        {"C:\\", "its name, 'person.mp4'"},
    };
    struct easy_state *e = *state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        submit(e, table[i].name, "person.mp4", "other", 1, 10002, table[i].says);
        submit(e, "speech.wav", table[i].name, "other", 1, 10002, "http(s) address");
        submit(e, "speech.wav", table[i].name, "other", 1, 10002, "video_url");
    }
    json_decref(query(e, "other", 10004));
    // On this system a backslash may be a letter of a name.
    write_file(in_share(e, "temp/a\\b.wav"), "RIFF....WAVE speech");
    submit(e, "a\\b.wav", "person.mp4", "letter", 1, 10000, "");
}

static void submit_numbered(struct easy_state *e, const char *code, int wanted, const char *part)
{
    CLEANUP(kb_freep)
    char *json =
        kb_printf("{\"audio_url\":\"speech.wav\",\"video_url\":\"person.mp4\",\"code\":%s}", code);
    json_t *answer = live_ask(&e->live, 200, "POST", "/easy/submit", json);
    assert_int_equal(number_at(answer, "code"), wanted);
    assert_non_null(strstr(text_at(answer, "msg"), part));
    json_decref(answer);
}

static void a_code_may_be_a_number(void **state)
{
    struct easy_state *e = *state;
    submit_numbered(e, "42", 10000, "");
    json_t *a = query(e, "42", 10000);
    assert_string_equal(text_at(a, "data.code"), "42");
    json_decref(a);
    submit_numbered(e, "42.0", 10001, "42"); // the same one
    submit_numbered(e, "\"42\"", 10001, "42");
    submit_numbered(e, "0", 10000, "");
    submit_numbered(e, "-7", 10000, "");
    submit_numbered(e, "1764230400123456789", 10000, "");
    json_decref(query(e, "1764230400123456789", 10000));
    static const char *const wrong[] = {"4.2", "1e300", "true", "[1]", "{}"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        submit_numbered(e, wrong[i], 10002, "whole number");
    submit_numbered(e, "null", 10002, "code参数缺失");
}

// --- a task's life

static void claim(struct easy_state *e, struct job_claim *ret)
{
    struct kb_error err = {0};
    assert_ok(err, job_claim(e->live.site.store, "w1", 0, ret, &err));
}

static void finish(struct easy_state *e, struct job_claim *c, const char *content)
{
    struct kb_error err = {0};
    struct dub_result result = {
        .frames = 50, .frames_animated = 50, .seconds = 2.0, .width = 320, .height = 240};
    write_file(c->output, content);
    assert_ok(err, job_done(e->live.site.store, c, &result, false, NULL, &err));
    job_claim_free(c);
}

struct delivery {
    const char *path, *content;
};

static bool is_delivered(void *opaque)
{
    struct delivery *d = opaque;
    char content[100] = "";
    int fd = open(d->path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, content, sizeof(content) - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 && strcmp(content, d->content) == 0;
}

static void a_task_from_submit_to_file(void **state)
{
    struct easy_state *e = *state;
    struct kb_error err = {0};
    struct job_claim c = {0};
    submit(e, "speech.wav", "/code/data/person.mp4", "task-1", 1, 10000, "");
    assert_task(e, "task-1", 1, 0, 0);
    submit(e, "speech.wav", "person.mp4", "task-1", 1, 10001, "task-1");

    json_t *b = live_ask(&e->live, 200, "GET", "/api/v1/batches", NULL);
    assert_string_equal(text_at(b, "items.0.name"), "task-1");
    assert_string_equal(text_at(b, "items.0.options.loop"), "pingpong");
    assert_null(json_object_get(
        json_object_get(json_array_get(json_object_get(b, "items"), 0), "options"), "ai_label"));
    assert_string_equal(text_at(b, "items.0.audio.name"), "speech.wav");
    json_decref(b);

    claim(e, &c);
    assert_string_equal(c.video_name, "person.mp4");
    bool cancel;
    struct job_report report = {.stage = STAGE_GENERATING, .done = 25, .total = 50, .fps = 10};
    assert_ok(err, job_report(e->live.site.store, &c, &report, &cancel, &err));
    assert_task(e, "task-1", 1, 10, 99);
    finish(e, &c, "first result");
    for (int i = 0; i < 3; i++) {
        json_t *a = query(e, "task-1", 10000);
        assert_int_equal(number_at(a, "data.status"), 2);
        assert_int_equal(number_at(a, "data.progress"), 100);
        assert_string_equal(text_at(a, "data.result"), "/task-1-r.mp4");
        assert_int_equal(number_at(a, "data.video_duration"), 2000);
        assert_int_equal(number_at(a, "data.width"), 320);
        assert_int_equal(number_at(a, "data.height"), 240);
        json_decref(a);
    }
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&e->live.site, &r, "GET", "/easy/download/task-1-r.mp4", NULL, NULL, 0);
    assert_status(&r, 200);
    assert_string_equal(r.body, "first result");
    struct delivery d = {in_share(e, "temp/task-1-r.mp4"), "first result"};
    assert_true(site_wait(is_delivered, &d));

    // A finished code may be used again; its new result takes the place of the old.
    submit(e, "speech.wav", "person.mp4", "task-1", 0, 10000, "");
    claim(e, &c);
    assert_non_null(strstr(c.options, "restart"));
    finish(e, &c, "second result");
    d.content = "second result";
    assert_true(site_wait(is_delivered, &d));

    // And all of it is known after a restart.
    struct server_params p = easy_params(e);
    live_restart(&e->live, &p);
    assert_task(e, "task-1", 2, 100, 100);
    assert_int_equal(access(in_share(e, "temp/task-1-r.mp4.part"), F_OK), -1);
}

// Whatever bytes a sentence holds, the answer is whole.
static void half_letters_in_a_sentence(void **state)
{
    struct easy_state *e = *state;
    struct kb_error err = {0};
    struct job_claim c = {0};
    submit(e, "speech.wav", "person.mp4", "half", 1, 10000, "");
    claim(e, &c);
    assert_ok(err, job_failed(e->live.site.store, &c,
                              &(struct kb_error){.code = KB_BAD_INPUT, .text = "x"}, &err));
    assert_ok(err,
              store_exec(e->live.site.store, NULL, &err,
                         "UPDATE job SET error = CAST(x'e696e58f74686520656e64' AS TEXT)", ""));
    job_claim_free(&c);
    json_t *a = query(e, "half", 10000);
    assert_int_equal(number_at(a, "data.status"), 3);
    assert_non_null(strstr(text_at(a, "data.msg"), "the end"));
    json_decref(a);
    assert_ok(err,
              store_exec(e->live.site.store, NULL, &err,
                         "UPDATE easy SET job = NULL, error = CAST(x'e696746865' AS TEXT)", ""));
    a = query(e, "half", 10000);
    assert_non_null(strstr(text_at(a, "data.msg"), "the"));
    json_decref(a);
}

// A webhook that takes a message and says nothing for 15 s: the result is in the share at once.
static void a_silent_webhook_holds_no_result_back(void **state)
{
    struct easy_state *e = *state;
    struct job_claim c = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(address);
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(silent, (struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(silent, 8), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&address, &n), 0);
    CLEANUP(kb_freep)
    char *json =
        kb_printf("{\"webhook\":{\"url\":\"http://127.0.0.1:%d/\"}}", ntohs(address.sin_port));
    json_decref(live_ask(&e->live, 200, "PUT", "/api/v1/settings/notify", json));
    submit(e, "speech.wav", "person.mp4", "first", 1, 10000, "");
    claim(e, &c);
    finish(e, &c, "the first"); // its message is under way from now on
    struct pollfd p = {.fd = silent, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 30000), 1);
    submit(e, "speech.wav", "person.mp4", "second", 1, 10000, "");
    claim(e, &c);
    finish(e, &c, "the second");
    struct delivery d = {in_share(e, "temp/second-r.mp4"), "the second"};
    assert_true(site_wait(is_delivered, &d));
    close(silent);
}

// What a client does to a delivered file does nothing to the result; a link that it puts where temp
// was is not followed, and when it is gone the result is there.
static void what_is_delivered_is_a_copy(void **state)
{
    struct easy_state *e = *state;
    struct job_claim c = {0};
    char elsewhere[300];
    submit(e, "speech.wav", "person.mp4", "copy", 1, 10000, "");
    claim(e, &c);
    finish(e, &c, "the result");
    struct delivery d = {in_share(e, "temp/copy-r.mp4"), "the result"};
    assert_true(site_wait(is_delivered, &d));
    write_file(in_share(e, "temp/copy-r.mp4"), "changed by a client");
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&e->live.site, &r, "GET", "/easy/download/copy-r.mp4", NULL, NULL, 0);
    assert_string_equal(r.body, "the result");

    submit(e, "speech.wav", "person.mp4", "linked", 1, 10000, "");
    claim(e, &c);
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", e->live.site.folder);
    assert_int_equal(rename(in_share(e, "temp"), elsewhere), 0);
    assert_int_equal(symlink(elsewhere, in_share(e, "temp")), 0);
    finish(e, &c, "the result");
    usleep(600000); // it is tried, and not given up
    CLEANUP(kb_freep) char *there = kb_printf("%s/linked-r.mp4", elsewhere);
    assert_int_equal(access(there, F_OK), -1);
    assert_int_equal(unlink(in_share(e, "temp")), 0);
    d = (struct delivery){in_share(e, "temp/linked-r.mp4"), "the result"};
    assert_true(site_wait(is_delivered, &d));
}

static void a_failed_task_says_why(void **state)
{
    struct easy_state *e = *state;
    struct kb_error err = {0}, why = {.code = KB_BAD_INPUT, .text = "no face was found"};
    struct job_claim c = {0};
    submit(e, "temp/speech.wav", "person.mp4", "task-2", -1, 10000, "");
    claim(e, &c);
    assert_ok(err, job_failed(e->live.site.store, &c, &why, &err));
    for (int i = 0; i < 2; i++) {
        json_t *a = query(e, "task-2", 10000);
        assert_int_equal(number_at(a, "data.status"), 3);
        assert_non_null(strstr(text_at(a, "data.msg"), "no face was found"));
        json_decref(a);
    }
    live_refuses(&e->live, 404, "not_found", "", "GET", "/easy/download/task-2-r.mp4", NULL);
    live_refuses(&e->live, 404, "not_found", "", "GET", "/easy/download/other.mp4", NULL);
    live_ask(&e->live, 204, "DELETE", "/api/v1/batches/1", NULL);
    assert_task(e, "task-2", 3, 100, 100);
    job_claim_free(&c);
}

static void forms_and_addresses(void **state)
{
    struct easy_state *e = *state;
    struct job_claim c = {0};
    char body[300];
    snprintf(
        body, sizeof(body),
        "audio_url=http%%3A%%2F%%2F127.0.0.1%%3A%d%%2Ffile.wav&video_url=person.mp4&code=form+1"
        "&pn=0&digital_auth=1",
        e->port);
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&e->live.site, &r, "POST", "/easy/submit",
             "Content-Type: application/x-www-form-urlencoded\r\n", body, strlen(body));
    assert_status(&r, 200);
    json_t *a = reply_object(&r);
    assert_int_equal(number_at(a, "code"), 10000);
    json_decref(a);
    json_t *b = live_ask(&e->live, 200, "GET", "/api/v1/batches", NULL);
    assert_string_equal(text_at(b, "items.0.options.loop"), "restart");
    assert_string_equal(text_at(b, "items.0.options.ai_label"), "corner");
    assert_string_equal(text_at(b, "items.0.options.ai_producer"), "X1"); // the server's
    json_decref(b);
    struct kb_error err = {0};
    for (int i = 0; i < 500; i++) { // until it was downloaded
        if (job_claim(e->live.site.store, "w1", 0, &c, &err) == KB_OK)
            break;
        usleep(10000);
    }
    assert_true(c.job > 0);
    finish(e, &c, "of a form");
    json_t *done = query(e, "form%201", 10000);
    assert_string_equal(text_at(done, "data.result"), "/form%201-r.mp4");
    json_decref(done);
    static const char *const names[] = {"/easy/download/form%201-r.mp4",
                                        "/easy/download/form%25201-r.mp4"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(reply_clear) struct reply file = {0};
        site_ask(&e->live.site, &file, "GET", names[i], NULL, NULL, 0);
        assert_status(&file, 200);
        assert_string_equal(file.body, "of a form");
    }
    struct delivery d = {in_share(e, "temp/form%201-r.mp4"), "of a form"};
    assert_true(site_wait(is_delivered, &d));
}

static void a_code_is_never_a_path(void **state)
{
    struct easy_state *e = *state;
    struct job_claim c = {0};
    submit(e, "speech.wav", "person.mp4", "../../etc/x", 1, 10000, "");
    claim(e, &c);
    finish(e, &c, "dots");
    struct delivery d = {in_share(e, "temp/%2E%2E%2F%2E%2E%2Fetc%2Fx-r.mp4"), "dots"};
    assert_true(site_wait(is_delivered, &d));
    submit(e, "speech.wav", "person.mp4", "数字人", 1, 10000, "");
    claim(e, &c);
    finish(e, &c, "letters");
    d = (struct delivery){in_share(e, "temp/%E6%95%B0%E5%AD%97%E4%BA%BA-r.mp4"), "letters"};
    assert_true(site_wait(is_delivered, &d));
}

// A code that cannot be worked on is not begun, or it would be "queued" until the next start.
static void no_place_for_an_errand(void **state)
{
    struct easy_state *e = *state;
    struct errands *errands = e->live.app->errands;
    struct errand *entered[100];
    int n = 0;
    while (n < 100 && (entered[n] = errand_enter(errands)))
        n++;
    assert_int_equal(n, 64);
    submit(e, "speech.wav", "person.mp4", "crowd-1", 1, 10001, "try again");
    json_decref(query(e, "crowd-1", 10004));
    while (n-- > 0)
        errand_leave(entered[n]);
    pthread_attr_t usual, huge; // a stack for which no machine has the memory: no thread starts
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    assert_int_equal(pthread_getattr_default_np(&huge), 0);
    assert_int_equal(pthread_attr_setstacksize(&huge, (size_t)1 << 50), 0);
    assert_int_equal(pthread_setattr_default_np(&huge), 0);
    submit(e, "speech.wav", "person.mp4", "crowd-1", 1, 10001, "try again");
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    json_decref(query(e, "crowd-1", 10004));
    submit(e, "nothing.wav", "person.mp4", "crowd-1", 1, 10002,
           "nothing.wav"); // its place is given back
    submit(e, "speech.wav", "person.mp4", "crowd-1", 1, 10000, "");
}

// A task whose end cannot be noted now is noted when it can, and so is one of a server that ended;
// what the clock says meanwhile does not matter.
static void every_code_comes_to_its_end(void **state)
{
    struct easy_state *e = *state;
    struct kb_error err = {0};
    struct store *store = e->live.site.store;
    static const char body[] =
        "{\"audio_url\":\"speech.wav\",\"video_url\":\"person.mp4\",\"code\":\"stuck\"}";
    assert_ok(err, store_exec(store, NULL, &err,
                              "CREATE TRIGGER stuck BEFORE UPDATE ON easy BEGIN"
                              " SELECT RAISE(ABORT, 'not now'); END",
                              ""));
    int fd = site_connect(&e->live.site);
    site_sendf(fd,
               "POST /easy/submit HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n"
               "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
               e->live.site.port, strlen(body), body);
    struct job_filter f = {.limit = 1};
    CLEANUP(kb_freep) struct job *jobs = NULL;
    int n = 0;
    for (int i = 0; n == 0 && i < 1000; i++) {
        usleep(20000);
        free(TAKE(jobs));
        assert_ok(err, job_list(store, &f, &jobs, &n, &err));
    }
    assert_int_equal(n, 1);
    usleep(100000); // the end is tried, in vain; were it given up, the code would stay as it is
    assert_task(e, "stuck", 1, 0, 0);
    assert_ok(err, store_exec(store, NULL, &err, "DROP TRIGGER stuck", ""));
    char buffer[2000] = "";
    for (size_t got = 0; got < sizeof(buffer) - 1;) {
        ssize_t more = read(fd, buffer + got, sizeof(buffer) - 1 - got);
        if (more <= 0)
            break;
        got += (size_t)more;
    }
    close(fd);
    assert_non_null(strstr(buffer, "\"code\":10000"));
    struct easy ended;
    assert_ok(err, easy_find(store, "stuck", &ended, &err));
    assert_int_equal(ended.job, jobs[0].id);

    assert_ok(err, store_exec(store, NULL, &err,
                              "UPDATE easy SET job = NULL, error = NULL, created_ms = 1", ""));
    assert_task(e, "stuck", 1, 0, 0);
    struct server_params p = easy_params(e);
    live_restart(&e->live, &p);
    json_t *a = query(e, "stuck", 10000);
    assert_int_equal(number_at(a, "data.status"), 3);
    assert_non_null(strstr(text_at(a, "data.msg"), "restarted"));
    json_decref(a);
    submit(e, "speech.wav", "person.mp4", "stuck", 1, 10000, "");
}

// The limits of uploads are those of tasks.
static void limits_of_uploads(void **state)
{
    struct easy_state *e = *state;
    struct server_params p = easy_params(e);
    p.upload_bytes = 5;
    live_restart(&e->live, &p);
    submit(e, "speech.wav", "person.mp4", "large", 1, 10002, "larger than");
    json_decref(query(e, "large", 10004));

    p = easy_params(e);
    p.supervisor.worker.min_free_bytes = INT64_MAX / 4;
    live_restart(&e->live, &p);
    submit(e, "speech.wav", "person.mp4", "full", 1, 9999, "not enough disk space");
    json_decref(query(e, "full", 10004));

    p = easy_params(e);
    p.uploads_per_client = 2;
    live_restart(&e->live, &p);
    CLEANUP(kb_freep) char *slow = kb_printf("http://127.0.0.1:%d/slow", e->port);
    submit(e, slow, slow, "many-1", 1, 10000, "");
    submit(e, "speech.wav", "person.mp4", "many-2", 1, 10001, "2 files");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    unsetenv("http_proxy");
    const struct CMUnitTest tests[] = {
        TEST(missing_fields),
        TEST(nothing_outside_the_share),
        TEST(only_media_of_the_share),
        TEST(paths_of_other_machines),
        TEST(a_code_may_be_a_number),
        TEST(a_task_from_submit_to_file),
        TEST(half_letters_in_a_sentence),
        TEST(a_silent_webhook_holds_no_result_back),
        TEST(what_is_delivered_is_a_copy),
        TEST(a_failed_task_says_why),
        TEST(forms_and_addresses),
        TEST(a_code_is_never_a_path),
        TEST(no_place_for_an_errand),
        TEST(every_code_comes_to_its_end),
        TEST(limits_of_uploads),
    };
    return cmocka_run_group_tests_name("server/easy", tests, NULL, NULL);
}
