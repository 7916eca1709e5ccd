/* s3_creds_http.c — credentials that a service hands out: STS, container agents, the instance.
 *
 * None of these requests is signed. Tokens travel over https, or to addresses that never leave the
 * machine: the container's agents and loopback.
 */
#include "base/json.h"
#include "base/mem.h"
#include "objstore/s3_creds_priv.h"
#include "objstore/s3xml.h"
#include "objstore/sigv4.h"
#include <string.h>

#define STEP_MS 5000     /* of STS and a container's agent */
#define INSTANCE_MS 1000 /* of the instance: elsewhere nobody answers there */
#define TRIES 3
#define TOKEN_MAX ((size_t)32 << 10)

/* One request, tried again when it broke or the service failed. AK_OK: 200. */
static enum ak_rc ask(struct ak_s3_creds *creds, const struct ak_httpc_request *request,
                      struct ak_httpc_response *response, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    for (int i = 0; i < TRIES; i++) {
        rc = ak_httpc_do(creds->client, request, response, err);
        bool again = rc == AK_UNAVAILABLE || (rc == AK_OK && response->status >= 500);
        if (!again) {
            break;
        }
    }
    if (rc != AK_OK || response->status == 200) {
        return rc;
    }
    struct ak_str body = ak_str_sub(ak_buf_str(&response->body), 0, 200);
    return ak_fail(err, response->status >= 500 ? AK_UNAVAILABLE : AK_FORBIDDEN,
                   "it answered %d: %.*s", response->status, AK_STR_ARG(body));
}

/* --- STS --- */

static void add_parameter(struct ak_buf *out, const char *name, struct ak_str value)
{
    ak_buf_add_fmt(out, "%s%s=", out->len ? "&" : "", name);
    ak_sigv4_encode(out, value, false);
}

static enum ak_rc read_assumed(struct ak_str xml, struct s3_found *found, struct ak_err *err)
{
    struct ak_buf expires;
    struct ak_xml in;
    enum ak_xml_token token = AK_XML_START;
    ak_buf_init(&expires, 256);
    ak_xml_init(&in, xml);
    while ((token = ak_xml_next(&in)) > AK_XML_END_OF_TEXT) {
        if (token != AK_XML_END) {
            continue;
        }
        if (ak_str_eq(in.name, AK_STR("AccessKeyId"))) {
            ak_buf_add_str(&found->id, in.text);
        } else if (ak_str_eq(in.name, AK_STR("SecretAccessKey"))) {
            ak_buf_add_str(&found->secret, in.text);
        } else if (ak_str_eq(in.name, AK_STR("SessionToken"))) {
            ak_buf_add_str(&found->token, in.text);
        } else if (ak_str_eq(in.name, AK_STR("Expiration"))) {
            ak_buf_add_str(&expires, in.text);
        }
    }
    enum ak_rc rc = ak_xml_finish(&in, err);
    if (rc == AK_OK && !ak_time_parse(ak_str_trim(ak_buf_str(&expires)), &found->expires_us)) {
        rc = ak_fail(err, AK_UNAVAILABLE, "STS gave no time of expiry");
    }
    ak_xml_release(&in);
    ak_buf_release(&expires);
    return rc;
}

