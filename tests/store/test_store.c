// The database itself: opening, faults, transactions, pages.
#include "tests/queue/queue.h"
#include "queue/batch.h"
#include "queue/job.h"
#include "queue/lease.h"
#include "store/internal.h"
#include "store/privacy.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_open(void **state)
{
    struct queue_test *t = *state;
    static const char *const folders[] = {"files",  "uploads", "thumbs", "results",
                                          "tracks", "logs",    "work"};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        CLEANUP(kb_freep) char *path = path_join(t->folder, folders[i]);
        assert_true(file_is_dir(path));
    }
    CLEANUP(kb_freep) char *path = store_path(t->s, "results", "7-1.mp4");
    assert_string_equal(path + strlen(t->folder), "/results/7-1.mp4");

    struct stat st;
    CLEANUP(kb_freep) char *database = path_join(t->folder, "koubo.db");
    assert_int_equal(stat(database, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    CLEANUP(store_close) struct store *again = NULL;
    assert_ok(t->err, store_open(&again, t->folder, false, &t->err));
    CLEANUP(store_close) struct store *missing = NULL;
    assert_fails(t->err, KB_NOT_FOUND, "--data",
                 store_open(&missing, "/nonexistent/koubo", false, &t->err));
    assert_null(missing);
}

static void put_file(struct queue_test *t, const char *name, const void *data, size_t size)
{
    CLEANUP(kb_freep) char *path = path_join(t->folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

static void test_not_a_database(void **state)
{
    struct queue_test *t = *state;
    char garbage[8192];
    memset(garbage, 'x', sizeof(garbage));
    store_close(&t->s);
    put_file(t, "koubo.db", garbage, sizeof(garbage));
    assert_fails(t->err, KB_BAD_INPUT, "damaged", store_open(&t->s, t->folder, true, &t->err));
    assert_null(t->s);
    put_file(t, "koubo.db", "", 0); // an empty file is an empty database
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
}

static void test_damaged(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 20, 5);
    int64_t pages = ask(t, "PRAGMA page_count"), size = ask(t, "PRAGMA page_size");
    run_sql(t, "PRAGMA wal_checkpoint(TRUNCATE)");
    store_close(&t->s);
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    CLEANUP(kb_freep) char *garbage = kb_alloc((size_t)size);
    memset(garbage, 0xa5, (size_t)size);
    FILE *f = fopen(path, "r+b"); // every page but the first two, which are needed to open
    assert_non_null(f);
    for (int64_t i = 2; i < pages; i++) {
        fseek(f, (long)(i * size), SEEK_SET);
        assert_int_equal(fwrite(garbage, 1, (size_t)size, f), size);
    }
    fclose(f);
    // Found at once or at the first use, in any case with a sentence.
    enum kb_code code = store_open(&t->s, t->folder, true, &t->err);
    if (code == KB_OK) {
        struct text text = {0};
        code = job_list_json(t->s, &(struct job_filter){0}, &text, &t->err);
        text_free(&text);
    }
    assert_int_equal(code, KB_BAD_INPUT);
    assert_non_null(strstr(t->err.text, "damaged"));
}

// A damage that opening does not meet is found before the server works with it, and its sentence
// names the way out.
static void test_check(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 400, 5);
    assert_ok(t->err, store_check(t->s, 0, &t->err));
    run_sql(t, "PRAGMA wal_checkpoint(TRUNCATE)");
    int64_t root = ask(t, "SELECT rootpage FROM sqlite_master WHERE name = 'job_video'");
    store_close(&t->s);
    char noise[4096];
    memset(noise, 0x5a, sizeof(noise));
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)((root - 1) * 4096), SEEK_SET);
    assert_int_equal(fwrite(noise, 1, sizeof(noise), f), sizeof(noise));
    fclose(f);
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    assert_fails(t->err, KB_BAD_INPUT, "'koubo restore'", store_check(t->s, 0, &t->err));
    assert_ok(t->err, store_check(t->s, 4096, &t->err)); // larger than that: not looked at
}

