/* powercut.c — the recording file system; powercut_image.c builds the images from its trace.
 *
 * The trace knows nodes (files and folders, numbered; 0 is the folder under test) and entries
 * (folder, name → node), as a disk does: a rename moves an entry, an open file follows its node.
 * An image replays the trace up to the cut with two sets of state: what is durable, and what is
 * pending since the last sync of its file or folder; then draws from the pending.
 */
#include "base/mem.h"
#include "support/powercut_priv.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct cut_file {
    struct ak_file base;
    struct powercut *cut;
    struct ak_file *under;
    uint32_t node;
};

_Noreturn void powercut_give_up(const char *what, const char *path)
{
    (void)fprintf(stderr, "powercut: %s '%s' failed\n", what, path);
    abort();
}

/* ---- Names ---- */

static struct entry *find_entry(const struct names *names, uint32_t dir, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (names->p[i].dir == dir && strcmp(names->p[i].name, name) == 0) {
            return &names->p[i];
        }
    }
    return NULL;
}

void powercut_set_entry(struct names *names, uint32_t dir, const char *name, uint32_t node)
{
    struct entry *entry = find_entry(names, dir, name);
    if (!entry) {
        if (names->count == names->cap) {
            names->cap = names->cap ? names->cap * 2 : 16;
            names->p = ak_realloc(names->p, names->cap * sizeof *names->p);
        }
        entry = &names->p[names->count++];
    }
    *entry = (struct entry){.dir = dir, .node = node, .name = name};
}

static void drop_entry(struct names *names, uint32_t dir, const char *name)
{
    struct entry *entry = find_entry(names, dir, name);
    if (entry) {
        *entry = names->p[--names->count];
    }
}

void powercut_apply_name_op(struct names *names, const struct op *op)
{
    if (op->kind == OP_UNLINK) {
        drop_entry(names, op->dir, op->name);
    } else if (op->kind == OP_LINK) {
        powercut_set_entry(names, op->dir, op->name, op->node);
    } else {
        struct entry *old = find_entry(names, op->dir, op->name);
        if (old && old->node == op->node) { /* else a lost operation has left it elsewhere */
            drop_entry(names, op->dir, op->name);
        }
        powercut_set_entry(names, op->to_dir, op->to_name, op->node);
    }
}

/* Find the folder and the last name of `path` in the live tree; false: not below the folder under
 * test. `name` is empty for that folder itself. */
static bool locate(const struct powercut *cut, const char *path, uint32_t *dir,
                   char name[NAME_MAX + 1])
{
    size_t root = strlen(cut->dir);
    if (strncmp(path, cut->dir, root) != 0 || (path[root] != '/' && path[root] != '\0')) {
        return false;
    }
    const char *p = path + root;
    *dir = 0;
    name[0] = '\0';
    for (;;) {
        while (*p == '/') {
            p++;
        }
        if (*p == '\0') {
            return true;
        }
        if (name[0]) {
            const struct entry *entry = find_entry(&cut->live, *dir, name);
            if (!entry) {
                return false; /* the real operation is about to fail */
            }
            *dir = entry->node;
        }
        size_t len = strcspn(p, "/");
        if (len > NAME_MAX) {
            return false;
        }
        memcpy(name, p, len);
        name[len] = '\0';
        p += len;
    }
}

/* ---- Recording ---- */

static uint32_t add_node(struct powercut *cut, bool is_dir)
{
    if (cut->node_count == cut->node_cap) {
        cut->node_cap = cut->node_cap ? cut->node_cap * 2 : 16;
        cut->nodes = ak_realloc(cut->nodes, cut->node_cap * sizeof *cut->nodes);
    }
    cut->nodes[cut->node_count] = (struct node){.is_dir = is_dir};
    return cut->node_count++;
}

static struct op *record(struct powercut *cut, enum op_kind kind, uint32_t node)
{
    if (cut->op_count == cut->op_cap) {
        cut->op_cap = cut->op_cap ? cut->op_cap * 2 : 256;
        cut->ops = ak_realloc(cut->ops, cut->op_cap * sizeof *cut->ops);
    }
    struct op *op = &cut->ops[cut->op_count++];
    *op = (struct op){.kind = kind, .node = node};
    return op;
}

static void record_entry(struct powercut *cut, enum op_kind kind, uint32_t dir, const char *name,
                         uint32_t node)
{
    struct op *op = record(cut, kind, node);
    op->dir = dir;
    op->name = ak_strdup_n(name, strlen(name));
    powercut_apply_name_op(&cut->live, op);
}

static struct cut_file *file_of(struct ak_file *file)
{
    return (struct cut_file *)file;
}

static struct powercut *cut_of(struct ak_fs *fs)
{
    return (struct powercut *)fs;
}

