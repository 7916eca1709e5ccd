/* powercut.c — the recording file system, and the images built from its trace.
 *
 * The trace knows nodes (files and folders, numbered; 0 is the folder under test) and entries
 * (folder, name → node), as a disk does: a rename moves an entry, an open file follows its node.
 * An image replays the trace up to the cut with two sets of state: what is durable, and what is
 * pending since the last sync of its file or folder; then draws from the pending.
 */
#include "support/powercut.h"
#include "base/mem.h"
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define OP_TEXT_MAX 160

enum op_kind {
    OP_WRITE,
    OP_TRUNCATE,
    OP_ALLOCATE,
    OP_SYNC,
    OP_LINK,
    OP_UNLINK,
    OP_RENAME,
    OP_SYNC_DIR
};

struct op {
    enum op_kind kind;
    uint32_t node; /* the file, or what the entry leads to; of SYNC_DIR the folder */
    uint64_t at;   /* TRUNCATE: the new size */
    uint64_t len;
    unsigned char *bytes;
    uint32_t dir; /* entry; of RENAME the old one */
    char *name;
    uint32_t to_dir; /* RENAME: the new entry */
    char *to_name;
};

struct entry {
    uint32_t dir;
    uint32_t node;
    const char *name;
};

struct names {
    struct entry *p;
    size_t count;
    size_t cap;
};

struct node {
    bool is_dir;
    unsigned char *bytes; /* as at powercut_open() */
    uint64_t size;
};

struct powercut {
    struct ak_fs fs;
    struct ak_fs *under;
    char *dir;
    pthread_mutex_t mutex; /* held over each recorded operation: the trace is their order */
    struct op *ops;
    size_t op_count;
    size_t op_cap;
    struct node *nodes;
    uint32_t node_count;
    uint32_t node_cap;
    struct names live;
    struct names begin;
    char **begin_names; /* owned by us: the names in `begin` */
    size_t begin_name_count;
    char text[OP_TEXT_MAX];
};

struct cut_file {
    struct ak_file base;
    struct powercut *cut;
    struct ak_file *under;
    uint32_t node;
};

_Noreturn static void give_up(const char *what, const char *path)
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

static void set_entry(struct names *names, uint32_t dir, const char *name, uint32_t node)
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

