/* powercut_priv.h — the trace, as powercut.c writes it and powercut_image.c replays it. */
#pragma once
#include "support/powercut.h"
#include <pthread.h>

#define POWERCUT_OP_TEXT_MAX 160

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
    char text[POWERCUT_OP_TEXT_MAX];
};

void powercut_apply_name_op(struct names *names, const struct op *op);
void powercut_set_entry(struct names *names, uint32_t dir, const char *name, uint32_t node);
_Noreturn void powercut_give_up(const char *what, const char *path);
