#include "server/server.h"

#include "base/beneath.h"
#include "base/descriptors.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/node.h"
#include "queue/remote.h"
#include "server/courier.h"
#include "server/duix/codes.h"
#include "server/errand.h"
#include "server/events.h"
#include "server/internal.h"
#include "server/keeper.h"
#include "server/page.h"
#include "server/speaker.h"
#include "server/pool.h"
#include "server/quota.h"
#include "server/upload/tus.h"
#include "store/counts.h"
#include "store/lock.h"
#include "store/lost.h"
#include "store/privacy.h"
#include "store/store.h"

#include <curl/curl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOG_BYTES       (10 << 20)
#define UPLOAD_BYTES    ((int64_t)(20 * KB_GB))
#define UPLOADS         200
#define FIRST_BACKUP_MS 30000
#define CHECK_BYTES     (256LL << 20) // of a database that is looked at before anything is done
#define ERRANDS_WAIT_MS 3000
#define TOKEN_LETTERS   16 // fewer are said to be few

#define CONNECTIONS      2000
#define DESCRIPTORS_KEPT 48 // of files and sockets: for database, log, workers, errands
#define DESCRIPTORS_MIN  64
#define ADDRESSES_MIN    ((int64_t)(2 * KB_GB)) // of threads, heap and mapped files together

const struct route *const server_routes[] = {
    api_uploads_routes,   api_batches_routes,  api_results_routes,
    api_subtitles_routes, api_previews_routes, api_people_routes,
    api_system_routes,    api_nodes_routes,    api_voices_routes,
    api_logs_routes,      api_events_routes,   api_depot_routes,
    api_easy_routes,      page_routes,         NULL,
};

// --- parameters: a copy with defaults filled in

static void params_copy(struct server_params *to, const struct server_params *from)
{
    *to = *from;
    to->data = kb_strdup(from->data);
    to->listen = kb_strdup(from->listen ? from->listen : "127.0.0.1");
    to->token = kb_strdup(from->token);
    to->proxies = kb_strdup(from->proxies);
    to->page = kb_strdup(from->page);
    to->share = kb_strdup(from->share);
    to->lang = kb_strdup(kb_language_name(kb_language_of(from->lang)));
    to->defaults = kb_strdup(from->defaults ? from->defaults : "{}");
    to->upload_bytes = from->upload_bytes > 0 ? from->upload_bytes : UPLOAD_BYTES;
    to->uploads_per_client = from->uploads_per_client > 0 ? from->uploads_per_client : UPLOADS;
    to->first_backup_ms = from->first_backup_ms > 0 ? from->first_backup_ms : FIRST_BACKUP_MS;
    to->guard.trusting = !from->token && !(from->proxies && *from->proxies);
    to->supervisor.previews = true;
    to->supervisor.data = to->data;
    to->supervisor.worker.data = to->data;
    to->supervisor.program = kb_strdup(from->supervisor.program);
    to->head.data = to->data;
    to->head.redis = kb_strdup(from->head.redis);
    to->head.depot = kb_strdup(from->head.depot);
    to->head.credentials = kb_strdup(from->head.credentials);
    to->head.min_free_bytes = from->supervisor.worker.min_free_bytes;
}

static void params_free(struct server_params *p)
{
    free((void *)p->data);
    free((void *)p->listen);
    free((void *)p->token);
    free((void *)p->proxies);
    free((void *)p->page);
    free((void *)p->share);
    free((void *)p->lang);
    free((void *)p->defaults);
    free((void *)p->supervisor.program);
    free((void *)p->head.redis);
    free((void *)p->head.depot);
    free((void *)p->head.credentials);
}

bool server_is_loopback(const char *listen)
{
    return text_begins(listen, "127.") || strcmp(listen, "::1") == 0 ||
           strcmp(listen, "localhost") == 0;
}