static enum ak_rc cut_read(struct ak_file *base, uint64_t at, void *p, size_t len, size_t *got,
                           struct ak_err *err)
{
    return ak_file_read(file_of(base)->under, at, p, len, got, err);
}

static enum ak_rc cut_write(struct ak_file *base, uint64_t at, const void *p, size_t len,
                            struct ak_err *err)
{
    struct cut_file *file = file_of(base);
    (void)pthread_mutex_lock(&file->cut->mutex);
    enum ak_rc rc = ak_file_write(file->under, at, p, len, err);
    if (rc == AK_OK && len) {
        struct op *op = record(file->cut, OP_WRITE, file->node);
        op->at = at;
        op->len = len;
        op->bytes = ak_alloc(len);
        memcpy(op->bytes, p, len);
    }
    (void)pthread_mutex_unlock(&file->cut->mutex);
    return rc;
}

static enum ak_rc cut_sync(struct ak_file *base, struct ak_err *err)
{
    struct cut_file *file = file_of(base);
    (void)pthread_mutex_lock(&file->cut->mutex);
    enum ak_rc rc = ak_file_sync(file->under, err);
    if (rc == AK_OK) {
        (void)record(file->cut, OP_SYNC, file->node);
    }
    (void)pthread_mutex_unlock(&file->cut->mutex);
    return rc;
}

static enum ak_rc cut_truncate(struct ak_file *base, uint64_t size, struct ak_err *err)
{
    struct cut_file *file = file_of(base);
    (void)pthread_mutex_lock(&file->cut->mutex);
    enum ak_rc rc = ak_file_truncate(file->under, size, err);
    if (rc == AK_OK) {
        record(file->cut, OP_TRUNCATE, file->node)->at = size;
    }
    (void)pthread_mutex_unlock(&file->cut->mutex);
    return rc;
}

static enum ak_rc cut_allocate(struct ak_file *base, uint64_t at, uint64_t len, struct ak_err *err)
{
    struct cut_file *file = file_of(base);
    (void)pthread_mutex_lock(&file->cut->mutex);
    enum ak_rc rc = ak_file_allocate(file->under, at, len, err);
    if (rc == AK_OK) {
        struct op *op = record(file->cut, OP_ALLOCATE, file->node);
        op->at = at;
        op->len = len;
    }
    (void)pthread_mutex_unlock(&file->cut->mutex);
    return rc;
}

static enum ak_rc cut_size(struct ak_file *base, uint64_t *size, struct ak_err *err)
{
    return ak_file_size(file_of(base)->under, size, err);
}

static int cut_fd(struct ak_file *base)
{
    return ak_file_fd(file_of(base)->under);
}

static void cut_close(struct ak_file *base)
{
    ak_file_close(file_of(base)->under);
    ak_free(base);
}

static const struct ak_file_ops cut_file_ops = {
    .read = cut_read,
    .write = cut_write,
    .sync = cut_sync,
    .truncate = cut_truncate,
    .allocate = cut_allocate,
    .size = cut_size,
    .fd = cut_fd,
    .close = cut_close,
};

static enum ak_rc cut_open(struct ak_fs *fs, const char *path, unsigned flags, struct ak_file **out,
                           struct ak_err *err)
{
    struct powercut *cut = cut_of(fs);
    struct ak_file *under = NULL;
    uint32_t dir = 0;
    char name[NAME_MAX + 1];
    (void)pthread_mutex_lock(&cut->mutex);
    bool is_seen = locate(cut, path, &dir, name);
    enum ak_rc rc = ak_fs_open(cut->under, path, flags, &under, err);
    if (rc == AK_OK && is_seen) {
        const struct entry *entry = find_entry(&cut->live, dir, name);
        uint32_t node = entry ? entry->node : add_node(cut, false);
        if (!entry) {
            record_entry(cut, OP_LINK, dir, name, node);
        } else if (flags & AK_OPEN_TRUNCATE) {
            (void)record(cut, OP_TRUNCATE, node);
        }
        struct cut_file *file = ak_alloc(sizeof *file);
        *file =
            (struct cut_file){.base.ops = &cut_file_ops, .cut = cut, .under = under, .node = node};
        under = &file->base;
    }
    if (rc == AK_OK) {
        *out = under;
    }
    (void)pthread_mutex_unlock(&cut->mutex);
    return rc;
}

