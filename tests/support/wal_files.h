/* wal_files.h — handling the files of a log from outside: copies as a crash leaves them, damage at
 * chosen bytes, comparison of whole folders. For the tests of the log. */
#pragma once
#include "base/file.h"
#include "base/mem.h"
#include "support/test.h"
#include <stdio.h>
#include <string.h>

#define LOG_FILES_MAX 64

struct log_files {
    size_t count;
    char name[LOG_FILES_MAX][64];
    struct ak_buf bytes[LOG_FILES_MAX];
};

static inline bool note_log_file(void *ctx, struct ak_str name)
{
    struct log_files *files = ctx;
    CHECK(files->count < LOG_FILES_MAX && name.len < 64);
    (void)snprintf(files->name[files->count], 64, "%.*s", AK_STR_ARG(name));
    files->count++;
    return true;
}

static inline void log_path(const char *dir, const char *name, char path[512])
{
    (void)snprintf(path, 512, "%s/%s", dir, name);
}

static inline void log_files_read(struct log_files *files, const char *dir)
{
    struct ak_err err;
    files->count = 0;
    CHECK_OK(ak_fs_list(ak_fs_posix(), dir, note_log_file, files, &err));
    for (size_t i = 0; i < files->count; i++) {
        char path[512];
        log_path(dir, files->name[i], path);
        ak_buf_init(&files->bytes[i], 0);
        CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, (size_t)1 << 28, &files->bytes[i], &err));
    }
}

static inline void log_files_release(struct log_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        ak_buf_release(&files->bytes[i]);
    }
    files->count = 0;
}

static inline void log_file_write(const char *dir, const char *name, struct ak_str bytes)
{
    struct ak_err err;
    struct ak_file *file = NULL;
    char path[512];
    log_path(dir, name, path);
    CHECK_OK(ak_fs_open(ak_fs_posix(), path, AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_TRUNCATE,
                        &file, &err));
    CHECK_OK(ak_file_write(file, 0, bytes.p, bytes.len, &err));
    ak_file_close(file);
}

/* Make `dir` hold exactly these files. */
static inline void log_files_write(const struct log_files *files, const char *dir)
{
    struct ak_err err;
    static struct log_files old;
    old.count = 0;
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), dir, &err));
    CHECK_OK(ak_fs_list(ak_fs_posix(), dir, note_log_file, &old, &err));
    for (size_t i = 0; i < old.count; i++) {
        char path[512];
        log_path(dir, old.name[i], path);
        CHECK_OK(ak_fs_remove(ak_fs_posix(), path, &err));
    }
    for (size_t i = 0; i < files->count; i++) {
        log_file_write(dir, files->name[i], ak_buf_str(&files->bytes[i]));
    }
}

static inline bool log_files_are_in(const struct log_files *files, const char *dir)
{
    static struct log_files now;
    log_files_read(&now, dir);
    bool is_same = now.count == files->count;
    for (size_t i = 0; i < files->count && is_same; i++) {
        size_t j = 0;
        while (j < now.count && strcmp(now.name[j], files->name[i]) != 0) {
            j++;
        }
        is_same =
            j < now.count && ak_str_eq(ak_buf_str(&now.bytes[j]), ak_buf_str(&files->bytes[i]));
    }
    log_files_release(&now);
    return is_same;
}

/* The file that holds `lsn`, among segments of the default small size; *at: the place in it. */
static inline size_t log_file_of(const struct log_files *files, uint64_t lsn, size_t *at)
{
    size_t best = LOG_FILES_MAX;
    unsigned long long best_start = 0;
    for (size_t i = 0; i < files->count; i++) {
        unsigned long long start = 0;
        if (strlen(files->name[i]) == 20 && sscanf(files->name[i], "%16llx.wal", &start) == 1 &&
            start <= lsn && (best == LOG_FILES_MAX || start > best_start)) {
            best = i;
            best_start = start;
        }
    }
    CHECK(best < LOG_FILES_MAX);
    *at = (size_t)(lsn - best_start);
    return best;
}
