/* objstore_dir_tmp.c — temporary files of the dir store, and those of stores that died.
 *
 *   .tmp/<session>.lock      held by flock(2) while the store is open
 *   .tmp/<session>-<number>  an object on its way
 *
 * T1 A session's lock is there, and held, before its first temporary file and until after its last:
 *    a temporary file whose lock is free or absent has no owner and is removed at the next open.
 * T2 A store removes its own lock only when it closes, another's only while holding it.
 * T3 So several processes may have the same folder open, one of them (or none) cleaning it.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "objstore/objstore_dir_priv.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define LEFTOVERS_MAX ((size_t)16 << 20) /* bytes of names: some 500,000 of them */
#define SESSION_TRIES 16

void ak_dir_tmp_name(struct dir_store *store, struct dir_path *path)
{
    char name[DIR_SESSION_LEN + 32];
    uint64_t number = atomic_fetch_add(&store->next_tmp, 1);
    int len = snprintf(name, sizeof name, "%s-%llu", store->session, (unsigned long long)number);
    ak_dir_path_root(store, path);
    ak_dir_path_add(path, AK_STR(DIR_TMP));
    ak_dir_path_add(path, (struct ak_str){name, (size_t)len});
}

static void lock_path(const struct dir_store *store, struct ak_str session, struct dir_path *path)
{
    char name[DIR_SESSION_LEN + 8];
    int len = snprintf(name, sizeof name, "%.*s.lock", AK_STR_ARG(session));
    ak_dir_path_root(store, path);
    ak_dir_path_add(path, AK_STR(DIR_TMP));
    ak_dir_path_add(path, (struct ak_str){name, (size_t)len});
}

/* Hold the lock, unless another does. A file that has lost its name locks nothing. */
static bool hold(struct ak_file *file)
{
    struct stat st;
    int fd = ak_file_fd(file);
    return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

static enum ak_rc take_session(struct dir_store *store, struct ak_err *err)
{
    struct dir_path path;
    for (int i = 0; i < SESSION_TRIES; i++) {
        uint64_t id = 0;
        ak_random_bytes(&id, sizeof id);
        (void)snprintf(store->session, sizeof store->session, "%016llx", (unsigned long long)id);
        lock_path(store, ak_str_of(store->session), &path);
        struct ak_file *file = NULL;
        enum ak_rc rc = ak_fs_open(store->fs, path.text,
                                   AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_EXCLUSIVE, &file, err);
        if (rc == AK_OK && hold(file)) {
            store->lock = file;
            return AK_OK;
        }
        ak_file_close(file); /* a store that was cleaning has taken the new lock for a dead one */
        if (rc != AK_OK && rc != AK_EXISTS) {
            return rc;
        }
    }
    return ak_fail(err, AK_UNAVAILABLE,
                   "'%s': no lock can be held there: the file system must support flock",
                   path.text);
}

/* The session of a name in .tmp; empty for names that are not ours. */
static struct ak_str session_of(struct ak_str name)
{
    for (size_t i = 0; i < DIR_SESSION_LEN; i++) {
        if (i >= name.len || !isxdigit((unsigned char)name.p[i])) {
            return AK_STR_NONE;
        }
    }
    struct ak_str rest = ak_str_sub(name, DIR_SESSION_LEN, name.len);
    bool is_lock = ak_str_eq(rest, AK_STR(".lock"));
    bool is_tmp = rest.len > 1 && rest.p[0] == '-';
    return is_lock || is_tmp ? ak_str_sub(name, 0, DIR_SESSION_LEN) : AK_STR_NONE;
}

static bool collect(void *ctx, struct ak_str name)
{
    struct ak_buf *names = ctx;
    if (session_of(name).len > 0) {
        ak_buf_add_str(names, name);
        ak_buf_add_char(names, '/');
    }
    return !names->failed; /* what does not fit is left for the next open */
}

static enum ak_rc remove_if_there(struct dir_store *store, struct ak_str name, struct ak_err *err)
{
    struct dir_path path;
    ak_dir_path_root(store, &path);
    ak_dir_path_add(&path, AK_STR(DIR_TMP));
    ak_dir_path_add(&path, name);
    enum ak_rc rc = ak_fs_remove(store->fs, path.text, err);
    return rc == AK_NOT_FOUND ? AK_OK : rc; /* another store was faster */
}

/* Remove `name` when its session has died; the lock is held meanwhile, so that of two stores that
 * clean at the same time one does it. */
static enum ak_rc clean_one(struct dir_store *store, struct ak_str name, struct ak_err *err)
{
    struct dir_path path;
    struct ak_file *lock = NULL;
    lock_path(store, session_of(name), &path);
    enum ak_rc rc = ak_fs_open(store->fs, path.text, AK_OPEN_READ, &lock, err);
    if (rc == AK_NOT_FOUND) {
        return remove_if_there(store, name, err);
    }
    if (rc == AK_OK && hold(lock)) {
        rc = remove_if_there(store, name, err);
    }
    ak_file_close(lock);
    return rc;
}

static enum ak_rc clean(struct dir_store *store, struct ak_err *err)
{
    struct dir_path path;
    struct ak_buf names;
    ak_buf_init(&names, LEFTOVERS_MAX);
    ak_dir_path_root(store, &path);
    ak_dir_path_add(&path, AK_STR(DIR_TMP));
    enum ak_rc rc = ak_fs_list(store->fs, path.text, collect, &names, err);
    /* Locks go last: T1. */
    for (int locks = 0; locks < 2 && rc == AK_OK; locks++) {
        struct ak_str rest = ak_buf_str(&names);
        struct ak_str name;
        while (rc == AK_OK && ak_str_split(rest, '/', &name, &rest)) {
            if (ak_str_has_suffix(name, AK_STR(".lock")) == (locks == 1)) {
                rc = clean_one(store, name, err);
            }
        }
    }
    ak_buf_release(&names);
    return rc;
}

enum ak_rc ak_dir_tmp_open(struct dir_store *store, struct ak_err *err)
{
    enum ak_rc rc = take_session(store, err);
    if (rc == AK_OK) {
        rc = clean(store, err);
    }
    return rc;
}

void ak_dir_tmp_close(struct dir_store *store)
{
    if (store->lock) {
        struct dir_path path;
        struct ak_err ignored; /* the next open removes it */
        lock_path(store, ak_str_of(store->session), &path);
        (void)!ak_fs_remove(store->fs, path.text, &ignored);
        ak_file_close(store->lock);
    }
}