static enum ak_rc cut_rename(struct ak_fs *fs, const char *from, const char *to, struct ak_err *err)
{
    struct powercut *cut = cut_of(fs);
    uint32_t dirs[2] = {0};
    char names[2][NAME_MAX + 1];
    (void)pthread_mutex_lock(&cut->mutex);
    bool is_seen = locate(cut, from, &dirs[0], names[0]) && locate(cut, to, &dirs[1], names[1]);
    enum ak_rc rc = ak_fs_rename(cut->under, from, to, err);
    const struct entry *entry = is_seen ? find_entry(&cut->live, dirs[0], names[0]) : NULL;
    const struct entry *old = is_seen ? find_entry(&cut->live, dirs[1], names[1]) : NULL;
    /* Between two names of one file a rename does nothing (POSIX). */
    if (rc == AK_OK && entry && !(old && old->node == entry->node)) {
        struct op *op = record(cut, OP_RENAME, entry->node);
        op->dir = dirs[0];
        op->name = ak_strdup_n(names[0], strlen(names[0]));
        op->to_dir = dirs[1];
        op->to_name = ak_strdup_n(names[1], strlen(names[1]));
        powercut_apply_name_op(&cut->live, op);
    }
    (void)pthread_mutex_unlock(&cut->mutex);
    return rc;
}

/* The bytes that a file has now, as the beginning of its node's story. */
static void load_node(struct powercut *cut, uint32_t node, const char *path)
{
    struct ak_buf bytes;
    struct ak_err err;
    ak_buf_init(&bytes, 0);
    if (ak_fs_read_all(ak_fs_posix(), path, AK_BUF_MAX_DEFAULT, &bytes, &err) != AK_OK) {
        powercut_give_up("read", path);
    }
    size_t len = 0;
    cut->nodes[node].bytes = (unsigned char *)ak_buf_take(&bytes, &len);
    cut->nodes[node].size = len;
}

/* A file from outside of the folder under test counts as durable, as all that is there. */
static enum ak_rc cut_link(struct ak_fs *fs, const char *from, const char *to, struct ak_err *err)
{
    struct powercut *cut = cut_of(fs);
    uint32_t dirs[2] = {0};
    char names[2][NAME_MAX + 1];
    (void)pthread_mutex_lock(&cut->mutex);
    bool is_inside = locate(cut, from, &dirs[0], names[0]);
    bool is_seen = locate(cut, to, &dirs[1], names[1]);
    enum ak_rc rc = ak_fs_link(cut->under, from, to, err);
    if (rc == AK_OK && is_seen) {
        const struct entry *entry = is_inside ? find_entry(&cut->live, dirs[0], names[0]) : NULL;
        uint32_t node = entry ? entry->node : add_node(cut, false);
        if (!entry) {
            load_node(cut, node, from);
        }
        record_entry(cut, OP_LINK, dirs[1], names[1], node);
    }
    (void)pthread_mutex_unlock(&cut->mutex);
    return rc;
}

static enum ak_rc remove_entry(struct ak_fs *fs, const char *path,
                               enum ak_rc (*remove_fn)(struct ak_fs *, const char *,
                                                       struct ak_err *),
                               struct ak_err *err)
{
    struct powercut *cut = cut_of(fs);
    uint32_t dir = 0;
    char name[NAME_MAX + 1];
    (void)pthread_mutex_lock(&cut->mutex);
    bool is_seen = locate(cut, path, &dir, name);
    enum ak_rc rc = remove_fn(cut->under, path, err);
    const struct entry *entry = is_seen ? find_entry(&cut->live, dir, name) : NULL;
    if (rc == AK_OK && entry) {
        record_entry(cut, OP_UNLINK, dir, name, entry->node);
    }
    (void)pthread_mutex_unlock(&cut->mutex);
    return rc;
}

static enum ak_rc cut_remove(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    return remove_entry(fs, path, ak_fs_remove, err);
}

static enum ak_rc cut_remove_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    return remove_entry(fs, path, ak_fs_remove_dir, err);
}

static enum ak_rc cut_make_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    struct powercut *cut = cut_of(fs);
    uint32_t dir = 0;
    char name[NAME_MAX + 1];
    (void)pthread_mutex_lock(&cut->mutex);
    bool is_seen = locate(cut, path, &dir, name) && name[0];
    enum ak_rc rc = ak_fs_make_dir(cut->under, path, err);
    if (rc == AK_OK && is_seen && !find_entry(&cut->live, dir, name)) {
        record_entry(cut, OP_LINK, dir, name, add_node(cut, true));
    }
    (void)pthread_mutex_unlock(&cut->mutex);
    return rc;
}

static enum ak_rc cut_sync_dir(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    struct powercut *cut = cut_of(fs);
    uint32_t dir = 0;
    char name[NAME_MAX + 1];
    (void)pthread_mutex_lock(&cut->mutex);
    bool is_seen = locate(cut, path, &dir, name);
    enum ak_rc rc = ak_fs_sync_dir(cut->under, path, err);
    const struct entry *entry = is_seen && name[0] ? find_entry(&cut->live, dir, name) : NULL;
    if (rc == AK_OK && is_seen && (entry || !name[0])) {
        (void)record(cut, OP_SYNC_DIR, entry ? entry->node : 0);
    }
    (void)pthread_mutex_unlock(&cut->mutex);
    return rc;
}

