/* objstore_dir_name.c — keys as paths, and names on disk as parts of keys.
 *
 * A part of a key between '/' is a name, as it is, with these exceptions, so that a file and a
 * folder never want the same name ("a" and "a/b" are both keys) and any key is usable:
 *
 *   '%'                                   %25
 *   '.' of a folder, and first of a file  %2E
 *   a file without any '.' left           …%.     ("readme" is the file "readme%.")
 *   a part longer than 255 bytes so       pieces of at most 250 bytes, all but the last a folder
 *                                         "…%+"; every '.' of the part is %2E
 *
 * N1 A name of ours has a '.' if and only if it is a file's, and never begins with one: what begins
 *    with '.' (".tmp") is not an object's.
 * N2 Two keys never have the same path, and a key's path is never a folder of another's.
 * So "snapshots/<id>/<id>.parquet" is the path it looks like, and any tool can read the folder.
 */
#include "objstore/objstore_dir_priv.h"
#include <string.h>

#define NAME_BYTES_MAX 255u
#define PIECE_MAX 250u

static void add_bytes(struct dir_path *path, const char *p, size_t len)
{
    if (path->too_long || len >= sizeof path->text - path->len) {
        path->too_long = true;
        return;
    }
    memcpy(path->text + path->len, p, len);
    path->len += len;
    path->text[path->len] = '\0';
}

void ak_dir_path_root(const struct dir_store *store, struct dir_path *path)
{
    path->len = 0;
    path->too_long = false;
    path->text[0] = '\0';
    add_bytes(path, store->root, strlen(store->root));
}

void ak_dir_path_add(struct dir_path *path, struct ak_str name)
{
    add_bytes(path, "/", 1);
    add_bytes(path, name.p, name.len);
}

void ak_dir_path_cut(struct dir_path *path, size_t len)
{
    path->len = len;
    path->too_long = false;
    path->text[len] = '\0';
}

void ak_dir_path_parent(const struct dir_path *path, struct dir_path *parent)
{
    size_t len = path->len;
    while (len > 0 && path->text[len] != '/') {
        len--;
    }
    parent->len = 0;
    parent->too_long = false;
    add_bytes(parent, path->text, len);
}

/* Bytes of the name that stands for `part`. */
static size_t name_len(struct ak_str part, bool is_folder)
{
    size_t len = 0;
    bool has_dot = false;
    for (size_t i = 0; i < part.len; i++) {
        bool is_dot = part.p[i] == '.' && !is_folder && i > 0;
        bool is_plain = is_dot || (part.p[i] != '%' && part.p[i] != '.');
        has_dot = has_dot || is_dot;
        len += is_plain ? 1 : 3;
    }
    return is_folder || has_dot ? len : len + 2;
}

/* Bytes of the UTF-8 character at `at`, which the key's check has found whole. */
static size_t character_len(struct ak_str s, size_t at)
{
    size_t len = 1;
    while (at + len < s.len && ((unsigned char)s.p[at + len] & 0xc0) == 0x80) {
        len++;
    }
    return len;
}

static void add_part(struct dir_path *path, struct ak_str part, bool is_folder)
{
    bool in_pieces = name_len(part, is_folder) > NAME_BYTES_MAX;
    bool has_dot = false;
    size_t piece = 0; /* bytes of the name so far */
    add_bytes(path, "/", 1);
    for (size_t i = 0, len = 0; i < part.len; i += len) {
        len = character_len(part, i);
        bool is_dot = part.p[i] == '.' && !in_pieces && !is_folder && i > 0;
        const char *as = part.p[i] == '%' ? "%25" : part.p[i] == '.' && !is_dot ? "%2E" : NULL;
        size_t as_len = as ? 3 : len;
        if (in_pieces && piece + as_len > PIECE_MAX) {
            add_bytes(path, "%+/", 3);
            piece = 0;
        }
        add_bytes(path, as ? as : part.p + i, as_len);
        piece += as_len;
        has_dot = has_dot || is_dot;
    }
    if (!is_folder && !has_dot) {
        add_bytes(path, "%.", 2);
    }
}

static enum ak_rc path_of(const struct dir_store *store, struct ak_str key, bool is_folder,
                          struct dir_path *path, struct ak_err *err)
{
    ak_dir_path_root(store, path);
    for (struct ak_str part, rest = key; rest.len > 0;) {
        bool more = ak_str_split(rest, '/', &part, &rest);
        add_part(path, part, is_folder || more);
    }
    if (path->too_long) {
        return ak_fail(err, AK_INVALID, "the key has %zu bytes: its path is too long", key.len);
    }
    return AK_OK;
}

enum ak_rc ak_dir_path_of_key(const struct dir_store *store, struct ak_str key,
                              struct dir_path *path, struct ak_err *err)
{
    return path_of(store, key, false, path, err);
}

enum ak_rc ak_dir_path_of_folders(const struct dir_store *store, struct ak_str folders,
                                  struct dir_path *path, struct ak_err *err)
{
    return path_of(store, folders, true, path, err);
}

enum dir_name_kind ak_dir_name_decode(struct ak_str name, struct ak_buf *key)
{
    bool is_rest = ak_str_has_suffix(name, AK_STR("%+"));
    bool is_marked = ak_str_has_suffix(name, AK_STR("%."));
    bool has_dot = memchr(name.p, '.', name.len) != NULL;
    if (name.len == 0 || name.p[0] == '.' || (is_rest && has_dot)) {
        return DIR_NAME_FOREIGN;
    }
    size_t before = key->len;
    size_t len = is_rest || is_marked ? name.len - 2 : name.len;
    for (size_t i = 0; i < len; i++) {
        if (name.p[i] != '%') {
            ak_buf_add_char(key, name.p[i]);
            continue;
        }
        struct ak_str escape = ak_str_sub((struct ak_str){name.p, len}, i, 3);
        bool is_percent = ak_str_eq(escape, AK_STR("%25"));
        if (!is_percent && !ak_str_eq(escape, AK_STR("%2E"))) {
            key->len = before;
            return DIR_NAME_FOREIGN;
        }
        ak_buf_add_char(key, is_percent ? '%' : '.');
        i += 2;
    }
    if (has_dot) {
        return DIR_NAME_FILE;
    }
    if (is_rest) {
        return DIR_NAME_REST;
    }
    ak_buf_add_char(key, '/');
    return DIR_NAME_FOLDER;
}
