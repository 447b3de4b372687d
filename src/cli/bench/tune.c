// koubo bench --tune: which convolutions of Wav2Lip are fastest in which way here, and the
// whole of it in which precision.
#include "cli/bench/bench.h"

#include "base/cache.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/screen.h"
#include "nn/import/import.h"
#include "nn/tuning.h"
#include "store/store.h"

#define BATCH 8 // as jobs run it
#define RUNS  5

static void print_row(const struct tuned *l)
{
    const struct layer *a = &l->layer;
    CLEANUP(kb_freep)
    char *name = kb_printf("%d > %d, %dx%d%s%s", a->in_c, a->out_c, a->h, a->w,
                           a->is_twice ? " x2" : "", a->bits == 16 ? " bf16" : "");
    printf("%-24s", name);
    for (int way = 0; way < TUNING_WAYS; way++) {
        int tile = tuning_tile(way);
        if (a->is_twice && tile == 2)
            printf("%9s ", "-");
        else
            printf("%9.2f%s", l->ms[way], tile == l->tile ? "*" : " ");
    }
    putchar('\n');
}

static void print_table(const struct tuning *t)
{
    screen_print_padded(stdout, _("ms a batch of eight"), 24);
    printf("%9s %9s %9s %9s\n", "0", "2", "3", "4");
    for (int i = 0; i < t->n; i++)
        print_row(&t->layers[i]);
}

static void print_precisions(const struct tuning *t)
{
    for (enum precision p = PRECISION_F32; p <= PRECISION_INT8; p++)
        if (t->whole[p].ms > 0)
            printf("%-24s%9.1f ms %9.0f MB\n", precision_name(p), t->whole[p].ms, t->whole[p].mb);
    log_info(_("--precision auto takes %s here, and %s where a model's ranges for int8 are known"),
             precision_name(tuning_precision(t, PRECISION_AUTO, false)),
             precision_name(tuning_precision(t, PRECISION_AUTO, true)));
}

// The server of this user lends it to its workers from now on, if there is one.
static enum kb_code save_for_server(const struct tuning *t, struct kb_error *err)
{
    CLEANUP(kb_freep) char *data = store_default_folder();
    CLEANUP(kb_freep) char *database = path_join(data, "koubo.db");
    CLEANUP(kb_freep) char *folder = path_join(data, "networks");
    CLEANUP(kb_freep) char *path = lips_tuning_path(folder);
    if (!file_exists(database))
        return KB_OK;
    enum kb_code code = file_make_dirs(folder, err);
    if (code == KB_OK)
        code = tuning_save(t, path, err);
    if (code == KB_OK)
        log_info(_("and in '%s', for koubo serve"), path);
    return code;
}

enum kb_code bench_tune(struct kb_error *err)
{
    CLEANUP(tensor_set_free) struct tensor_set *weights = wav2lip_random(1);
    CLEANUP(graph_free) struct graph *g = NULL;
    CLEANUP(tuning_free) struct tuning *t = NULL;
    CLEANUP(kb_freep) char *folder = cache_folder("networks");
    CLEANUP(kb_freep) char *path = lips_tuning_path(folder);
    log_info(_("measuring the layers of Wav2Lip; this takes some twenty seconds"));
    enum kb_code code = wav2lip_graph(&g, weights, err);
    if (code == KB_OK)
        code = tuning_measure(&t, g, BATCH, RUNS, cli_cancel(), err);
    if (code == KB_OK)
        code = file_make_dirs(folder, err);
    if (code == KB_OK)
        code = tuning_save(t, path, err);
    if (code != KB_OK)
        return code;
    print_table(t);
    print_precisions(t);
    log_info(_("kept in '%s'; Wav2Lip is packed anew when it is next used"), path);
    return save_for_server(t, err);
}
