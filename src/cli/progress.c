#include "cli/progress.h"

#include "base/deadline.h"
#include "base/log.h"
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
#define BAR_WIDTH       20 // columns, brackets and all
#define LABEL_LEAST     10 // columns of a label that is cut short

struct progress_view {
    enum progress_mode mode;
    char *label;
    progress_whole_fn *whole; // NULL: the view shows all there is
    void *opaque;
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

// The others count models, samples or columns of the mel, which nobody knows by number.
static bool counts_frames(enum stage stage)
{
    return stage == STAGE_PREPROCESSING || stage == STAGE_GENERATING;
}

static double fraction_of(const struct progress *now)
{
    return now->total > 0 ? (double)KB_MIN(now->done, now->total) / (double)now->total : 0;
}

static double next_fraction(const struct progress_whole *w)
{
    return w->next_ready ? 1 : fraction_of(&w->next_at);
}

static void print_json(const struct progress_view *v, int64_t now_us)
{
    bool frames = counts_frames(v->now.stage);
    double rate = rate_of(v, now_us);
    double left =
        v->now.total > v->now.done && rate > 0 ? (double)(v->now.total - v->now.done) / rate : 0;
    printf("{\"stage\":\"%s\",\"done\":%lld,\"total\":%lld,\"progress\":%.3f,\"fps\":%.1f,"
           "\"eta_s\":%.1f,\"elapsed_s\":%.1f",
           stage_id(v->now.stage), frames ? (long long)v->now.done : 0LL,
           frames ? (long long)v->now.total : 0LL, fraction_of(&v->now), frames ? rate : 0, left,
           (double)(now_us - v->stage_began_us) / 1e6);
    if (v->whole) {
        struct progress_whole w = {0};
        v->whole(v->opaque, &v->now, &w);
        printf(",\"video\":%d,\"videos\":%d,\"batch\":{\"progress\":%.3f,\"eta_s\":", w.part,
               w.parts, w.done);
        printf(w.left_s < 0 ? "null" : "%.1f", w.left_s);
        printf(",\"elapsed_s\":%.1f}", (double)(now_us - w.began_us) / 1e6);
        if (w.next > 0)
            printf(",\"next\":{\"video\":%d,\"stage\":\"%s\",\"progress\":%.3f}", w.next,
                   stage_id(w.next_at.stage), next_fraction(&w));
    }
    puts("}");
    fflush(stdout);
}

// " 12:05", or "1:02:05" from an hour on.
static void format_time(char *ret, size_t size, int64_t seconds)
{
    if (seconds >= 3600)
        snprintf(ret, size, "%lld:%02d:%02d", (long long)(seconds / 3600), (int)(seconds / 60 % 60),
                 (int)(seconds % 60));
    else
        snprintf(ret, size, "%2d:%02d", (int)(seconds / 60), (int)(seconds % 60));
}

// What is said of a part or a stage, each piece with two spaces before it, "" for nothing.
struct figures {
    int percent;
    char elapsed[64], left[64]; // closing: elapsed says it all
    char count[64], speed[64];
    char next[96];
};

static struct figures figures_of(const struct progress_view *v, int64_t now_us, bool closing)
{
    struct figures f = {.percent = closing ? 100 : (int)(100 * fraction_of(&v->now))};
    double rate = rate_of(v, now_us);
    int64_t left = eta_s(v, rate), began_us = v->stage_began_us;
    if (v->whole) {
        struct progress_whole w = {0};
        v->whole(v->opaque, &v->now, &w);
        f.percent = (int)(100 * w.done);
        left = w.left_s < 0 ? -1 : (int64_t)(w.left_s + 0.5);
        began_us = w.began_us;
        if (w.next > 0)
            snprintf(f.next, sizeof(f.next), _("  next: %s %d%%"), stage_title(w.next_at.stage),
                     (int)(100 * next_fraction(&w)));
    }
    char time[24];
    if (closing) {
        snprintf(f.elapsed, sizeof(f.elapsed), _("  done in %.1f s"),
                 (double)(now_us - v->stage_began_us) / 1e6);
    } else {
        format_time(time, sizeof(time), (now_us - began_us) / 1000000);
        snprintf(f.elapsed, sizeof(f.elapsed), _("  elapsed %s"), time);
        if (left >= 0)
            format_time(time, sizeof(time), left);
        else
            snprintf(time, sizeof(time), "--:--");
        snprintf(f.left, sizeof(f.left), _("  left %s"), time);
    }
    if (v->now.total > 0 && counts_frames(v->now.stage))
        snprintf(f.count, sizeof(f.count), "  %lld/%lld", (long long)v->now.done,
                 (long long)v->now.total);
    if (rate > 0 && *f.count)
        snprintf(f.speed, sizeof(f.speed), _("  %.1f fps"), rate);
    return f;
}

static int title_width(void)
{
    int width = 0;
    for (enum stage i = STAGE_LOADING; i < N_STAGES; i++)
        width = KB_MAX(width, screen_width(stage_title(i)));
    return width;
}

// Take width columns from *room; false and nothing taken if there are fewer.
static bool takes(int *room, int width)
{
    if (width > *room)
        return false;
    *room -= width;
    return true;
}

static void add_bar(struct text *t, int percent)
{
    text_add(t, " [");
    for (int i = 0; i < BAR_WIDTH - 2; i++)
        text_add(t, i * 100 < percent * (BAR_WIDTH - 2) ? "=" : " ");
    text_add(t, "]");
}

// Name, stage, bar, percent and times, each at its place; what does not fit is left out, the least
// needed first.
static void print_bar(const struct progress_view *v, int64_t now_us, bool closing)
{
    struct figures f = figures_of(v, now_us, closing);
    const char *title = stage_title(v->now.stage);
    int columns = screen_columns(stderr) - 1, label_width = screen_width(v->label);
    int room = columns - title_width() - 5;
    bool left = takes(&room, screen_width(f.left));
    int label = *v->label ? KB_MIN(label_width, LABEL_LEAST) : 0;
    if (label > 0 && !takes(&room, label + 1))
        label = 0;
    bool bar = takes(&room, BAR_WIDTH + 1);
    bool elapsed = takes(&room, screen_width(f.elapsed));
    int more = label > 0 ? KB_MAX(0, KB_MIN(label_width - label, room)) : 0;
    takes(&room, more);
    bool count = takes(&room, screen_width(f.count));
    bool speed = count && takes(&room, screen_width(f.speed));
    bool next = takes(&room, screen_width(f.next));

    CLEANUP(text_free) struct text line = {0};
    CLEANUP(kb_freep) char *name = screen_cut(v->label, label + more);
    text_addf(&line, "%s%s%s%*s", name, label ? " " : "", title,
              title_width() - screen_width(title), "");
    if (bar)
        add_bar(&line, f.percent);
    text_addf(&line, " %3d%%%s%s%s%s%s", f.percent, elapsed ? f.elapsed : "", left ? f.left : "",
              count ? f.count : "", speed ? f.speed : "", next ? f.next : "");
    CLEANUP(kb_freep) char *fits = screen_cut(text_get(&line), columns);
    fprintf(stderr, "\r%s\033[K%s", fits, closing ? "\n" : "");
    fflush(stderr);
}

static void print_line(const struct progress_view *v, int64_t now_us, bool closing)
{
    struct figures f = figures_of(v, now_us, closing);
    fprintf(stderr, "%s%s%s %d%%%s%s%s%s%s\n", v->label, *v->label ? " " : "",
            stage_title(v->now.stage), f.percent, f.elapsed, f.left, f.count, f.speed, f.next);
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
    if (v->open && !v->whole)
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
        struct timespec until = deadline_in(100);
        pthread_cond_timedwait(&v->stopped, &v->lock, &until);
        if (!v->stop && v->open && kb_now_us() - v->shown_us >= period_us)
            show(v, false);
    }
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

enum progress_mode progress_mode_of(enum progress_mode mode)
{
    if (mode != PROGRESS_AUTO)
        return mode;
    return isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_LINES;
}

struct progress_view *progress_start(enum progress_mode mode, const char *label)
{
    return progress_start_part(mode, label, NULL, NULL);
}

struct progress_view *progress_start_part(enum progress_mode mode, const char *label,
                                          progress_whole_fn *whole, void *opaque)
{
    struct progress_view *v = kb_alloc(sizeof(*v));
    v->mode = mode = progress_mode_of(mode);
    v->label = kb_strdup(label ? label : "");
    v->whole = whole;
    v->opaque = opaque;
    log_over_bar(mode == PROGRESS_BAR);
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
        if (view->mode == PROGRESS_BAR && view->whole)
            fputs("\r\033[K", stderr);
        else if (view->mode == PROGRESS_BAR && view->open && !success)
            fputc('\n', stderr);
        if (success)
            close_stage(view);
        log_over_bar(false);
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