static enum kb_code params_check(const struct server_params *p, struct kb_error *err)
{
    if (!p->token && !server_is_loopback(p->listen))
        return kb_fail(err, KB_BAD_INPUT,
                       _("listening on %s lets other machines in, so a token is needed: give one "
                         "with --token"),
                       p->listen);
    if (p->share && !file_is_dir(p->share))
        return kb_fail(err, KB_NOT_FOUND,
                       _("the shared folder '%s' does not exist; create it or change --share"),
                       p->share);
    return KB_OK;
}

// --- the limits that the system sets (ulimit)

static enum kb_code limits_check(struct server *s, struct kb_error *err)
{
    int most = descriptors_raise();
    struct rlimit memory;
    if (most < DESCRIPTORS_MIN)
        return kb_fail(err, KB_UNAVAILABLE,
                       _("this system lets koubo have only %d files and connections open, and it "
                         "needs %d at least: raise the limit (ulimit -n)"),
                       most, DESCRIPTORS_MIN);
    if (getrlimit(RLIMIT_AS, &memory) == 0 && memory.rlim_cur < (rlim_t)ADDRESSES_MIN) {
        char has[TEXT_SIZE_BYTES], needs[TEXT_SIZE_BYTES];
        return kb_fail(err, KB_UNAVAILABLE,
                       _("this system lets a program have only %s of memory, and koubo needs %s at "
                         "least: raise the limit (ulimit -v)"),
                       text_size(has, (int64_t)memory.rlim_cur), text_size(needs, ADDRESSES_MIN));
    }
    // Each connection has a socket and, for what it sends or asks for, a file.
    s->connections = KB_MIN(CONNECTIONS, (most - DESCRIPTORS_KEPT) / 2);
    if (s->connections < CONNECTIONS)
        log_verbose("%d descriptors: %d connections", most, s->connections);
    return KB_OK;
}

// --- the address

static bool is_wildcard(const char *listen)
{
    return strcmp(listen, "0.0.0.0") == 0 || strcmp(listen, "::") == 0;
}

char *server_outside_address(void)
{
    struct ifaddrs *all = NULL;
    char *found = NULL;
    if (getifaddrs(&all) != 0)
        return NULL;
    for (struct ifaddrs *a = all; a && !found; a = a->ifa_next) {
        char host[NI_MAXHOST];
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && (a->ifa_flags & IFF_UP) &&
            !(a->ifa_flags & IFF_LOOPBACK) &&
            getnameinfo(a->ifa_addr, sizeof(struct sockaddr_in), host, sizeof(host), NULL, 0,
                        NI_NUMERICHOST) == 0)
            found = kb_strdup(host);
    }
    freeifaddrs(all);
    return found;
}