// What a database that a stranger made cannot do.
static void test_guards(void **state)
{
    struct queue_test *t = *state;
    int defensive = 0;
    sqlite3_db_config(t->s->db, SQLITE_DBCONFIG_DEFENSIVE, -1, &defensive);
    assert_int_equal(defensive, 1);
    assert_int_equal(ask(t, "PRAGMA trusted_schema"), 0);
    assert_int_equal(ask(t, "PRAGMA cell_size_check"), 1);
    sqlite3_exec(t->s->db, "PRAGMA writable_schema = ON", NULL, NULL, NULL);
    assert_int_not_equal(
        sqlite3_exec(t->s->db, "UPDATE sqlite_master SET rootpage = 2", NULL, NULL, NULL),
        SQLITE_OK);
    // views that say a sentence, also through one that lies in the file
    run_sql(t, "CREATE VIEW said AS SELECT say('hello') AS text");
    assert_int_equal(ask(t, "SELECT count(*) FROM said WHERE text = 'hello'"), 1);
    run_sql(t, "DROP VIEW said");
}

static void test_newer(void **state)
{
    struct queue_test *t = *state;
    run_sql(t, "PRAGMA user_version = 99");
    store_close(&t->s);
    assert_fails(t->err, KB_BAD_INPUT, "newer koubo (version 99",
                 store_open(&t->s, t->folder, true, &t->err));
}

// A database of version 1 with jobs in all states and a result.
static void test_older(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    store_close(&t->s);
    assert_int_equal(unlink(path), 0);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, store_schema, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "PRAGMA user_version = 1;"
                     "INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, lang,"
                     " created_ms) VALUES (1, 'b', 'a', 'a.wav', '{}', 5, 1, 'en', 1);"
                     "INSERT INTO job(id, batch, video, name, result_name, position, attempts,"
                     " state, state_since_ms, created_ms, result) VALUES"
                     " (1, 1, 'v', 'v', 'v.mp4', 1, 2, 'done', 1, 1, '1-2.mp4'),"
                     " (2, 1, 'v', 'v', 'w.mp4', 2, 1, 'loading', 1, 1, NULL),"
                     " (3, 1, 'v', 'v', 'x.mp4', 3, 0, 'queued', 1, 1, NULL);"
                     "INSERT INTO asset(id, state, kind, name, size, sha256, faces, attempts,"
                     " created_ms) VALUES ('two', 'ready', 'video', 't', 9, 'x', 2, 1, 1),"
                     " ('one', 'ready', 'video', 'o', 9, 'y', 1, 1, 1),"
                     " ('bad', 'bad', 'video', 'b', 9, 'z', 2, 3, 1)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    assert_int_equal(ask(t, "PRAGMA user_version"), STORE_VERSION);
    assert_int_equal(ask(t, "SELECT count(*) FROM job WHERE output = '1-2' AND id = 1"
                            " OR output = '2-1' AND id = 2 OR output IS NULL AND id = 3"),
                     3);
    // where several faces are was not known: they are looked for again
    assert_int_equal(ask(t, "SELECT count(*) FROM asset WHERE state = 'new' AND attempts = 0"
                            " AND id = 'two' OR state <> 'new' AND attempts > 0"),
                     3);
    // a result of a name that no older one had, and what an attempt began
    run_sql(t,
            "UPDATE job SET result = '1_b/a.mp4_c_2026-11-27.mp4', output = '1_b/x' WHERE id = 2");
    run_sql(t, "DELETE FROM job WHERE id = 2");
    assert_int_equal(ask(t, "SELECT count(*) FROM loose WHERE"
                            " kind = 'results' AND name = '1_b/a.mp4_c_2026-11-27'"
                            " OR kind = 'halves' AND name IN ('2-1', '1_b/x')"),
                     3);
    // its deletions are remembered like those of a new one
    run_sql(t, "UPDATE job SET result = NULL WHERE id = 1");
    assert_int_equal(ask(t, "SELECT count(*) FROM loose WHERE kind = 'results' AND name = '1-2'"
                            " AND since_ms > 1600000000000"),
                     1);
}