static void apply_name_op(struct names *names, const struct op *op)
{
    if (op->kind == OP_UNLINK) {
        drop_entry(names, op->dir, op->name);
    } else if (op->kind == OP_LINK) {
        set_entry(names, op->dir, op->name, op->node);
    } else {
        struct entry *old = find_entry(names, op->dir, op->name);
        if (old && old->node == op->node) { /* else a lost operation has left it elsewhere */
            drop_entry(names, op->dir, op->name);
        }
        set_entry(names, op->to_dir, op->to_name, op->node);
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
    apply_name_op(&cut->live, op);
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
        apply_name_op(&cut->live, op);
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
        give_up("read", path);
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
        give_up("stat", path);
    }
    uint32_t node = add_node(cut, S_ISDIR(st.st_mode));
    cut->begin_names =
        ak_realloc(cut->begin_names, (cut->begin_name_count + 1) * sizeof *cut->begin_names);
    char *copy = ak_strdup_n(name.p, name.len);
    cut->begin_names[cut->begin_name_count++] = copy;
    set_entry(&cut->begin, scan->dir, copy, node);
    set_entry(&cut->live, scan->dir, copy, node);
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
        give_up("list", path);
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

/* ---- Images ---- */

struct image {
    struct powercut *cut;
    size_t at;
    enum powercut_mode mode;
    struct ak_rand *rand;
    struct names names;
};

/* How many of `count` pending steps have happened. */
static size_t draw(struct image *image, enum powercut_mode mode, size_t count)
{
    if (mode == POWERCUT_ALL || count == 0) {
        return count;
    }
    return mode == POWERCUT_NONE ? 0 : (size_t)ak_rand_below(image->rand, count + 1);
}

static enum powercut_mode draw_mode(struct image *image)
{
    static const enum powercut_mode modes[] = {POWERCUT_ALL, POWERCUT_NONE, POWERCUT_RANDOM};
    return image->mode == POWERCUT_MIXED ? modes[ak_rand_below(image->rand, 3)] : image->mode;
}

static bool is_name_op(const struct op *op)
{
    return op->kind == OP_LINK || op->kind == OP_UNLINK || op->kind == OP_RENAME;
}

/* A rename between two folders is durable once both have been synced. */
static bool is_synced_by(const struct powercut *cut, size_t op_at, size_t cut_at, uint32_t dir)
{
    for (size_t i = op_at + 1; i < cut_at; i++) {
        if (cut->ops[i].kind == OP_SYNC_DIR && cut->ops[i].node == dir) {
            return true;
        }
    }
    return false;
}

static void build_names(struct image *image)
{
    const struct powercut *cut = image->cut;
    enum powercut_mode mode = draw_mode(image);
    for (size_t i = 0; i < cut->begin.count; i++) {
        const struct entry *entry = &cut->begin.p[i];
        set_entry(&image->names, entry->dir, entry->name, entry->node);
    }
    for (size_t i = 0; i < image->at; i++) {
        const struct op *op = &cut->ops[i];
        if (!is_name_op(op)) {
            continue;
        }
        bool is_durable = is_synced_by(cut, i, image->at, op->dir) &&
                          (op->kind != OP_RENAME || is_synced_by(cut, i, image->at, op->to_dir));
        if (is_durable || draw(image, mode, 1)) {
            apply_name_op(&image->names, op);
        }
    }
}

static uint64_t size_after(const struct op *op, uint64_t size)
{
    uint64_t end = op->at + op->len;
    if (op->kind == OP_TRUNCATE) {
        return op->at;
    }
    return end > size ? end : size;
}

/* Apply the bytes of `op` that fall into [from, end). */
static void apply_bytes(unsigned char *bytes, const struct op *op, uint64_t from, uint64_t end)
{
    if (op->kind == OP_TRUNCATE) {
        uint64_t at = op->at > from ? op->at : from;
        if (at < end) {
            memset(bytes + at, 0, (size_t)(end - at));
        }
    } else if (op->kind == OP_WRITE) {
        uint64_t a = op->at > from ? op->at : from;
        uint64_t b = op->at + op->len < end ? op->at + op->len : end;
        if (a < b) {
            memcpy(bytes + a, op->bytes + (a - op->at), (size_t)(b - a));
        }
    }
}

/* The first and the last+1 sector whose bytes `op` changes, in a file of at most `sectors`. */
static void touched(const struct op *op, uint64_t sectors, uint64_t *first, uint64_t *end)
{
    *first = op->at / SECTOR;
    *end = op->kind == OP_TRUNCATE ? sectors : (op->at + op->len + SECTOR - 1) / SECTOR;
    if (op->kind == OP_ALLOCATE) {
        *end = *first;
    }
}

/* The bytes of a file in this image. */
static unsigned char *build_file(struct image *image, uint32_t node, uint64_t *size_out)
{
    const struct powercut *cut = image->cut;
    const struct node *begin = &cut->nodes[node];
    enum powercut_mode mode = draw_mode(image);
    size_t synced = 0; /* operations before this one are durable */
    uint64_t size = begin->size;
    uint64_t size_max = size;
    for (size_t i = 0; i < image->at; i++) {
        const struct op *op = &cut->ops[i];
        if (op->node == node && op->kind == OP_SYNC) {
            synced = i;
        } else if (op->node == node && op->kind <= OP_ALLOCATE) {
            size = size_after(op, size);
            size_max = size > size_max ? size : size_max;
        }
    }
    uint64_t sectors = (size_max + SECTOR - 1) / SECTOR;
    unsigned char *bytes = ak_zalloc((size_t)(sectors * SECTOR));
    uint32_t *left = ak_zalloc((size_t)sectors * sizeof *left);
    if (begin->size) {
        memcpy(bytes, begin->bytes, (size_t)begin->size);
    }
    size_t pending = 0;
    size = begin->size;
    for (size_t i = 0; i < image->at; i++) {
        const struct op *op = &cut->ops[i];
        if (op->node != node || op->kind > OP_ALLOCATE) {
            continue;
        }
        if (i < synced) {
            apply_bytes(bytes, op, 0, sectors * SECTOR);
            size = size_after(op, size);
            continue;
        }
        uint64_t first = 0;
        uint64_t end = 0;
        touched(op, sectors, &first, &end);
        for (uint64_t s = first; s < end; s++) {
            left[s]++;
        }
        pending++;
    }
    for (uint64_t s = 0; s < sectors; s++) {
        left[s] = (uint32_t)draw(image, mode, left[s]);
    }
    size_t sizes_left = draw(image, mode, pending);
    for (size_t i = synced; i < image->at; i++) {
        const struct op *op = &cut->ops[i];
        if (op->node != node || op->kind > OP_ALLOCATE) {
            continue;
        }
        uint64_t first = 0;
        uint64_t end = 0;
        touched(op, sectors, &first, &end);
        for (uint64_t s = first; s < end; s++) {
            if (left[s] > 0) {
                left[s]--;
                apply_bytes(bytes, op, s * SECTOR, (s + 1) * SECTOR);
            }
        }
        if (sizes_left > 0) {
            sizes_left--;
            size = size_after(op, size);
        }
    }
    ak_free(left);
    *size_out = size;
    return bytes;
}

static void emit_file(struct image *image, uint32_t node, const char *path)
{
    uint64_t size = 0;
    unsigned char *bytes = build_file(image, node, &size);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    uint64_t done = 0;
    while (fd >= 0 && done < size) {
        ssize_t n = write(fd, bytes + done, (size_t)(size - done));
        if (n <= 0) {
            give_up("write", path);
        }
        done += (uint64_t)n;
    }
    if (fd < 0 || close(fd) != 0) {
        give_up("create", path);
    }
    ak_free(bytes);
}

static void emit_dir(struct image *image, uint32_t dir, const char *path)
{
    for (size_t i = 0; i < image->names.count; i++) {
        const struct entry *entry = &image->names.p[i];
        char below[PATH_MAX];
        if (entry->dir != dir) {
            continue;
        }
        (void)snprintf(below, sizeof below, "%s/%s", path, entry->name);
        if (!image->cut->nodes[entry->node].is_dir) {
            emit_file(image, entry->node, below);
        } else if (mkdir(below, 0750) != 0) {
            give_up("make", below);
        } else {
            emit_dir(image, entry->node, below);
        }
    }
}

static int remove_below(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    return at->level == 0 ? 0 : remove(path);
}

void powercut_image(struct powercut *cut, size_t at, enum powercut_mode mode, struct ak_rand *rand,
                    const char *out_dir)
{
    struct image image = {.cut = cut, .at = at, .mode = mode, .rand = rand};
    AK_ASSERT(at <= cut->op_count && (rand || mode == POWERCUT_ALL || mode == POWERCUT_NONE));
    if (mkdir(out_dir, 0750) != 0 && nftw(out_dir, remove_below, 16, FTW_DEPTH | FTW_PHYS) != 0) {
        give_up("empty", out_dir);
    }
    build_names(&image);
    emit_dir(&image, 0, out_dir);
    ak_free(image.names.p);
}
