/* s3_profile.c — credentials from the files of the AWS command line.
 *
 *   [default]                    ~/.aws/credentials: sections are profile names
 *   aws_access_key_id = …
 *   [profile work]               ~/.aws/config: "profile NAME", but [default]
 *   role_arn = …                 with web_identity_token_file: by STS
 *
 * Lines that begin with '#' or ';' are comments, as is what follows " #" or " ;". The credentials
 * file goes before the config file. What would need a program (credential_process), a browser (SSO)
 * or another profile's role (source_profile) is refused by name rather than passed over.
 */
#include "base/file.h"
#include "objstore/s3_creds_priv.h"
#include <string.h>

#define FILE_MAX ((size_t)1 << 20)
#define FIELD_MAX ((size_t)16 << 10)

enum profile_key { ID, SECRET, TOKEN, ROLE_ARN, TOKEN_FILE, SESSION, PROCESS, SSO, SOURCE, KEYS };

static const char *const key_names[KEYS] = {
    "aws_access_key_id",       "aws_secret_access_key", "aws_session_token",  "role_arn",
    "web_identity_token_file", "role_session_name",     "credential_process", "sso_session",
    "source_profile"};

struct profile {
    struct ak_buf values[KEYS];
    bool seen; /* its section is there */
};

enum ak_rc ak_s3_creds_read_file(const char *path, struct ak_buf *out, struct ak_err *err)
{
    size_t from = out->len;
    enum ak_rc rc = ak_fs_read_all(ak_fs_posix(), path, FILE_MAX, out, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_str all = ak_str_trim(ak_str_sub(ak_buf_str(out), from, SIZE_MAX));
    if (all.len) {
        memmove(out->p + from, all.p, all.len);
    }
    out->len = from + all.len;
    return AK_OK;
}

/* "[profile x]" or "[x]" → x; is it the one we look for? */
static bool is_section_of(struct ak_str line, bool is_config, struct ak_str want)
{
    struct ak_str inside;
    struct ak_str rest;
    ak_str_split(ak_str_sub(line, 1, SIZE_MAX), ']', &inside, &rest);
    inside = ak_str_trim(inside);
    if (is_config && ak_str_has_prefix(inside, AK_STR("profile "))) {
        inside = ak_str_trim(ak_str_sub(inside, 8, SIZE_MAX));
    } else if (is_config && !ak_str_eq(inside, AK_STR("default"))) {
        return false;
    }
    return ak_str_eq(inside, want);
}

static struct ak_str without_comment(struct ak_str value)
{
    for (size_t i = 1; i < value.len; i++) {
        if ((value.p[i] == '#' || value.p[i] == ';') &&
            (value.p[i - 1] == ' ' || value.p[i - 1] == '\t')) {
            return ak_str_sub(value, 0, i);
        }
    }
    return value;
}

static void read_line(struct profile *profile, struct ak_str line)
{
    struct ak_str name;
    struct ak_str value;
    if (!ak_str_split(line, '=', &name, &value)) {
        return;
    }
    name = ak_str_trim(name);
    value = ak_str_trim(without_comment(value));
    for (size_t i = 0; i < KEYS; i++) {
        if (ak_str_eq_nocase(name, ak_str_of(key_names[i])) && profile->values[i].len == 0) {
            ak_buf_add_str(&profile->values[i], value);
        }
    }
    if (ak_str_eq_nocase(name, AK_STR("sso_start_url")) && profile->values[SSO].len == 0) {
        ak_buf_add_str(&profile->values[SSO], value);
    }
}

/* A file that is not there says nothing. */
static enum ak_rc read_profile(const char *path, bool is_config, struct ak_str want,
                               struct profile *profile, struct ak_err *err)
{
    struct ak_buf text;
    bool inside = false;
    ak_buf_init(&text, FILE_MAX + 1);
    enum ak_rc rc = ak_s3_creds_read_file(path, &text, err);
    struct ak_str rest = ak_buf_str(&text);
    while (rc == AK_OK && rest.len) {
        struct ak_str line;
        ak_str_split(rest, '\n', &line, &rest);
        line = ak_str_trim(line);
        if (line.len == 0 || line.p[0] == '#' || line.p[0] == ';') {
            continue;
        }
        if (line.p[0] == '[') {
            inside = is_section_of(line, is_config, want);
            profile->seen |= inside;
        } else if (inside) {
            read_line(profile, line);
        }
    }
    ak_buf_release(&text);
    return rc == AK_NOT_FOUND ? AK_OK : rc;
}

static void path_of(struct ak_s3_creds *creds, const char *variable, const char *name,
                    struct ak_buf *out)
{
    const char *given = creds->env(variable);
    const char *home = creds->env("HOME");
    if (given && given[0]) {
        ak_buf_add_str(out, ak_str_of(given));
    } else if (home && home[0]) {
        ak_buf_add_fmt(out, "%s/.aws/%s", home, name);
    }
}

static enum ak_rc use(struct ak_s3_creds *creds, struct profile *profile, const char *name,
                      struct s3_found *found, struct ak_err *err)
{
    struct ak_buf *v = profile->values;
    if (v[ID].len && v[SECRET].len) {
        ak_buf_add_str(&found->id, ak_buf_str(&v[ID]));
        ak_buf_add_str(&found->secret, ak_buf_str(&v[SECRET]));
        ak_buf_add_str(&found->token, ak_buf_str(&v[TOKEN]));
        found->source = "the profile";
        return AK_OK;
    }
    if (v[ROLE_ARN].len && v[TOKEN_FILE].len) {
        const char *session = v[SESSION].len ? ak_buf_cstr(&v[SESSION]) : NULL;
        return ak_s3_creds_assume(creds, ak_buf_cstr(&v[ROLE_ARN]), ak_buf_cstr(&v[TOKEN_FILE]),
                                  session, found, err);
    }
    if (v[ID].len || v[SECRET].len) {
        return ak_fail(err, AK_INVALID, "profile '%s' has one of %s and %s: it needs both", name,
                       key_names[ID], key_names[SECRET]);
    }
    for (size_t i = PROCESS; i < KEYS; i++) {
        if (v[i].len) {
            return ak_fail(err, AK_UNSUPPORTED,
                           "profile '%s' uses %s, which AkiDB does not do: put keys into the "
                           "profile or the environment",
                           name, key_names[i]);
        }
    }
    return ak_fail(err, AK_NOT_FOUND, "profile '%s' has no keys", name);
}

enum ak_rc ak_s3_creds_profile(struct ak_s3_creds *creds, struct s3_found *found,
                               struct ak_err *err)
{
    struct profile profile = {.seen = false};
    struct ak_buf keys_path;
    struct ak_buf config_path;
    const char *named = creds->profile ? creds->profile : creds->env("AWS_PROFILE");
    const char *name = named && named[0] ? named : "default";
    ak_buf_init(&keys_path, 4096);
    ak_buf_init(&config_path, 4096);
    for (size_t i = 0; i < KEYS; i++) {
        ak_buf_init(&profile.values[i], FIELD_MAX);
    }
    path_of(creds, "AWS_SHARED_CREDENTIALS_FILE", "credentials", &keys_path);
    path_of(creds, "AWS_CONFIG_FILE", "config", &config_path);
    enum ak_rc rc = read_profile(ak_buf_cstr(&keys_path), false, ak_str_of(name), &profile, err);
    if (rc == AK_OK) {
        rc = read_profile(ak_buf_cstr(&config_path), true, ak_str_of(name), &profile, err);
    }
    if (rc == AK_OK && !profile.seen) {
        rc = ak_fail(err, named && named[0] ? AK_INVALID : AK_NOT_FOUND,
                     "no profile '%s' in %s or %s", name,
                     keys_path.len ? ak_buf_cstr(&keys_path) : "~/.aws/credentials",
                     config_path.len ? ak_buf_cstr(&config_path) : "~/.aws/config");
    }
    for (size_t i = 0; rc == AK_OK && i < KEYS; i++) {
        rc = ak_buf_check(&profile.values[i], err);
    }
    if (rc == AK_OK) {
        rc = use(creds, &profile, name, found, err);
    }
    for (size_t i = 0; i < KEYS; i++) {
        ak_buf_release(&profile.values[i]);
    }
    ak_buf_release(&keys_path);
    ak_buf_release(&config_path);
    return rc;
}
