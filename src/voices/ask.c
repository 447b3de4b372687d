// One sentence from a service over HTTP. The formats are those of the services' own programs:
// OpenAI's /v1/audio/speech, which many speak; the Duix engine's /v1/invoke (fish-speech);
// GPT-SoVITS' api_v2.py; CosyVoice's FastAPI server, whose answer is samples without a header.
#include "voices/internal.h"

#include "notify/gate.h"
#include "notify/reason.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_S   10L
#define WAV_HEADER  44
#define MOST_WAIT_S 30

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_set_up(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct call {
    const json_t *voice;
    const struct voice_wish *wish;
    CURL *curl;
    curl_mime *form; // a form…
    char *body;      // …or JSON
    struct curl_slist *headers;
    char *url;
    struct text *answer;
    bool too_long;
    struct gate gate;
};

static void call_end(struct call *c)
{
    curl_mime_free(c->form);
    curl_slist_free_all(c->headers);
    curl_easy_cleanup(c->curl);
    free(c->body);
    free(c->url);
}

static void add_header(struct call *c, const char *header)
{
    struct curl_slist *longer = curl_slist_append(c->headers, header);
    if (!longer)
        abort(); // memory is out
    c->headers = longer;
}

// --- requests

// The address with the path that the service has, unless it stands there already.
static char *address(const char *url, const char *path)
{
    CLEANUP(kb_freep) char *base = kb_strdup(url);
    for (size_t n = strlen(base); n > 0 && base[n - 1] == '/'; n--)
        base[n - 1] = '\0';
    if (text_ends(base, path))
        return TAKE(base);
    if (text_begins(path, "/v1/") && text_ends(base, "/v1"))
        path += strlen("/v1");
    return kb_printf("%s%s", base, path);
}

// What the user wrote for this service goes over what is usual.
static enum kb_code set_json(struct call *c, json_t *body, struct kb_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(c->voice, "options"), name, value)
        json_object_set(body, name, value);
    c->body = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (!c->body)
        return kb_no_memory(err);
    add_header(c, "Content-Type: application/json");
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, c->body);
    return KB_OK;
}

static const char *or_else(const char *text, const char *otherwise)
{
    return *text ? text : otherwise;
}

static double speed_of(const struct call *c)
{
    return c->wish->speed > 0 ? c->wish->speed : 1;
}

static enum kb_code prepare_openai(struct call *c, const char *sentence, struct kb_error *err)
{
    c->url = address(voice_text(c->voice, "url"), "/v1/audio/speech");
    return set_json(c,
                    json_pack("{s:s, s:s, s:s, s:s, s:f}", "model",
                              or_else(voice_text(c->voice, "model"), "tts-1"), "input", sentence,
                              "voice", or_else(voice_text(c->voice, "voice"), "alloy"),
                              "response_format", "wav", "speed", speed_of(c)),
                    err);
}

static enum kb_code prepare_duix(struct call *c, const char *sentence, struct kb_error *err)
{
    c->url = address(voice_text(c->voice, "url"), "/v1/invoke");
    return set_json(
        c,
        json_pack("{s:s, s:s, s:s, s:f, s:i, s:i, s:f, s:f, s:b, s:b, s:i, s:i, s:s, s:s}",
                  "speaker", or_else(voice_text(c->voice, "voice"), voice_text(c->voice, "name")),
                  "text", sentence, "format", "wav", "topP", 0.7, "max_new_tokens", 1024,
                  "chunk_length", 100, "repetition_penalty", 1.2, "temperature", 0.7, "need_asr", 0,
                  "streaming", 0, "is_fixed_seed", 0, "is_norm", 0, "reference_audio",
                  voice_text(c->voice, "reference_audio"), "reference_text",
                  voice_text(c->voice, "reference_text")),
        err);
}

static enum kb_code prepare_sovits(struct call *c, const char *sentence, struct kb_error *err)
{
    c->url = address(voice_text(c->voice, "url"), "/tts");
    return set_json(c,
                    json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:b, s:f}", "text",
                              sentence, "text_lang", or_else(voice_text(c->voice, "lang"), "auto"),
                              "ref_audio_path", voice_text(c->voice, "reference_audio"),
                              "prompt_text", voice_text(c->voice, "reference_text"), "prompt_lang",
                              or_else(voice_text(c->voice, "reference_lang"), "zh"),
                              "text_split_method", "cut0", "batch_size", 1, "media_type", "wav",
                              "streaming_mode", 0, "speed_factor", speed_of(c)),
                    err);
}