enum ak_rc ak_s3_creds_assume(struct ak_s3_creds *creds, const char *role_arn,
                              const char *token_file, const char *session, struct s3_found *found,
                              struct ak_err *err)
{
    struct ak_buf token;
    struct ak_buf body;
    struct ak_buf url;
    struct ak_httpc_response response;
    const char *endpoint = creds->env("AWS_ENDPOINT_URL_STS");
    ak_buf_init(&token, TOKEN_MAX);
    ak_buf_init(&body, 4 * TOKEN_MAX);
    ak_buf_init(&url, 1024);
    ak_httpc_response_init(&response);
    enum ak_rc rc = ak_s3_creds_read_file(token_file, &token, err);
    if (rc != AK_OK) { /* it is configured, so the chain must not go on without it */
        rc = ak_fail(err, AK_INVALID, "the token file '%s' cannot be read", token_file);
        goto out;
    }
    if (endpoint && endpoint[0]) {
        ak_buf_add_fmt(&url, "%s/", endpoint);
    } else {
        ak_buf_add_fmt(&url, "https://sts.%s.amazonaws.com/",
                       creds->region ? creds->region : "us-east-1");
    }
    add_parameter(&body, "Action", AK_STR("AssumeRoleWithWebIdentity"));
    add_parameter(&body, "Version", AK_STR("2011-06-15"));
    add_parameter(&body, "RoleArn", ak_str_of(role_arn));
    add_parameter(&body, "RoleSessionName", session ? ak_str_of(session) : AK_STR("akidb"));
    add_parameter(&body, "WebIdentityToken", ak_buf_str(&token));
    rc = ak_buf_check(&body, err);
    if (rc == AK_OK) {
        const struct ak_httpc_header headers[] = {
            {AK_STR("Content-Type"), AK_STR("application/x-www-form-urlencoded")},
            {AK_STR("Accept"), AK_STR("application/xml")}};
        const struct ak_httpc_request request = {.method = "POST",
                                                 .url = ak_buf_cstr(&url),
                                                 .headers = headers,
                                                 .header_count = 2,
                                                 .body = ak_buf_str(&body),
                                                 .connect_ms = STEP_MS,
                                                 .deadline_ms = 2 * STEP_MS};
        rc = ask(creds, &request, &response, err);
    }
    rc = rc == AK_OK ? read_assumed(ak_buf_str(&response.body), found, err) : rc;
    found->source = "STS";
    rc = rc == AK_OK ? rc : ak_wrap(err, rc, "AssumeRoleWithWebIdentity for %s", role_arn);
out:
    ak_buf_release(&token);
    ak_buf_release(&body);
    ak_buf_release(&url);
    ak_httpc_response_release(&response);
    return rc;
}

enum ak_rc ak_s3_creds_web_identity(struct ak_s3_creds *creds, struct s3_found *found,
                                    struct ak_err *err)
{
    const char *role_arn = creds->env("AWS_ROLE_ARN");
    const char *file = creds->env("AWS_WEB_IDENTITY_TOKEN_FILE");
    if (!role_arn || !role_arn[0] || !file || !file[0]) {
        return ak_fail(err, AK_NOT_FOUND, "no AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE");
    }
    return ak_s3_creds_assume(creds, role_arn, file, creds->env("AWS_ROLE_SESSION_NAME"), found,
                              err);
}

/* --- JSON of the container's agent and the instance --- */

static enum ak_rc read_json(struct ak_str text, struct s3_found *found, struct ak_err *err)
{
    struct ak_json in;
    struct ak_str key;
    struct ak_str value;
    struct ak_str expires = AK_STR_NONE;
    struct ak_str code = AK_STR("Success");
    ak_json_init(&in, text);
    ak_json_object(&in);
    while (ak_json_next_key(&in, &key)) {
        struct ak_buf *out = ak_str_eq(key, AK_STR("AccessKeyId"))       ? &found->id
                             : ak_str_eq(key, AK_STR("SecretAccessKey")) ? &found->secret
                             : ak_str_eq(key, AK_STR("Token"))           ? &found->token
                                                                         : NULL;
        if (out && ak_json_string(&in, &value)) {
            ak_buf_add_str(out, value);
        } else if (ak_str_eq(key, AK_STR("Expiration"))) {
            ak_json_string(&in, &expires);
        } else if (ak_str_eq(key, AK_STR("Code"))) {
            ak_json_string(&in, &code);
        } else if (!out) {
            ak_json_skip(&in, NULL);
        }
    }
    enum ak_rc rc = ak_json_finish(&in, err);
    if (rc == AK_OK && !ak_str_eq(code, AK_STR("Success"))) {
        rc = ak_fail(err, AK_FORBIDDEN, "it says %.*s", AK_STR_ARG(code));
    } else if (rc == AK_OK && expires.len && !ak_time_parse(expires, &found->expires_us)) {
        rc = ak_fail(err, AK_UNAVAILABLE, "it gave no time of expiry");
    }
    ak_json_release(&in);
    return rc;
}

/* --- Container --- */

