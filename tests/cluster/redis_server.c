#include "tests/cluster/redis_server.h"

#include "base/place.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PATIENCE_US (INT64_C(60) * 1000000) // on a machine that is very busy

bool redis_server_is_here(void)
{
    return system("redis-server --version >/dev/null 2>&1") == 0;
}

int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    close(fd);
    return ntohs(a.sin_port);
}

// Whoever listens at the port answers.
static bool answers(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    const struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    char c = 0;
    bool is_good = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
                   send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && recv(fd, &c, 1, 0) == 1 &&
                   (c == '+' || c == '-');
    close(fd);
    return is_good;
}

static void run(struct redis_server *s)
{
    char port[16], tls[16], log[4200];
    snprintf(port, sizeof(port), "%d", s->port);
    snprintf(tls, sizeof(tls), "%d", s->tls_port);
    snprintf(log, sizeof(log), "%s/log", s->folder);
    // 127.0.0.2, too: an address that is in no certificate. What stands later counts.
    const char *args[48] = {"redis-server"};
    const char *fixed[] = {"--port",    port,        "--tls-port", tls,         "--bind",
                           "127.0.0.1", "127.0.0.2", "--save",     "",          "--daemonize",
                           "no",        "--dir",     s->folder,    "--logfile", log};
    size_t n = 1;
    for (size_t i = 0; s->extra[i]; i++)
        args[n++] = s->extra[i];
    memcpy(args + n, fixed, sizeof(fixed));
    pid_t parent = getpid();
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        execvp(args[0], (char *const *)args);
        _exit(127);
    }
}

// False: it ended at once, as one does whose port somebody else was quicker to take.
static bool comes_up(struct redis_server *s)
{
    run(s);
    for (int64_t end = kb_now_us() + PATIENCE_US; kb_now_us() < end; usleep(5000)) {
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
            s->pid = 0;
            return false;
        }
        if (answers(s->port))
            return true;
    }
    fail_msg("redis-server does not answer, see %s/log", s->folder);
    return false;
}

static void begin(struct redis_server *s, bool tls)
{
    for (int i = 0; i < 10; i++) {
        s->port = free_port();
        s->tls_port = tls ? free_port() : 0;
        if (comes_up(s))
            return;
    }
    fail_msg("redis-server does not start, see %s/log", s->folder);
}

static void make_folder(struct redis_server *s)
{
    struct kb_error err = {0};
    *s = (struct redis_server){0};
    assert_ok(err, place_make(&s->folder, "koubo-redis", &err));
}

void redis_server_start(struct redis_server *s, const char *const *extra)
{
    bool tls = false;
    make_folder(s);
    for (size_t i = 0; extra && extra[i]; i++) {
        assert_true(i + 1 < ARRAY_LEN(s->extra));
        s->extra[i] = extra[i];
        tls = tls || strcmp(extra[i], "--include") == 0;
    }
    begin(s, tls);
}

void redis_server_start_tls(struct redis_server *s, bool ask_clients)
{
    make_folder(s);
    CLEANUP(kb_freep)
    char *command = kb_printf(
        "cd %s && exec 2>log.openssl && openssl req -x509 -newkey ec -pkeyopt "
        "ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out ca.pem -days 2 -subj "
        "/CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 && cat ca.pem key.pem "
        ">tls.pem",
        s->folder);
    assert_int_equal(system(command), 0);
    static char paths[2][4200]; // of one server with TLS at a time
    snprintf(paths[0], sizeof(paths[0]), "%s/tls.pem", s->folder);
    snprintf(paths[1], sizeof(paths[1]), "%s/ca.pem", s->folder);
    const char *extra[] = {
        "--tls-cert-file",    paths[0], "--tls-key-file",     paths[0],
        "--tls-ca-cert-file", paths[1], "--tls-auth-clients", ask_clients ? "yes" : "no"};
    memcpy(s->extra, extra, sizeof(extra));
    begin(s, true);
}

void redis_server_kill(struct redis_server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    s->pid = 0;
}

void redis_server_again(struct redis_server *s)
{
    for (int i = 0; i < 100; i++) {
        if (comes_up(s))
            return;
        usleep(100000); // somebody's connection has the port for a moment
    }
    fail_msg("redis-server does not start again, see %s/log", s->folder);
}

void redis_server_stop(struct redis_server *s)
{
    redis_server_kill(s);
    place_end(&s->folder);
}

char *redis_server_url(const struct redis_server *s, const char *rest)
{
    return kb_printf("redis://127.0.0.1:%d%s", s->port, rest);
}