// False: memory is out, or the file cannot be read.
static bool add_part(struct call *c, const char *name, const char *text, bool is_file)
{
    curl_mimepart *part = *text ? curl_mime_addpart(c->form) : NULL;
    if (!part)
        return !*text;
    if (is_file) // under a name of ours: what it is called here is nobody's business there
        return curl_mime_name(part, name) == CURLE_OK &&
               curl_mime_filedata(part, text) == CURLE_OK &&
               curl_mime_filename(part, "reference.wav") == CURLE_OK;
    return curl_mime_name(part, name) == CURLE_OK &&
           curl_mime_data(part, text, CURL_ZERO_TERMINATED) == CURLE_OK;
}

static enum kb_code prepare_cosyvoice(struct call *c, const char *sentence, struct kb_error *err)
{
    const json_t *v = c->voice;
    const char *file = voice_text(v, "reference_file");
    CLEANUP(kb_freep)
    char *path = kb_printf("/inference_%s", or_else(voice_text(v, "mode"), "sft"));
    c->url = address(voice_text(v, "url"), path);
    c->form = curl_mime_init(c->curl);
    if (!c->form || !add_part(c, "tts_text", sentence, false) ||
        !add_part(c, "spk_id", voice_text(v, "voice"), false) ||
        !add_part(c, "prompt_text", voice_text(v, "reference_text"), false) ||
        !add_part(c, "instruct_text", voice_text(v, "instruct"), false))
        return kb_no_memory(err);
    if (!add_part(c, "prompt_wav", file, true))
        return kb_fail(err, KB_BAD_INPUT, _("the voice '%s': '%s' cannot be read"),
                       voice_text(v, "name"), file);
    curl_easy_setopt(c->curl, CURLOPT_MIMEPOST, c->form);
    return KB_OK;
}

static const struct service {
    const char *kind;
    enum kb_code (*prepare)(struct call *c, const char *sentence, struct kb_error *err);
    bool samples; // the answer is 16-bit samples, mono, and nothing else
} services[] = {
    {"openai", prepare_openai, false},
    {"duix", prepare_duix, false},
    {"gpt-sovits", prepare_sovits, false},
    {"cosyvoice", prepare_cosyvoice, true},
};

// --- the transfer

static size_t on_data(char *data, size_t size, size_t n, void *opaque)
{
    struct call *c = opaque;
    if (size * n > ANSWER_BYTES - KB_MIN(c->answer->size, (size_t)ANSWER_BYTES)) {
        c->too_long = true;
        return 0;
    }
    text_add_bytes(c->answer, data, size * n);
    return size * n;
}

static int on_progress(void *opaque, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    const struct call *c = opaque;
    return cancel_requested(c->wish->cancel);
}

static void set_options(struct call *c)
{
    const char *key = voice_text(c->voice, "key");
    if (*key) {
        CLEANUP(kb_freep) char *header = kb_printf("Authorization: Bearer %s", key);
        add_header(c, header);
    }
    add_header(c, "Expect:"); // servers in Python often do not answer it
    curl_easy_setopt(c->curl, CURLOPT_URL, c->url);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_FOLLOWLOCATION, 0L); // it would take the key along
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(c->curl, CURLOPT_QUICK_EXIT, 1L); // a thread that looks a name up ends alone
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)voice_timeout_s(c->voice));
    curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "koubo/" KOUBO_VERSION);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
    gate_set(c->curl, &c->gate);
    if (c->gate.guard->trusting)
        curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    else // it would resolve names where they cannot be judged
        curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
}

// --- the answer

// The service's own words about what went wrong: of JSON the field where services put them.
static char *words_of(const struct call *c)
{
    static const char *const names[] = {"message", "msg", "detail", "error", "Exception"};
    json_auto_t *root = json_loadb(text_get(c->answer), c->answer->size, 0, NULL);
    const json_t *at = root;
    if (json_is_object(json_object_get(at, "error")))
        at = json_object_get(at, "error");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const json_t *value = json_object_get(at, names[i]);
        if (json_is_string(value))
            return voice_words(c->voice, json_string_value(value), json_string_length(value));
    }
    return voice_words(c->voice, text_get(c->answer), c->answer->size);
}

static bool is_sound(const struct call *c, bool samples)
{
    char *type = NULL;
    curl_easy_getinfo(c->curl, CURLINFO_CONTENT_TYPE, &type);
    if (c->answer->size == 0)
        return false;
    if (!type || samples) // CosyVoice's has none
        return !type || (strncasecmp(type, "application/json", 16) != 0 &&
                         strncasecmp(type, "text/html", 9) != 0);
    return strncasecmp(type, "audio/", 6) == 0 || strncasecmp(type, "video/", 6) == 0 ||
           strncasecmp(type, "application/octet-stream", 24) == 0 ||
           strncasecmp(type, "binary/octet-stream", 19) == 0 ||
           strncasecmp(type, "application/ogg", 15) == 0;
}