/* May a token be sent there? https anywhere; http to loopback and the agents' addresses. */
static bool is_safe_uri(const char *uri)
{
    static const char *const hosts[] = {"127.",          "localhost",      "[::1]",
                                        "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    struct ak_str rest = ak_str_of(uri);
    struct ak_str host;
    if (ak_str_has_prefix(rest, AK_STR("https://"))) {
        return rest.len > 8;
    }
    if (!ak_str_has_prefix(rest, AK_STR("http://"))) {
        return false;
    }
    host = ak_str_sub(rest, 7, SIZE_MAX);
    size_t len = 0;
    while (len < host.len && host.p[len] != '/' && host.p[len] != '?' && host.p[len] != '@') {
        len++;
    }
    if (len < host.len && host.p[len] == '@') { /* a user name could hide the real host */
        return false;
    }
    host.len = len;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct ak_str want = ak_str_of(hosts[i]);
        struct ak_str after = ak_str_sub(host, want.len, SIZE_MAX);
        bool numbers = true; /* 127.x.y.z and nothing that only begins so */
        for (size_t j = 0; i == 0 && j < after.len && after.p[j] != ':'; j++) {
            numbers = numbers && ((after.p[j] >= '0' && after.p[j] <= '9') || after.p[j] == '.');
        }
        if (ak_str_has_prefix(host, want) && numbers &&
            (i == 0 || after.len == 0 || after.p[0] == ':')) {
            return true;
        }
    }
    return false;
}

static enum ak_rc container_uri(struct ak_s3_creds *creds, struct ak_buf *url, struct ak_err *err)
{
    const char *relative = creds->env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = creds->env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative && relative[0] == '/') {
        ak_buf_add_fmt(url, "http://169.254.170.2%s", relative);
    } else if (full && full[0]) {
        ak_buf_add_str(url, ak_str_of(full));
    } else {
        return ak_fail(err, AK_NOT_FOUND, "no AWS_CONTAINER_CREDENTIALS_*_URI");
    }
    if (!is_safe_uri(ak_buf_cstr(url))) {
        return ak_fail(err, AK_INVALID,
                       "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http to loopback, "
                       "169.254.170.2, 169.254.170.23 or [fd00:ec2::23]");
    }
    return ak_buf_check(url, err);
}

static enum ak_rc container_token(struct ak_s3_creds *creds, struct ak_buf *token,
                                  struct ak_err *err)
{
    const char *file = creds->env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    enum ak_rc rc = AK_OK;
    if (file && file[0]) {
        rc = ak_s3_creds_read_file(file, token, err);
        rc =
            rc == AK_OK ? rc : ak_fail(err, AK_INVALID, "the token file '%s' cannot be read", file);
    } else {
        ak_buf_add_str(token, ak_str_of(creds->env("AWS_CONTAINER_AUTHORIZATION_TOKEN")));
    }
    if (rc == AK_OK && token->len &&
        (memchr(token->p, '\n', token->len) || memchr(token->p, '\r', token->len))) {
        rc = ak_fail(err, AK_INVALID, "the container's authorization token has a line break");
    }
    return rc == AK_OK ? ak_buf_check(token, err) : rc;
}

enum ak_rc ak_s3_creds_container(struct ak_s3_creds *creds, struct s3_found *found,
                                 struct ak_err *err)
{
    struct ak_buf url;
    struct ak_buf token;
    struct ak_httpc_response response;
    ak_buf_init(&url, 4096);
    ak_buf_init(&token, TOKEN_MAX);
    ak_httpc_response_init(&response);
    enum ak_rc rc = container_uri(creds, &url, err);
    rc = rc == AK_OK ? container_token(creds, &token, err) : rc;
    if (rc == AK_OK) {
        const struct ak_httpc_header headers[] = {{AK_STR("Accept"), AK_STR("application/json")},
                                                  {AK_STR("Authorization"), ak_buf_str(&token)}};
        const struct ak_httpc_request request = {.method = "GET",
                                                 .url = ak_buf_cstr(&url),
                                                 .headers = headers,
                                                 .header_count = token.len ? 2 : 1,
                                                 .connect_ms = STEP_MS,
                                                 .deadline_ms = 2 * STEP_MS,
                                                 .direct = true};
        rc = ask(creds, &request, &response, err);
        rc = rc == AK_OK ? read_json(ak_buf_str(&response.body), found, err) : rc;
        found->source = "the container's agent";
    }
    ak_buf_release(&url);
    ak_buf_release(&token);
    ak_httpc_response_release(&response);
    return rc;
}

/* --- Instance (IMDSv2) --- */

struct instance {
    const char *endpoint;
    struct ak_buf token;
    struct ak_buf url;
    struct ak_httpc_response response;
};

