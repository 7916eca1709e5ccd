/* powercut_image.c — what a power cut could have left: images built from a trace. */
#include "base/mem.h"
#include "support/powercut_priv.h"
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u

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
        powercut_set_entry(&image->names, entry->dir, entry->name, entry->node);
    }
    for (size_t i = 0; i < image->at; i++) {
        const struct op *op = &cut->ops[i];
        if (!is_name_op(op)) {
            continue;
        }
        bool is_durable = is_synced_by(cut, i, image->at, op->dir) &&
                          (op->kind != OP_RENAME || is_synced_by(cut, i, image->at, op->to_dir));
        if (is_durable || draw(image, mode, 1)) {
            powercut_apply_name_op(&image->names, op);
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
            powercut_give_up("write", path);
        }
        done += (uint64_t)n;
    }
    if (fd < 0 || close(fd) != 0) {
        powercut_give_up("create", path);
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
            powercut_give_up("make", below);
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
        powercut_give_up("empty", out_dir);
    }
    build_names(&image);
    emit_dir(&image, 0, out_dir);
    ak_free(image.names.p);
}