static enum ak_rc cut_list(struct ak_fs *fs, const char *path, ak_dir_fn fn, void *ctx,
                           struct ak_err *err)
{
    return ak_fs_list(cut_of(fs)->under, path, fn, ctx, err);
}

static enum ak_rc cut_stat(struct ak_fs *fs, const char *path, uint64_t *size, struct ak_err *err)
{
    return ak_fs_stat(cut_of(fs)->under, path, size, err);
}

static enum ak_rc cut_free_bytes(struct ak_fs *fs, const char *path, uint64_t *bytes,
                                 struct ak_err *err)
{
    return ak_fs_free_bytes(cut_of(fs)->under, path, bytes, err);
}

/* ---- Open and close ---- */

struct scan {
    struct powercut *cut;
    uint32_t dir;
    const char *path;
};

static void scan_dir(struct powercut *cut, uint32_t dir, const char *path);

static bool scan_entry(void *ctx, struct ak_str name)
{
    struct scan *scan = ctx;
    struct powercut *cut = scan->cut;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%.*s", scan->path, AK_STR_ARG(name));
    struct stat st;
    if (stat(path, &st) != 0) {
        powercut_give_up("stat", path);
    }
    uint32_t node = add_node(cut, S_ISDIR(st.st_mode));
    cut->begin_names =
        ak_realloc(cut->begin_names, (cut->begin_name_count + 1) * sizeof *cut->begin_names);
    char *copy = ak_strdup_n(name.p, name.len);
    cut->begin_names[cut->begin_name_count++] = copy;
    powercut_set_entry(&cut->begin, scan->dir, copy, node);
    powercut_set_entry(&cut->live, scan->dir, copy, node);
    if (S_ISDIR(st.st_mode)) {
        scan_dir(cut, node, path);
        return true;
    }
    load_node(cut, node, path);
    return true;
}

static void scan_dir(struct powercut *cut, uint32_t dir, const char *path)
{
    struct scan scan = {.cut = cut, .dir = dir, .path = path};
    struct ak_err err;
    if (ak_fs_list(ak_fs_posix(), path, scan_entry, &scan, &err) != AK_OK) {
        powercut_give_up("list", path);
    }
}

struct powercut *powercut_open(struct ak_fs *under, const char *dir)
{
    static const struct ak_fs_ops ops = {
        .open = cut_open,
        .rename = cut_rename,
        .link = cut_link,
        .remove = cut_remove,
        .make_dir = cut_make_dir,
        .remove_dir = cut_remove_dir,
        .sync_dir = cut_sync_dir,
        .list = cut_list,
        .stat = cut_stat,
        .free_bytes = cut_free_bytes,
    };
    struct powercut *cut = ak_zalloc(sizeof *cut);
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/') {
        len--;
    }
    cut->fs.ops = &ops;
    cut->under = under;
    cut->dir = ak_strdup_n(dir, len);
    (void)pthread_mutex_init(&cut->mutex, NULL);
    (void)add_node(cut, true);
    scan_dir(cut, 0, cut->dir);
    return cut;
}

void powercut_close(struct powercut *cut)
{
    for (size_t i = 0; i < cut->op_count; i++) {
        ak_free(cut->ops[i].bytes);
        ak_free(cut->ops[i].name);
        ak_free(cut->ops[i].to_name);
    }
    for (uint32_t i = 0; i < cut->node_count; i++) {
        ak_free(cut->nodes[i].bytes);
    }
    for (size_t i = 0; i < cut->begin_name_count; i++) {
        ak_free(cut->begin_names[i]);
    }
    ak_free(cut->begin_names);
    ak_free(cut->ops);
    ak_free(cut->nodes);
    ak_free(cut->live.p);
    ak_free(cut->begin.p);
    ak_free(cut->dir);
    (void)pthread_mutex_destroy(&cut->mutex);
    ak_free(cut);
}

struct ak_fs *powercut_fs(struct powercut *cut)
{
    return &cut->fs;
}

size_t powercut_ops(struct powercut *cut)
{
    (void)pthread_mutex_lock(&cut->mutex);
    size_t count = cut->op_count;
    (void)pthread_mutex_unlock(&cut->mutex);
    return count;
}

const char *powercut_op_text(struct powercut *cut, size_t at)
{
    static const char *const kinds[] = {"write", "truncate", "allocate", "sync",
                                        "link",  "unlink",   "rename",   "sync_dir"};
    if (at >= cut->op_count) {
        return "the end";
    }
    const struct op *op = &cut->ops[at];
    (void)snprintf(cut->text, sizeof cut->text, "%s node %u at %llu len %llu %.40s %.40s",
                   kinds[op->kind], op->node, (unsigned long long)op->at,
                   (unsigned long long)op->len, op->name ? op->name : "",
                   op->to_name ? op->to_name : "");
    return cut->text;
}
