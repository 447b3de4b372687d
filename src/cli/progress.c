#include "cli/progress.h"

#include "cli/cli.h"
#include "cli/screen.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BAR_PERIOD_US   200000  // redraw of the bar
#define LINES_PERIOD_US 5000000 // a line into a log file
#define JSON_PERIOD_US  1000000

struct progress_view {
    enum progress_mode mode;
    char *label;
    pthread_t ticker;
    pthread_mutex_t lock;
    pthread_cond_t stopped;
    // --- the following fields are protected by lock
    bool stop;
    bool open; // a stage is shown and not closed yet
    struct progress now;
    int64_t stage_began_us;
    int64_t first_us,
        first_done;   // when the first unit of the stage was done: rate counts from there
    int64_t shown_us; // last time of a line
};

// Units a second since the stage got going, 0 while unknown.
static double rate_of(const struct progress_view *v, int64_t now_us)
{
    int64_t spent_us = now_us - v->first_us;
    int64_t done = v->now.done - v->first_done;
    return v->first_us && done > 0 && spent_us > 100000 ? 1e6 * (double)done / (double)spent_us : 0;
}

static int64_t eta_s(const struct progress_view *v, double rate)
{
    int64_t left = v->now.total - v->now.done;
    return rate > 0 && left > 0 ? (int64_t)((double)left / rate + 0.5) : -1;
}

static void print_json(const struct progress_view *v, int64_t now_us)
{
    double rate = rate_of(v, now_us);
    double left =
        v->now.total > v->now.done && rate > 0 ? (double)(v->now.total - v->now.done) / rate : 0;
    printf("{\"stage\":\"%s\",\"done\":%lld,\"total\":%lld,\"fps\":%.1f,\"eta_s\":%.1f,"
           "\"elapsed_s\":%.1f}\n",
           stage_id(v->now.stage), (long long)v->now.done, (long long)v->now.total, rate, left,
           (double)(now_us - v->stage_began_us) / 1e6);
    fflush(stdout);
}

// "12:05", or "1:02:05" from an hour on.
static void format_time(char *ret, size_t size, int64_t seconds)
{
    if (seconds >= 3600)
        snprintf(ret, size, "%lld:%02d:%02d", (long long)(seconds / 3600), (int)(seconds / 60 % 60),
                 (int)(seconds % 60));
    else
        snprintf(ret, size, "%d:%02d", (int)(seconds / 60), (int)(seconds % 60));
}

// What stands after the stage's name: " 43%  53/125  34.1/s  0:03 left".
static void format_figures(const struct progress_view *v, int64_t now_us, bool closing, char *ret,
                           size_t size)
{
    double rate = rate_of(v, now_us);
    int64_t left = eta_s(v, rate);
    char elapsed[24], remaining[24], count[64] = "", speed[64] = "";
    format_time(elapsed, sizeof(elapsed), (now_us - v->stage_began_us) / 1000000);
    if (v->now.total > 0 && v->now.stage != STAGE_LOADING && v->now.stage != STAGE_AUDIO)
        snprintf(count, sizeof(count), "  %lld/%lld", (long long)v->now.done,
                 (long long)v->now.total);
    if (rate > 0 && *count)
        snprintf(speed, sizeof(speed), _("  %.1f fps"), rate);
    if (closing) {
        snprintf(ret, size, _("%s%s  done in %.1f s"), count, speed,
                 (double)(now_us - v->stage_began_us) / 1e6);
    } else if (left >= 0) {
        format_time(remaining, sizeof(remaining), left);
        snprintf(ret, size, _("%s%s  %s, %s left"), count, speed, elapsed, remaining);
    } else {
        snprintf(ret, size, "%s%s  %s", count, speed, elapsed);
    }
}

static int percent_of(const struct progress_view *v, bool closing)
{
    if (closing)
        return 100; // totals are estimates, the end is not
    return v->now.total > 0 ? (int)(100 * KB_MIN(v->now.done, v->now.total) / v->now.total) : 0;
}

