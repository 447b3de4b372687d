#include "store/identity.h"

#include "base/beneath.h"
#include "base/file.h"
#include "store/backup.h"
#include "store/lost.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTING "folder"

// --- the file

static bool is_identity(const char *text)
{
    return strspn(text, "0123456789abcdef") == IDENTITY_DIGITS && text[IDENTITY_DIGITS] == '\0';
}

// "": there is none, or what lies there is not one.
static void read_file(const char *folder, char ret[IDENTITY_DIGITS + 1])
{
    char text[IDENTITY_DIGITS + 2] = "";
    int fd = beneath_open(folder, IDENTITY_NAME, O_RDONLY, 0);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    snprintf(ret, IDENTITY_DIGITS + 1, "%s", is_identity(text) ? text : "");
}

static enum kb_code write_file(struct store *s, const char *identity, struct kb_error *err)
{
    CLEANUP(kb_freep) char *path = path_join(s->folder, IDENTITY_NAME);
    CLEANUP(kb_freep) char *line = kb_printf("%s\n", identity);
    enum kb_code code = file_write_atomic(path, line, strlen(line), err);
    if (code == KB_OK)
        chmod(path, 0600);
    return code;
}

void identity_forget(const char *folder)
{
    beneath_unlink(folder, IDENTITY_NAME);
}

// --- the row: a JSON document, as settings are

static enum kb_code read_row(struct store *s, char ret[IDENTITY_DIGITS + 1], struct kb_error *err)
{
    CLEANUP(text_free) struct text json = {0};
    enum kb_code code = setting_get(s, SETTING, &json, err);
    ret[0] = '\0';
    if (code == KB_OK && json.size == IDENTITY_DIGITS + 2 && json.data[0] == '"') {
        memcpy(ret, json.data + 1, IDENTITY_DIGITS);
        ret[IDENTITY_DIGITS] = '\0';
        if (!is_identity(ret))
            ret[0] = '\0';
    }
    return code;
}

static enum kb_code write_row(struct store *s, const char *identity, struct kb_error *err)
{
    CLEANUP(kb_freep) char *json = kb_printf("\"%s\"", identity);
    return setting_put(s, SETTING, json, err);
}

// Several processes may open a new folder at once: the first row stays.
static enum kb_code make_row(struct store *s, const char *wanted, char ret[IDENTITY_DIGITS + 1],
                             struct kb_error *err)
{
    char made[IDENTITY_DIGITS + 1];
    kb_random_hex(made, IDENTITY_DIGITS);
    enum kb_code code = store_begin(s, err);
    if (code != KB_OK)
        return code;
    code = read_row(s, ret, err);
    if (code == KB_OK && !*ret) {
        snprintf(ret, IDENTITY_DIGITS + 1, "%s", *wanted ? wanted : made);
        code = write_row(s, ret, err);
    }
    return store_end(s, code, err);
}

// --- both

enum kb_code identity_expect(const char *folder, struct kb_error *err)
{
    struct lost there = {0};
    int n_backups = 0;
    enum kb_code code = folder_count(folder, &there, err);
    if (code == KB_OK)
        code = backup_count(folder, &n_backups, err);
    if (code != KB_OK || there.n_results + there.n_others + n_backups == 0)
        return code;
    return kb_fail(err, KB_NOT_FOUND,
                   _("the database of '%s' (koubo.db) is gone, but its files are there: %d "
                     "results, %d others, %d backups. 'koubo restore' brings back what can be had; "
                     "'koubo serve --new-database' begins with an empty one, and the files stay"),
                   folder, there.n_results, there.n_others, n_backups);
}

// One that an older koubo made after the database was lost: no row knows it, and nothing is in it.
static enum kb_code is_blank(struct store *s, bool *ret, struct kb_error *err)
{
    int64_t n = 0;
    enum kb_code code = store_query_int(s, &n, err,
                                        "SELECT EXISTS(SELECT 1 FROM asset) +"
                                        " EXISTS(SELECT 1 FROM batch) + EXISTS(SELECT 1 FROM job)",
                                        "");
    *ret = n == 0;
    return code;
}

static enum kb_code complete(struct store *s, bool adopt, const char *file, struct kb_error *err)
{
    char row[IDENTITY_DIGITS + 1];
    bool blank = false;
    enum kb_code code = KB_OK;
    if (*file && !adopt)
        code = is_blank(s, &blank, err);
    if (code == KB_OK && blank)
        code = identity_expect(s->folder, err);
    if (code == KB_OK)
        code = make_row(s, file, row, err);
    return code == KB_OK && !*file ? write_file(s, row, err) : code;
}

enum kb_code identity_check(struct store *s, bool adopt, struct kb_error *err)
{
    char file[IDENTITY_DIGITS + 1], row[IDENTITY_DIGITS + 1];
    read_file(s->folder, file);
    enum kb_code code = read_row(s, row, err);
    if (code != KB_OK || (*row && strcmp(file, row) == 0))
        return code;
    if (!*row)
        return complete(s, adopt, file, err);
    if (!*file)
        return write_file(s, row, err);
    if (adopt)
        return write_row(s, file, err);
    return kb_fail(err, KB_BAD_INPUT,
                   _("the database in '%s' is that of another folder (it says %.8s, the file 'id' "
                     "says %.8s). Put the right one in its place, or choose another folder with "
                     "--data; 'koubo restore --adopt' takes it for this folder's"),
                   s->folder, row, file);
}