static void put_le(char *to, uint32_t value, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (char)(value >> 8 * i);
}

// Samples become a WAV file: 16 bits, mono.
static void add_wav_header(const struct call *c)
{
    const json_t *rate = json_object_get(c->voice, "rate_hz");
    uint32_t rate_hz = rate ? (uint32_t)json_integer_value(rate) : 22050;
    char h[WAV_HEADER] = "RIFF....WAVEfmt ";
    c->answer->size -= c->answer->size % 2;
    put_le(h + 4, (uint32_t)c->answer->size + 36, 4);
    put_le(h + 16, 16, 4);
    put_le(h + 20, 1, 2);
    put_le(h + 22, 1, 2);
    put_le(h + 24, rate_hz, 4);
    put_le(h + 28, rate_hz * 2, 4);
    put_le(h + 32, 2, 2);
    put_le(h + 34, 16, 2);
    memcpy(h + 36, "data", 4);
    put_le(h + 40, (uint32_t)c->answer->size, 4);
    struct text whole = {0};
    text_add_bytes(&whole, h, sizeof(h));
    text_add_bytes(&whole, text_get(c->answer), c->answer->size);
    text_free(c->answer);
    *c->answer = whole;
}

static enum kb_code judge(struct call *c, CURLcode result, bool samples, bool *ret_again,
                          int *ret_wait_s, struct kb_error *err)
{
    const char *name = voice_text(c->voice, "name");
    long status = 0;
    curl_off_t wait_s = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &wait_s);
    if (cancel_requested(c->wish->cancel))
        return cancel_check(c->wish->cancel, err);
    if (gate_check(&c->gate, err) != KB_OK)
        return kb_wrap(err, _("the voice '%s'"), name);
    if (c->too_long)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("the voice '%s' answered one sentence with more than %d MB; is the address "
              "right?"),
            name, ANSWER_BYTES >> 20);
    if (result != CURLE_OK) {
        *ret_again = result == CURLE_COULDNT_CONNECT || result == CURLE_GOT_NOTHING ||
                     result == CURLE_RECV_ERROR || result == CURLE_SEND_ERROR ||
                     result == CURLE_PARTIAL_FILE;
        return kb_fail(err, KB_UNAVAILABLE,
                       _("the voice '%s' cannot be asked at %s: %s; does its service run?"), name,
                       voice_text(c->voice, "url"), transfer_reason(result));
    }
    CLEANUP(kb_freep) char *words = words_of(c);
    if (status < 200 || status > 299) {
        *ret_again = status == 429 || status == 408 || status >= 500;
        *ret_wait_s = (int)KB_MAX(0, KB_MIN(wait_s, MOST_WAIT_S));
        return kb_fail(err, KB_UNAVAILABLE, _("the voice '%s' answered %ld: %s"), name, status,
                       *words ? words : "-");
    }
    if (!is_sound(c, samples))
        return kb_fail(err, KB_UNAVAILABLE, _("the voice '%s' answered no sound: %s"), name,
                       *words ? words : "-");
    if (samples)
        add_wav_header(c);
    return KB_OK;
}

// What the owner of the file wrote down may lie anywhere that is somewhere; a server's guard judges
// what came over the network.
static const struct guard *guard_of(const struct call *c)
{
    static const struct guard owner = {.trusting = true, .lan = true};
    bool by_page = json_is_true(json_object_get(c->voice, "page"));
    return by_page && c->wish->guard ? c->wish->guard : &owner;
}

enum kb_code voice_ask(const json_t *voice, const char *sentence, const struct voice_wish *wish,
                       struct text *ret, bool *ret_again, int *ret_wait_s, struct kb_error *err)
{
    const struct service *s = services;
    while (strcmp(s->kind, voice_text(voice, "kind")) != 0)
        s++; // voice_check() has seen to it
    pthread_once(&curl_once, curl_set_up);
    struct call c = {.voice = voice, .wish = wish, .answer = ret, .curl = curl_easy_init()};
    c.gate.guard = guard_of(&c);
    enum kb_code code = c.curl ? s->prepare(&c, sentence, err) : kb_no_memory(err);
    if (code == KB_OK) {
        set_options(&c);
        code = judge(&c, curl_easy_perform(c.curl), s->samples, ret_again, ret_wait_s, err);
    }
    call_end(&c);
    return code;
}