// Marks of version 5 had no ending: what looks like one belongs to the name.
static void test_older_marks(void **state)
{
    struct queue_test *t = *state;
    static const struct {
        const char *before, *after;
    } cases[] = {{"1_b/a.mov", "1_b/a.mov.mp4"},
                 {"1_b/a.mov.mp4", "1_b/a.mov.mp4.mp4"},
                 {"1_b/a.webm", "1_b/a.webm.mp4"},
                 {"1_b/a.MOV", "1_b/a.MOV"},
                 {"1_b/a.mov_c_2026-11-27", "1_b/a.mov_c_2026-11-27"},
                 {"7-1", "7-1"}};
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    CLEANUP(text_free) struct text sql = {0};
    sqlite3 *db = NULL;
    store_close(&t->s);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(store_make_tables(db, 5), SQLITE_OK);
    text_add(&sql, "INSERT INTO batch(id, name, audio, audio_name, options, priority, turn, lang,"
                   " created_ms) VALUES (1, 'b', 'a', 'a.wav', '{}', 5, 1, 'en', 1);"
                   "INSERT INTO loose VALUES ('files', 'a.mov', 1);");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        text_addf(&sql,
                  "INSERT INTO job(batch, video, name, result_name, position, state_since_ms,"
                  " created_ms, output) VALUES (1, 'v', 'v', 'v.mp4', 1, 1, 1, '%s');"
                  "INSERT INTO loose VALUES ('results', '%s', 1), ('halves', '%s', 1);",
                  cases[i].before, cases[i].before, cases[i].before);
    assert_int_equal(sqlite3_exec(db, text_get(&sql), NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *was = kb_printf("%s.mp4", cases[i].before);
        CLEANUP(kb_freep) char *is = result_of_mark(cases[i].after);
        assert_string_equal(is, was);
        CLEANUP(kb_freep)
        char *found = kb_printf("SELECT count(*) FROM loose, job WHERE id = %zu AND output = '%s'"
                                " AND loose.name = output AND kind IN ('results', 'halves')",
                                i + 1, cases[i].after);
        assert_int_equal(ask(t, "%s", found), 2);
    }
    assert_int_equal(ask(t, "SELECT count(*) FROM loose WHERE kind = 'files' AND name = 'a.mov'"),
                     1);
    assert_int_equal(ask(t, "SELECT count(*) FROM loose"), 2 * ARRAY_LEN(cases) + 1);
    // what an attempt leaves is still noted
    run_sql(t, "DELETE FROM loose; UPDATE job SET output = NULL WHERE id = 1");
    assert_int_equal(ask(t, "SELECT count(*) FROM loose WHERE kind = 'halves'"
                            " AND name = '1_b/a.mov.mp4'"),
                     1);
}

// When no file can be opened any more, permissions are not to blame.
static void test_no_descriptors(void **state)
{
    struct queue_test *t = *state;
    int fds[200], n = 0;
    struct rlimit limit, low;
    CLEANUP(store_close) struct store *s = NULL;
    getrlimit(RLIMIT_NOFILE, &limit);
    low = (struct rlimit){KB_MIN(100, limit.rlim_cur), limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (n < 200 && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n++;
    assert_fails(t->err, KB_UNAVAILABLE, "ulimit -n", store_open(&s, t->folder, false, &t->err));
    while (n > 0)
        close(fds[--n]);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_ok(t->err, store_open(&s, t->folder, false, &t->err));
}

static void test_read_only(void **state)
{
    struct queue_test *t = *state;
    int64_t id = add_batch(t, 1, 5);
    run_sql(t, "PRAGMA query_only = 1"); // SQLite's answer is that of a folder without permission
    assert_fails(t->err, KB_INTERNAL, "cannot be written", batch_pause(t->s, id, true, &t->err));
    struct text text = {0};
    assert_ok(t->err, batch_json(t->s, id, &text, &t->err));
    text_free(&text);
    run_sql(t, "PRAGMA query_only = 0");
    assert_ok(t->err, batch_pause(t->s, id, true, &t->err));
}

// Permissions do not stop root, so the child is nobody.
static void test_no_permission(void **state)
{
    struct queue_test *t = *state;
    store_close(&t->s);
    CLEANUP(kb_freep) char *path = path_join(t->folder, "koubo.db");
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(chmod(t->folder, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *s = NULL;
        struct kb_error err = {0};
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(1);
        enum kb_code code = store_open(&s, t->folder, true, &err);
        _exit(code == KB_INTERNAL && strstr(err.text, t->folder) ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    chmod(t->folder, 0755);
    assert_int_equal(status, 0);
}

// Another process holds the write lock for longer than one is ready to wait.
static void test_locked(void **state)
{
    struct queue_test *t = *state;
    int64_t id = add_batch(t, 2, 5);
    int ready[2], release[2];
    char byte;
    assert_int_equal(pipe(ready) | pipe(release), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *other = NULL;
        bool held = store_open(&other, t->folder, false, NULL) == KB_OK &&
                    store_begin(other, NULL) == KB_OK;
        bool told = write(ready[1], held ? "y" : "n", 1) == 1;
        close(release[1]);
        _exit(told && read(release[0], &byte, 1) == 1 && store_commit(other, NULL) == KB_OK ? 0
                                                                                            : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    sqlite3_busy_timeout(t->s->db, 30);
    struct job_claim c = {0};
    assert_fails(t->err, KB_UNAVAILABLE, "locked", batch_pause(t->s, id, true, &t->err));
    assert_fails(t->err, KB_UNAVAILABLE, "locked", job_claim(t->s, "w1", 0, &c, &t->err));
    assert_fails(t->err, KB_UNAVAILABLE, "locked", setting_put(t->s, "a", "1", &t->err));
    json_t *json = batch_of(t, id); // who only reads does not wait
    json_decref(json);
    assert_int_equal(write(release[1], "x", 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(t->err, batch_pause(t->s, id, true, &t->err));
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(release[i]);
    }
}

// Several processes that start together on a new folder.
static void test_opened_together(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *folder = path_join(t->folder, "new");
    pid_t children[6];
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        children[i] = fork();
        if (children[i] == 0) {
            struct store *s = NULL;
            struct kb_error err = {0};
            char name[8];
            snprintf(name, sizeof(name), "n%zu", i);
            bool fine = store_open(&s, folder, true, &err) == KB_OK &&
                        setting_put(s, name, "{}", &err) == KB_OK;
            if (!fine)
                print_error("%s\n", err.text);
            _exit(fine ? 0 : 1);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    CLEANUP(store_close) struct store *s = NULL;
    assert_ok(t->err, store_open(&s, folder, false, &t->err));
    int64_t n = 0;
    assert_ok(t->err, store_query_int(s, &n, &t->err,
                                      "SELECT count(*) FROM setting WHERE name LIKE 'n_'", ""));
    assert_int_equal(n, ARRAY_LEN(children));
}

// Opened again, the database is still locked by this process: one that comes and goes does not take
// the WAL with it, and what is written then is seen by all.
static void test_kept_by_locks(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(store_close) struct store *again = NULL, *fresh = NULL;
    assert_ok(t->err, store_open(&again, t->folder, true, &t->err));
    pid_t child = fork();
    if (child == 0) {
        struct store *s = NULL;
        enum kb_code code = store_open(&s, t->folder, false, NULL);
        store_close(&s);
        _exit(code);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    CLEANUP(kb_freep) char *wal = path_join(t->folder, "koubo.db-wal");
    assert_true(file_exists(wal));
    assert_ok(t->err, setting_put(t->s, "kept", "[1]", &t->err));
    assert_ok(t->err, store_open(&fresh, t->folder, false, &t->err));
    CLEANUP(text_free) struct text value = {0};
    assert_ok(t->err, setting_get(fresh, "kept", &value, &t->err));
    assert_string_equal(text_get(&value), "[1]");
}

static void test_settings(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(text_free) struct text text = {0};
    assert_ok(t->err, setting_get(t->s, "notify", &text, &t->err));
    assert_int_equal(text.size, 0);
    assert_ok(t->err, setting_put(t->s, "notify", "{\"a\":1}", &t->err));
    assert_ok(t->err, setting_put(t->s, "notify", "{\"a\":2}", &t->err));
    assert_ok(t->err, setting_get(t->s, "notify", &text, &t->err));
    assert_string_equal(text_get(&text), "{\"a\":2}");
}

static void put(struct queue_test *t, const char *name)
{
    assert_ok(t->err, setting_put(t->s, name, "1", &t->err));
}

static void test_transactions(void **state)
{
    struct queue_test *t = *state;
    store_rollback(t->s); // none is open
    assert_ok(t->err, store_begin(t->s, &t->err));
    put(t, "a");
    assert_ok(t->err, store_begin(t->s, &t->err));
    put(t, "b");
    assert_ok(t->err, store_commit(t->s, &t->err));
    assert_ok(t->err, store_commit(t->s, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM setting WHERE name <> 'folder'"), 2);

    assert_ok(t->err, store_begin(t->s, &t->err));
    put(t, "c");
    assert_ok(t->err, store_begin(t->s, &t->err));
    put(t, "d");
    store_rollback(t->s);
    put(t, "e");
    assert_fails(t->err, KB_INTERNAL, "rolled back", store_commit(t->s, &t->err));
    assert_int_equal(ask(t, "SELECT count(*) FROM setting WHERE name <> 'folder'"), 2);

    assert_ok(t->err, store_begin(t->s, &t->err));
    put(t, "f");
    assert_int_equal(store_end(t->s, KB_BAD_INPUT, &t->err), KB_BAD_INPUT);
    assert_int_equal(ask(t, "SELECT count(*) FROM setting WHERE name <> 'folder'"), 2);
    assert_int_equal(sqlite3_get_autocommit(t->s->db), 1);
}

static void test_durable(void **state)
{
    struct queue_test *t = *state;
    assert_int_equal(ask(t, "PRAGMA synchronous"), 1);
    store_set_durable(t->s, true);
    assert_int_equal(ask(t, "PRAGMA synchronous"), 2);
    assert_ok(t->err, store_begin(t->s, &t->err));
    store_set_durable(t->s, false); // not possible before the end
    assert_int_equal(ask(t, "PRAGMA synchronous"), 2);
    assert_ok(t->err, store_commit(t->s, &t->err));
    assert_int_equal(ask(t, "PRAGMA synchronous"), 1);
}

static void test_data_version(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(store_close) struct store *other = NULL;
    assert_ok(t->err, store_open(&other, t->folder, false, &t->err));
    int64_t version = store_data_version(t->s);
    assert_int_equal(store_data_version(t->s), version);
    assert_ok(t->err, setting_put(other, "a", "1", &t->err));
    assert_true(store_data_version(t->s) != version);
}

static void test_like(void **state)
{
    struct queue_test *t = *state;
    static const struct {
        const char *search, *name;
        bool found;
    } cases[] = {
        {"", "anything", true},      {"mp4", "A.MP4", true},         {"100%", "100%.mp4", true},
        {"100%", "1000.mp4", false}, {"a_b", "a_b.mp4", true},       {"a_b", "axb.mp4", false},
        {"c\\d", "c\\d.mp4", true},  {"视频", "我的视频.mp4", true}, {"'; DROP", "x.mp4", false},
    };
    assert_null(store_like(NULL));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *like = store_like(cases[i].search);
        int64_t found = -1;
        assert_ok(t->err, store_query_int(t->s, &found, &t->err, "SELECT ?1 LIKE ?2 ESCAPE '\\'",
                                          "tt", cases[i].name, like));
        if (found != cases[i].found)
            fail_msg("'%s' in '%s'", cases[i].search, cases[i].name);
    }
}

static void test_default_folder(void **state)
{
    static const struct {
        const char *own, *shared, *home, *wanted;
    } cases[] = {
        {"/a", "/b", "/c", "/a"},
        {"", "/b", "/c", "/b/koubo"},
        {NULL, "", "/c", "/c/.local/share/koubo"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *names[] = {"KOUBO_DATA", "XDG_DATA_HOME", "HOME"};
        const char *values[] = {cases[i].own, cases[i].shared, cases[i].home};
        for (int k = 0; k < 3; k++) {
            if (values[k])
                setenv(names[k], values[k], 1);
            else
                unsetenv(names[k]);
        }
        CLEANUP(kb_freep) char *folder = store_default_folder();
        assert_string_equal(folder, cases[i].wanted);
    }
}

// A disk that fills up at any moment: the sentence, and nothing half written.
static void test_disk_full(void **state)
{
    struct queue_test *t = *state;
    add_batch(t, 1, 5);
    static const char *videos[400];
    char audio[33], video[33];
    snprintf(audio, sizeof(audio), "%s", add_asset(t, "audio", "ready", "s.wav"));
    snprintf(video, sizeof(video), "%s", add_asset(t, "video", "ready", "a long name.mp4"));
    for (size_t i = 0; i < ARRAY_LEN(videos); i++)
        videos[i] = video;
    struct batch_params p = {.audio = audio, .videos = videos, .n_videos = ARRAY_LEN(videos)};
    int64_t pages = ask(t, "PRAGMA page_count"), jobs = ask(t, "SELECT count(*) FROM job"), id = 0;
    int failures = 0;
    enum kb_code code = KB_NO_SPACE;
    for (; code == KB_NO_SPACE && failures < 100; failures++) {
        ask(t, "PRAGMA max_page_count = %lld", (long long)(pages + failures));
        code = batch_create(t->s, &p, &id, &t->err);
        if (code == KB_NO_SPACE) {
            assert_non_null(strstr(t->err.text, "no space"));
            assert_int_equal(ask(t, "SELECT count(*) FROM batch"), 1);
            assert_int_equal(ask(t, "SELECT count(*) FROM job"), jobs);
            assert_int_equal(t->s->depth, 0);
        }
    }
    assert_ok(t->err, code);
    assert_true(failures > 3);
    assert_int_equal(ask(t, "SELECT count(*) FROM job"), jobs + (int)ARRAY_LEN(videos));
    assert_int_equal(ask(t, "SELECT count(*) FROM pragma_integrity_check"
                            " WHERE integrity_check = 'ok'"),
                     1);
}

static int mode_of(struct queue_test *t, const char *name)
{
    struct stat st;
    CLEANUP(kb_freep) char *path = path_join(t->folder, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void test_folders_are_private(void **state)
{
    struct queue_test *t = *state;
    static const char *const names[] = {"files",  "uploads",  "thumbs", "results",
                                        "tracks", "networks", "logs",   "work"};
    CLEANUP(text_free) struct text closed = {0};
    CLEANUP(text_free) struct text left = {0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(mode_of(t, names[i]), 0700);
    // Those of an older koubo are closed, once: then they are as their owner wants them.
    CLEANUP(kb_freep) char *results = path_join(t->folder, "results");
    CLEANUP(kb_freep) char *thumbs = path_join(t->folder, "thumbs");
    assert_int_equal(chmod(results, 0755) | chmod(thumbs, 0750), 0);
    CLEANUP(kb_freep) char *backups = path_join(t->folder, "backups");
    assert_ok(t->err, file_write_atomic(backups, "in its place", 12, &t->err));
    assert_ok(t->err, privacy_close_folders(t->s, &closed, &left, &t->err));
    assert_string_equal(text_get(&closed), "results, thumbs");
    assert_string_equal(text_get(&left), "backups");
    assert_int_equal(unlink(backups), 0);
    assert_int_equal(mode_of(t, "results"), 0700);
    assert_int_equal(mode_of(t, "thumbs"), 0700);
    assert_int_equal(chmod(results, 0755), 0);
    assert_ok(t->err, privacy_close_folders(t->s, &closed, &left, &t->err));
    assert_string_equal(text_get(&closed), "");
    assert_string_equal(text_get(&left), "");
    store_close(&t->s);
    assert_ok(t->err, store_open(&t->s, t->folder, true, &t->err));
    assert_int_equal(mode_of(t, "results"), 0755);
}

static void test_linked_folder(void **state)
{
    struct queue_test *t = *state;
    CLEANUP(kb_freep) char *results = path_join(t->folder, "results");
    store_close(&t->s);
    assert_int_equal(rmdir(results), 0);
    assert_int_equal(symlink("/etc", results), 0);
    assert_fails(t->err, KB_BAD_INPUT, "is a link", store_open(&t->s, t->folder, true, &t->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_not_a_database, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_damaged, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_check, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_guards, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_newer, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_older, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_older_marks, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptors, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_read_only, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_no_permission, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_locked, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_opened_together, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_kept_by_locks, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_settings, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_transactions, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_durable, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_data_version, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_like, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_folders_are_private, queue_setup, queue_teardown),
        cmocka_unit_test_setup_teardown(test_linked_folder, queue_setup, queue_teardown),
        cmocka_unit_test(test_default_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