static char *make_url(const char *host, int port)
{
    bool v6 = strchr(host, ':') != NULL;
    return kb_printf("http://%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static void say_hello(const struct server *s)
{
    int port = server_port(s);
    log_info(_("koubo %s is ready. Open this address in a browser: %s"), KOUBO_VERSION,
             s->base_url);
    if (s->params.token && strlen(s->params.token) < TOKEN_LETTERS &&
        !server_is_loopback(s->params.listen))
        log_warn(_("the token is short, and whoever tries long enough finds it: choose one of %d "
                   "letters and digits or more"),
                 TOKEN_LETTERS);
    if (is_wildcard(s->params.listen)) {
        CLEANUP(kb_freep) char *host = server_outside_address();
        CLEANUP(kb_freep) char *url = host ? make_url(host, port) : NULL;
        if (url)
            log_info(_("from other machines: %s (the page asks for the token)"), url);
    } else if (server_is_loopback(s->params.listen) && !getenv("DISPLAY") &&
               !getenv("WAYLAND_DISPLAY")) {
        log_info(_("no screen on this machine? On yours, run: ssh -N -L %d:127.0.0.1:%d "
                   "USER@THIS-MACHINE, and open the same address there"),
                 port, port);
    }
}

// --- start and stop

// Before any job is made: the survey lifts the numbers of jobs above those of the files.
static enum kb_code say_lost(struct server *s, struct store *store, struct kb_error *err)
{
    struct lost lost = {0};
    char size[TEXT_SIZE_BYTES];
    enum kb_code code = lost_survey(store, &lost, err);
    if (code == KB_OK && lost.n_results + lost.n_others > 0)
        log_warn(_("files of an earlier database lie in '%s': %d results, %d others, %s. They "
                   "stay. 'koubo restore --data %s' takes the results in, 'koubo clean --lost "
                   "--data %s' removes all of them"),
                 s->params.data, lost.n_results, lost.n_others, text_size(size, lost.bytes),
                 s->params.data, s->params.data);
    return code;
}

// With a token, who looks into the folder should not see what he would not be shown.
static enum kb_code close_folders(struct server *s, struct store *store, struct kb_error *err)
{
    CLEANUP(text_free) struct text closed = {0};
    CLEANUP(text_free) struct text left = {0};
    enum kb_code code = privacy_close_folders(store, &closed, &left, err);
    if (code == KB_OK && left.size > 0)
        log_warn(_("other users of this machine can perhaps look into these folders of '%s': %s. "
                   "koubo did not close them, for another disk is mounted there or the system "
                   "refused; close them yourself if need be (chmod 700)"),
                 s->params.data, text_get(&left));
    if (code == KB_OK && closed.size > 0)
        log_warn(_("other users of this machine could look into these folders of '%s', which are "
                   "closed now: %s. If results/ is shared over the network, open it again: "
                   "chmod 755 '%s/results'; koubo leaves it as you set it"),
                 s->params.data, text_get(&closed), s->params.data);
    return code;
}

// What a machine of a cluster keeps is thrown away when its head says so.
static enum kb_code refuse_machine(struct server *s, struct store *store, struct kb_error *err)
{
    CLEANUP(text_free) struct text kept = {0};
    enum kb_code code = setting_get(store, NODE_SETTING, &kept, err);
    if (code == KB_OK && kept.size > 0)
        return kb_fail(
            err, KB_BAD_INPUT,
            _("'%s' is the folder of a machine of a cluster (koubo node); a server needs "
              "one of its own: choose another with --data"),
            s->params.data);
    return code;
}

static enum kb_code open_folder(struct server *s, struct kb_error *err)
{
    CLEANUP(store_close) struct store *store = NULL;
    enum kb_code code = file_make_dirs(s->params.data, err);
    if (code == KB_OK)
        code = folder_lock(&s->lock_fd, s->params.data, err);
    if (code == KB_OK) // a failure shows when the log is opened
        beneath_make_dirs(s->params.data, "logs", 0700);
    if (code == KB_OK)
        code = log_open(s->params.data, LOG_FILE, s->params.supervisor.log_json, LOG_BYTES, err);
    if (code != KB_OK)
        return code;
    log_set_source("serve");
    struct store_params how = {.create = true, .anew = s->params.new_database};
    code = store_open_as(&store, s->params.data, &how, err);
    if (code == KB_OK)
        code = refuse_machine(s, store, err);
    if (code == KB_OK)
        code = store_check(store, CHECK_BYTES, err);
    if (code == KB_OK)
        code = counts_mend(store, err);
    if (code == KB_OK)
        code = easy_cut_off(store, err);
    if (code == KB_OK && !s->params.head.redis) // what other machines had is for workers here again
        code = remote_disband(store, err);
    if (code == KB_OK && s->params.token)
        code = close_folders(s, store, err);
    return code == KB_OK ? say_lost(s, store, err) : code;
}

static enum kb_code lend_store(void *ctx, void **ret, struct kb_error *err)
{
    const struct server *s = ctx;
    struct store *store = NULL;
    enum kb_code code = s->pool ? pool_lend(s->pool, &store, err) : KB_OK;
    *ret = store;
    return code;
}

static void take_store_back(void *ctx, void *loan)
{
    const struct server *s = ctx;
    pool_take_back(s->pool, loan);
}

struct http_app server_app(struct server *s)
{
    return (struct http_app){
        .ctx = s, .lend = lend_store, .take_back = take_store_back, .admits = depot_admits};
}

static enum kb_code listen_to_network(struct server *s, struct kb_error *err)
{
    struct http_params p = {
        .listen = s->params.listen,
        .port = s->params.port,
        .token = s->params.token,
        .proxies = s->params.proxies,
        .connections = s->connections,
        .connections_per_client = KB_MAX(1, s->connections / 4 * 3),
        .app = server_app(s),
        .lang = s->params.lang,
        .tables = server_routes,
    };
    enum kb_code code = http_start(&s->http, &p, err);
    if (code != KB_OK)
        return code;
    const char *host = s->params.listen;
    if (is_wildcard(host))
        host = strchr(host, ':') ? "::1" : "127.0.0.1";
    s->base_url = make_url(host, http_port(s->http));
    if (!folder_lock_tell(s->lock_fd, s->base_url))
        log_warn(_("cannot write the file 'lock' in '%s'; koubo doctor will not find this server"),
                 s->params.data);
    return KB_OK;
}

enum kb_code server_start(struct server **ret, const struct server_params *p, struct kb_error *err)
{
    CLEANUP(server_stop) struct server *s = kb_alloc(sizeof(*s));
    s->lock_fd = -1;
    s->started_ms = kb_wall_ms();
    params_copy(&s->params, p);
    enum kb_code code = params_check(&s->params, err);
    if (code == KB_OK)
        code = limits_check(s, err);
    if (code == KB_OK)
        code = open_folder(s, err);
    if (code != KB_OK)
        return code;

    signal(SIGPIPE, SIG_IGN); // a client that goes away is an error of the write
    curl_global_init(CURL_GLOBAL_DEFAULT);
    // All that a request may reach is there before the first one can come.
    s->pool = pool_create(s->params.data);
    s->errands = errands_create();
    s->transfers = transfers_create();
    s->zips = quota_create(ZIPS_EACH, ZIPS_ALL);
    s->doctor = doctor_cache_create();
    code = followers_start(&s->followers, s->params.data, err);
    if (code == KB_OK)
        code = page_load(&s->page, s->params.page, err);
    if (code == KB_OK && s->params.head.redis)
        code = head_start(&s->head, &s->params.head, err);
    if (code == KB_OK)
        code = events_start(&s->events, s, err);
    if (code == KB_OK)
        code = listen_to_network(s, err);
    if (code == KB_OK && s->params.supervisor.n_workers >= 0)
        code = supervisor_start(&s->supervisor, &s->params.supervisor, err);
    if (code == KB_OK)
        code = courier_start(&s->courier, s, err);
    if (code == KB_OK)
        code = speaker_start(&s->speaker, s, err);
    if (code == KB_OK)
        code = keeper_start(&s->keeper, s->params.data, s->params.first_backup_ms, err);
    if (code != KB_OK)
        return code;
    say_hello(s);
    *ret = TAKE(s);
    return KB_OK;
}

int server_port(const struct server *s)
{
    return s->http ? http_port(s->http) : s->params.port;
}

void server_stop(struct server **server)
{
    struct server *s = TAKE(*server);
    if (!s)
        return;
    if (s->events)
        events_end(s->events); // so that its listeners do not keep the next line waiting
    http_stop(&s->http);       // requests reach all of the others
    pool_free(&s->pool);
    transfers_free(&s->transfers);
    quota_free(&s->zips);
    events_stop(&s->events);
    head_stop(&s->head); // its state is in the stream of events
    courier_stop(&s->courier);
    speaker_stop(&s->speaker);
    keeper_stop(&s->keeper);
    supervisor_stop(&s->supervisor);
    followers_stop(&s->followers);
    errands_stop(&s->errands, ERRANDS_WAIT_MS);
    doctor_cache_unref(&s->doctor);
    page_free(&s->page);
    if (s->base_url)
        log_info("%s", _("koubo has stopped; waiting jobs go on when it is started again"));
    log_close();
    folder_unlock(s->lock_fd);
    params_free(&s->params);
    free(s->base_url);
    free(s);
}