static void print_bar(const struct progress_view *v, int64_t now_us, bool closing)
{
    struct winsize window = {0};
    int columns =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col ? window.ws_col : 80;
    char figures[256], text[512];
    format_figures(v, now_us, closing, figures, sizeof(figures));
    int percent = percent_of(v, closing);
    snprintf(text, sizeof(text), " %3d%%%s", percent, figures);

    const char *title = stage_title(v->now.stage);
    int used = screen_width(text) + 18 + (*v->label ? screen_width(v->label) + 1 : 0);
    int width = KB_MIN(columns - used - 1, 40);
    fprintf(stderr, "\r%s%s", v->label, *v->label ? " " : "");
    screen_print_padded(stderr, title, 15);
    if (width >= 4) {
        fputs(" [", stderr);
        for (int i = 0; i < width - 2; i++)
            fputc(i * 100 < percent * (width - 2) ? '=' : ' ', stderr);
        fputc(']', stderr);
    }
    fprintf(stderr, "%s\033[K%s", text, closing ? "\n" : "");
    fflush(stderr);
}

static void print_line(const struct progress_view *v, int64_t now_us, bool closing)
{
    char figures[256];
    format_figures(v, now_us, closing, figures, sizeof(figures));
    fprintf(stderr, "%s%s%s %d%%%s\n", v->label, *v->label ? " " : "", stage_title(v->now.stage),
            percent_of(v, closing), figures);
}

static void show(struct progress_view *v, bool closing)
{
    int64_t now_us = kb_now_us();
    v->shown_us = now_us;
    if (v->mode == PROGRESS_JSON)
        print_json(v, now_us);
    else if (v->mode == PROGRESS_BAR)
        print_bar(v, now_us, closing);
    else
        print_line(v, now_us, closing);
}

static void close_stage(struct progress_view *v)
{
    if (v->open)
        show(v, true);
    v->open = false;
}

void progress_update(void *opaque, const struct progress *p)
{
    struct progress_view *v = opaque;
    if (v->mode == PROGRESS_NONE)
        return;
    pthread_mutex_lock(&v->lock);
    bool new_stage = !v->open || p->stage != v->now.stage;
    int64_t now_us = kb_now_us();
    if (new_stage) {
        close_stage(v);
        v->open = true;
        v->stage_began_us = now_us;
        v->first_us = 0;
    }
    v->now = *p;
    if (!v->first_us && p->done > 0) {
        v->first_us = now_us;
        v->first_done = p->done;
    }
    if (new_stage)
        show(v, false);
    pthread_mutex_unlock(&v->lock);
}

static int64_t period_of(enum progress_mode mode)
{
    switch (mode) {
    case PROGRESS_BAR:
        return BAR_PERIOD_US;
    case PROGRESS_JSON:
        return JSON_PERIOD_US;
    default:
        return LINES_PERIOD_US;
    }
}

static void *tick(void *opaque)
{
    struct progress_view *v = opaque;
    int64_t period_us = period_of(v->mode);
    pthread_mutex_lock(&v->lock);
    while (!v->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 100000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&v->stopped, &v->lock, &until);
        if (!v->stop && v->open && kb_now_us() - v->shown_us >= period_us)
            show(v, false);
    }
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

struct progress_view *progress_start(enum progress_mode mode, const char *label)
{
    struct progress_view *v = kb_alloc(sizeof(*v));
    if (mode == PROGRESS_AUTO)
        mode = isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_LINES;
    v->mode = mode;
    v->label = kb_strdup(label ? label : "");
    pthread_mutex_init(&v->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&v->stopped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (mode != PROGRESS_NONE && pthread_create(&v->ticker, NULL, tick, v) != 0)
        abort(); // no thread, no memory: nothing will work
    return v;
}

static void end(struct progress_view **v, bool success)
{
    struct progress_view *view = *v;
    if (!view)
        return;
    *v = NULL;
    if (view->mode != PROGRESS_NONE) {
        pthread_mutex_lock(&view->lock);
        if (success)
            close_stage(view);
        else if (view->open && view->mode == PROGRESS_BAR)
            fputc('\n', stderr);
        view->stop = true;
        pthread_cond_signal(&view->stopped);
        pthread_mutex_unlock(&view->lock);
        pthread_join(view->ticker, NULL);
    }
    pthread_cond_destroy(&view->stopped);
    pthread_mutex_destroy(&view->lock);
    free(view->label);
    free(view);
}

void progress_done(struct progress_view **v)
{
    end(v, true);
}

void progress_stop(struct progress_view **v)
{
    end(v, false);
}