static enum ak_rc instance_get(struct ak_s3_creds *creds, struct instance *i, struct ak_str path,
                               struct ak_err *err)
{
    const struct ak_httpc_header header = {AK_STR("X-aws-ec2-metadata-token"),
                                           ak_buf_str(&i->token)};
    ak_buf_clear(&i->url);
    ak_buf_add_fmt(&i->url, "%s/latest/meta-data/iam/security-credentials/%.*s", i->endpoint,
                   AK_STR_ARG(path));
    const struct ak_httpc_request request = {.method = "GET",
                                             .url = ak_buf_cstr(&i->url),
                                             .headers = &header,
                                             .header_count = 1,
                                             .connect_ms = INSTANCE_MS,
                                             .stall_ms = INSTANCE_MS,
                                             .deadline_ms = 2 * INSTANCE_MS,
                                             .direct = true};
    enum ak_rc rc = ak_buf_check(&i->url, err);
    return rc == AK_OK ? ask(creds, &request, &i->response, err) : rc;
}

/* Nobody there: we are not on an instance, and the provider has nothing to say. */
static enum ak_rc instance_token(struct ak_s3_creds *creds, struct instance *i, struct ak_err *err)
{
    const struct ak_httpc_header header = {AK_STR("X-aws-ec2-metadata-token-ttl-seconds"),
                                           AK_STR("21600")};
    ak_buf_add_fmt(&i->url, "%s/latest/api/token", i->endpoint);
    const struct ak_httpc_request request = {.method = "PUT",
                                             .url = ak_buf_cstr(&i->url),
                                             .headers = &header,
                                             .header_count = 1,
                                             .connect_ms = INSTANCE_MS,
                                             .stall_ms = INSTANCE_MS,
                                             .deadline_ms = 2 * INSTANCE_MS,
                                             .direct = true};
    enum ak_rc rc = ak_httpc_do(creds->client, &request, &i->response, err);
    int status = rc == AK_OK ? i->response.status : 0;
    if (status == 429 || status >= 500) {
        return ak_fail(err, AK_UNAVAILABLE, "instance metadata at %s answered %d", i->endpoint,
                       status);
    }
    if (status != 200) {
        return rc == AK_NOMEM
                   ? rc
                   : ak_fail(err, AK_NOT_FOUND, "no instance metadata at %s", i->endpoint);
    }
    ak_buf_add_str(&i->token, ak_str_trim(ak_buf_str(&i->response.body)));
    return ak_buf_check(&i->token, err);
}

static enum ak_rc instance_ask(struct ak_s3_creds *creds, struct instance *i,
                               struct s3_found *found, struct ak_err *err)
{
    struct ak_buf role;
    struct ak_str line;
    struct ak_str rest;
    enum ak_rc rc = instance_token(creds, i, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = instance_get(creds, i, AK_STR_NONE, err);
    if (rc != AK_OK) {
        return i->response.status == 404
                   ? ak_fail(err, AK_NOT_FOUND, "the instance has no IAM role")
                   : rc;
    }
    ak_buf_init(&role, 1024);
    ak_str_split(ak_buf_str(&i->response.body), '\n', &line, &rest);
    ak_sigv4_encode(&role, ak_str_trim(line), false);
    rc = ak_buf_check(&role, err);
    rc = rc == AK_OK ? instance_get(creds, i, ak_buf_str(&role), err) : rc;
    rc = rc == AK_OK ? read_json(ak_buf_str(&i->response.body), found, err) : rc;
    ak_buf_release(&role);
    found->source = "the instance's role";
    return rc;
}

enum ak_rc ak_s3_creds_instance(struct ak_s3_creds *creds, struct s3_found *found,
                                struct ak_err *err)
{
    struct instance instance;
    const char *off = creds->env("AWS_EC2_METADATA_DISABLED");
    const char *endpoint = creds->env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (off && ak_str_eq_nocase(ak_str_of(off), AK_STR("true"))) {
        return ak_fail(err, AK_NOT_FOUND, "AWS_EC2_METADATA_DISABLED is true");
    }
    instance.endpoint = endpoint && endpoint[0] ? endpoint : "http://169.254.169.254";
    ak_buf_init(&instance.token, TOKEN_MAX);
    ak_buf_init(&instance.url, 4096);
    ak_httpc_response_init(&instance.response);
    enum ak_rc rc = instance_ask(creds, &instance, found, err);
    ak_buf_release(&instance.token);
    ak_buf_release(&instance.url);
    ak_httpc_response_release(&instance.response);
    return rc;
}
