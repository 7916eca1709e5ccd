/* objstore_s3_creds_test.c — the chain of credentials: order, services, renewal, refusals. */
#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sync.h"
#include "objstore/s3_creds.h"
#include "support/test.h"
#include <stdatomic.h>

#define ENV_MAX 16

struct service {
    const char *method;
    const char *url; /* the beginning of it */
    int status;      /* 0: nobody there */
    const char *body;
    const char *wants; /* of its headers or body */
};

static struct {
    const char *env[ENV_MAX][2];
    struct service services[4];
    _Atomic unsigned asked;
    struct ak_manual_clock clock;
    char seen[4096]; /* headers and body of the last request */
    struct ak_mutex mutex;
    struct ak_cond go;
    bool holds; /* requests wait until it is false */
    unsigned held;
} world;

static const char *env_of(const char *name)
{
    for (size_t i = 0; i < ENV_MAX && world.env[i][0]; i++) {
        if (strcmp(world.env[i][0], name) == 0) {
            return world.env[i][1];
        }
    }
    return NULL;
}

static void serve(void *ctx, const struct ak_httpc_request *request, struct ak_str body,
                  struct ak_httpc_reply *reply)
{
    struct ak_buf seen;
    (void)ctx;
    atomic_fetch_add(&world.asked, 1);
    ak_buf_init(&seen, 0);
    for (size_t i = 0; i < request->header_count; i++) {
        ak_buf_add_fmt(&seen, "%.*s: %.*s\n", AK_STR_ARG(request->headers[i].name),
                       AK_STR_ARG(request->headers[i].value));
    }
    ak_buf_add_str(&seen, body);
    ak_mutex_lock(&world.mutex);
    (void)snprintf(world.seen, sizeof world.seen, "%s", ak_buf_cstr(&seen));
    world.held++;
    ak_cond_broadcast(&world.go);
    while (world.holds) {
        ak_cond_wait(&world.go, &world.mutex);
    }
    world.held--;
    ak_mutex_unlock(&world.mutex);
    reply->failure = AK_HTTPC_CONNECT;
    for (size_t i = 0; i < 4 && world.services[i].url; i++) {
        const struct service *s = &world.services[i];
        if (strcmp(s->method, request->method) == 0 &&
            strncmp(s->url, request->url, strlen(s->url)) == 0 && s->status) {
            reply->failure = AK_HTTPC_NONE;
            reply->status = s->status;
            if (s->wants && !strstr(ak_buf_cstr(&seen), s->wants)) {
                reply->status = 401;
            } else {
                ak_buf_add_str(&reply->body, ak_str_of(s->body));
            }
            break;
        }
    }
    ak_buf_release(&seen);
}

static void reset(void)
{
    memset(world.env, 0, sizeof world.env);
    memset(world.services, 0, sizeof world.services);
    atomic_store(&world.asked, 0);
    world.seen[0] = 0;
    world.holds = false;
    world.held = 0;
    ak_manual_clock_init(&world.clock, 1793000000LL * 1000000);
    ak_mutex_init(&world.mutex, AK_RANK_LEAF, "world");
    ak_cond_init(&world.go);
}

static struct ak_s3_creds *open_chain(const struct ak_s3_creds_options *given,
                                      struct ak_httpc **client)
{
    struct ak_err err;
    struct ak_s3_creds *creds = NULL;
    struct ak_s3_creds_options options = *given;
    *client = ak_httpc_open_fake(serve, NULL);
    options.client = *client;
    options.clock = &world.clock.clock;
    options.env = env_of;
    CHECK_OK(ak_s3_creds_open(&options, &creds, &err));
    return creds;
}

static enum ak_rc ask(const struct ak_s3_creds_options *options, const char *want,
                      struct ak_err *err)
{
    struct ak_httpc *client = NULL;
    struct ak_s3_keys *keys = NULL;
    struct ak_s3_creds *creds = open_chain(options, &client);
    enum ak_rc rc = ak_s3_creds_get(creds, &keys, err);
    if (rc == AK_OK) {
        char got[512];
        (void)snprintf(got, sizeof got, "%.*s %.*s %.*s", AK_STR_ARG(keys->id),
                       AK_STR_ARG(keys->secret), AK_STR_ARG(keys->token));
        CHECK_STR(got, want);
    }
    ak_s3_keys_unref(keys);
    ak_s3_creds_close(creds);
    ak_httpc_close(client);
    return rc;
}

static void write_file(const char *name, const char *text, char path[512])
{
    struct ak_err err;
    (void)snprintf(path, 512, "%s/%s", ak_test_dir(), name);
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_str_of(text), &err));
}

static const struct ak_s3_creds_options nothing = {.profile = NULL};

TEST(s3_creds, the_configuration_goes_first_and_asks_nobody)
{
    struct ak_err err;
    const struct ak_s3_creds_options options = {
        .access_key_id = "I", .secret_access_key = "S", .session_token = "T"};
    reset();
    world.env[0][0] = "AWS_ACCESS_KEY_ID";
    world.env[0][1] = "other";
    CHECK_OK(ask(&options, "I S T", &err));
    CHECK_INT(atomic_load(&world.asked), 0);
}

TEST(s3_creds, half_a_pair_is_refused)
{
    struct ak_err err;
    struct ak_s3_creds *creds = NULL;
    const struct ak_s3_creds_options options = {.access_key_id = "I"};
    CHECK_RC(AK_INVALID, ak_s3_creds_open(&options, &creds, &err));
    reset();
    world.env[0][0] = "AWS_ACCESS_KEY_ID";
    world.env[0][1] = "I";
    CHECK_RC(AK_INVALID, ask(&nothing, NULL, &err));
    CHECK(strstr(err.text, "set both or neither"));
}

TEST(s3_creds, the_environment_goes_second)
{
    struct ak_err err;
    reset();
    world.env[0][0] = "AWS_ACCESS_KEY_ID";
    world.env[0][1] = "I";
    world.env[1][0] = "AWS_SECRET_ACCESS_KEY";
    world.env[1][1] = "S";
    CHECK_OK(ask(&nothing, "I S ", &err));
    world.env[2][0] = "AWS_SESSION_TOKEN";
    world.env[2][1] = "T";
    CHECK_OK(ask(&nothing, "I S T", &err));
}

TEST(s3_creds, without_any_the_message_lists_what_was_asked)
{
    struct ak_err err;
    reset();
    CHECK_RC(AK_FORBIDDEN, ask(&nothing, NULL, &err));
    CHECK(strstr(err.text, "AWS_ACCESS_KEY_ID") && strstr(err.text, "AWS_ROLE_ARN"));
    CHECK(strstr(err.text, "no profile 'default'") && strstr(err.text, "instance metadata"));
}

/* --- Profiles --- */

TEST(s3_creds, profiles_come_from_both_files)
{
    static const struct {
        const char *profile;
        enum ak_rc rc;
        const char *want; /* keys, or a part of the message */
    } rows[] = {
        {NULL, AK_OK, "DI DS "},
        {"work", AK_OK, "WI WS WT"},
        {"config-only", AK_OK, "CI CS "},
        {"both", AK_OK, "BI BS "},
        {"commented", AK_OK, "I#1 S;2 "},
        {"absent", AK_INVALID, "no profile 'absent'"},
        {"half", AK_INVALID, "needs both"},
        {"process", AK_UNSUPPORTED, "credential_process"},
        {"sso", AK_UNSUPPORTED, "sso_session"},
        {"chained", AK_UNSUPPORTED, "source_profile"},
    };
    struct ak_err err;
    char keys[512];
    char config[512];
    reset();
    write_file("credentials",
               "# a comment\n[default]\naws_access_key_id = DI\naws_secret_access_key=DS\r\n"
               "\n[work]\n  aws_access_key_id=WI\naws_secret_access_key =WS\n"
               "aws_session_token= WT \n; more\n[half]\naws_access_key_id=x\n"
               "[both]\naws_access_key_id=BI\naws_secret_access_key=BS\n"
               "[commented]\naws_access_key_id=I#1 # one\naws_secret_access_key=S;2\t; two\n",
               keys);
    write_file("config",
               "[default]\nregion=x\n[profile config-only]\naws_access_key_id=CI\n"
               "aws_secret_access_key=CS\n[profile both]\naws_access_key_id=other\n"
               "aws_secret_access_key=other\n[work]\naws_access_key_id=wrong\n"
               "[profile process]\ncredential_process = /bin/x\n"
               "[profile sso]\nsso_start_url=https://x\n"
               "[profile chained]\nrole_arn=a\nsource_profile=default\n",
               config);
    world.env[0][0] = "AWS_SHARED_CREDENTIALS_FILE";
    world.env[0][1] = keys;
    world.env[1][0] = "AWS_CONFIG_FILE";
    world.env[1][1] = config;
    world.env[2][0] = "AWS_EC2_METADATA_DISABLED";
    world.env[2][1] = "true";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct ak_s3_creds_options options = {.profile = rows[i].profile};
        enum ak_rc rc = ask(&options, rows[i].want, &err);
        ak_test_counted();
        if (rc != rows[i].rc || (rc != AK_OK && !strstr(err.text, rows[i].want))) {
            ak_test_fail(__FILE__, __LINE__, "%s gave %s: %s",
                         rows[i].profile ? rows[i].profile : "default", ak_rc_name(rc),
                         rc ? err.text : "");
        }
    }
    world.env[3][0] = "AWS_PROFILE";
    world.env[3][1] = "work";
    CHECK_OK(ask(&nothing, "WI WS WT", &err));
}

TEST(s3_creds, the_files_are_looked_for_at_home)
{
    struct ak_err err;
    char path[512];
    char folder[512];
    reset();
    (void)snprintf(folder, sizeof folder, "%s/.aws", ak_test_dir());
    CHECK_OK(ak_fs_make_dir(ak_fs_posix(), folder, &err));
    write_file(".aws/credentials", "[default]\naws_access_key_id=I\naws_secret_access_key=S\n",
               path);
    world.env[0][0] = "HOME";
    world.env[0][1] = ak_test_dir();
    CHECK_OK(ask(&nothing, "I S ", &err));
}

/* --- Services --- */

#define STS_ANSWER                                                                                 \
    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"      \
    "<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>TT</SessionToken>"                \
    "<SecretAccessKey>SS</SecretAccessKey><Expiration>2026-10-26T12:00:00Z</Expiration>"           \
    "<AccessKeyId>II</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>"                \
    "</AssumeRoleWithWebIdentityResponse>"
#define JSON_ANSWER                                                                                \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"II\",\"SecretAccessKey\":\"SS\",\"Token\":\"TT\","    \
    "\"Expiration\":\"2026-10-26T12:00:00Z\",\"RoleArn\":\"x\"}"

TEST(s3_creds, a_web_identity_is_exchanged_at_sts)
{
    struct ak_err err;
    char path[512];
    const struct ak_s3_creds_options options = {.region = "eu-west-1"};
    reset();
    write_file("token", "abc/+=\n", path);
    world.env[0][0] = "AWS_ROLE_ARN";
    world.env[0][1] = "arn:aws:iam::1:role/x";
    world.env[1][0] = "AWS_WEB_IDENTITY_TOKEN_FILE";
    world.env[1][1] = path;
    world.services[0] = (struct service){"POST", "https://sts.eu-west-1.amazonaws.com/", 200,
                                         STS_ANSWER, "WebIdentityToken=abc%2F%2B%3D"};
    CHECK_OK(ask(&options, "II SS TT", &err));
    CHECK(strstr(world.seen, "Action=AssumeRoleWithWebIdentity"));
    CHECK(strstr(world.seen, "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx"));
    CHECK(strstr(world.seen, "RoleSessionName=akidb"));
    world.services[0].status = 403;
    CHECK_RC(AK_FORBIDDEN, ask(&options, NULL, &err));
    CHECK(strstr(err.text, "web identity") && strstr(err.text, "403"));
    world.services[0].status = 0;
    CHECK_RC(AK_UNAVAILABLE, ask(&options, NULL, &err));
    world.services[0] = (struct service){"POST", "https://sts", 200, "<no/>", NULL};
    CHECK_RC(AK_UNAVAILABLE, ask(&options, NULL, &err));
    world.env[1][1] = "/nowhere";
    CHECK_RC(AK_INVALID, ask(&options, NULL, &err));
    CHECK(strstr(err.text, "/nowhere"));
}

TEST(s3_creds, a_profile_may_name_a_role_and_a_token_file)
{
    struct ak_err err;
    char token[512];
    char config[512];
    char text[1200];
    reset();
    write_file("token", "abc", token);
    (void)snprintf(text, sizeof text,
                   "[default]\nrole_arn=R\nweb_identity_token_file=%s\nrole_session_name=me\n",
                   token);
    write_file("config", text, config);
    world.env[0][0] = "AWS_CONFIG_FILE";
    world.env[0][1] = config;
    world.env[1][0] = "AWS_ENDPOINT_URL_STS";
    world.env[1][1] = "http://sts.local";
    world.services[0] =
        (struct service){"POST", "http://sts.local/", 200, STS_ANSWER, "RoleSessionName=me"};
    CHECK_OK(ask(&nothing, "II SS TT", &err));
}

TEST(s3_creds, a_container_s_agent_is_asked_with_its_token)
{
    struct ak_err err;
    char path[512];
    reset();
    world.env[0][0] = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    world.env[0][1] = "/v2/x";
    world.services[0] =
        (struct service){"GET", "http://169.254.170.2/v2/x", 200, JSON_ANSWER, NULL};
    CHECK_OK(ask(&nothing, "II SS TT", &err));
    write_file("token", "Bearer one\n", path);
    world.env[0][0] = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    world.env[0][1] = "http://169.254.170.23/v1/credentials";
    world.env[1][0] = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    world.env[1][1] = path;
    world.services[0] = (struct service){"GET", "http://169.254.170.23/v1/credentials", 200,
                                         JSON_ANSWER, "Authorization: Bearer one\n"};
    CHECK_OK(ask(&nothing, "II SS TT", &err));
    world.env[1][0] = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    world.env[1][1] = "two\r\nEvil: header";
    CHECK_RC(AK_INVALID, ask(&nothing, NULL, &err));
    world.env[1][1] = "two";
    CHECK_RC(AK_FORBIDDEN, ask(&nothing, NULL, &err));
    world.services[0].body = "{\"Code\":\"Failed\"}";
    world.services[0].wants = NULL;
    CHECK_RC(AK_FORBIDDEN, ask(&nothing, NULL, &err));
    world.services[0].body = "no json";
    CHECK_RC(AK_INVALID, ask(&nothing, NULL, &err));
}

TEST(s3_creds, tokens_are_sent_nowhere_else)
{
    static const struct {
        const char *uri;
        bool allowed;
    } rows[] = {
        {"https://agent.example/x", true},
        {"http://127.0.0.1:8080/x", true},
        {"http://127.1.2.3/x", true},
        {"http://localhost/x", true},
        {"http://localhost:1/x", true},
        {"http://[::1]:80/x", true},
        {"http://169.254.170.2/x", true},
        {"http://169.254.170.23/x", true},
        {"http://[fd00:ec2::23]/x", true},
        {"http://example.com/x", false},
        {"http://127.0.0.1.example.com/x", false},
        {"http://127.evil/x", false},
        {"http://localhost.evil/x", false},
        {"http://169.254.170.234/x", false},
        {"http://127.0.0.1@evil/x", false},
        {"ftp://127.0.0.1/x", false},
        {"127.0.0.1/x", false},
    };
    struct ak_err err;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reset();
        world.env[0][0] = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        world.env[0][1] = rows[i].uri;
        world.services[0] = (struct service){"GET", "http", 200, JSON_ANSWER, NULL};
        enum ak_rc rc = ask(&nothing, "II SS TT", &err);
        ak_test_counted();
        if (rc != (rows[i].allowed ? AK_OK : AK_INVALID)) {
            ak_test_fail(__FILE__, __LINE__, "%s gave %s", rows[i].uri, ak_rc_name(rc));
        }
        CHECK(rows[i].allowed == (atomic_load(&world.asked) > 0));
    }
}

TEST(s3_creds, an_instance_is_asked_by_imds_v2)
{
    struct ak_err err;
    reset();
    world.services[0] = (struct service){"PUT", "http://169.254.169.254/latest/api/token", 200,
                                         "TOKEN", "X-aws-ec2-metadata-token-ttl-seconds: 21600"};
    world.services[1] = (struct service){
        "GET", "http://169.254.169.254/latest/meta-data/iam/security-credentials/my%20role", 200,
        JSON_ANSWER, "X-aws-ec2-metadata-token: TOKEN"};
    world.services[2] =
        (struct service){"GET", "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
                         200, "my role\n", "X-aws-ec2-metadata-token: TOKEN"};
    CHECK_OK(ask(&nothing, "II SS TT", &err));
    CHECK_INT(atomic_load(&world.asked), 3);
    world.services[2].status = 404;
    CHECK_RC(AK_FORBIDDEN, ask(&nothing, NULL, &err));
    CHECK(strstr(err.text, "no IAM role"));
    world.services[0].status = 503; /* it is one, and unwell: not the same as none */
    CHECK_RC(AK_UNAVAILABLE, ask(&nothing, NULL, &err));
    CHECK(strstr(err.text, "503"));
    world.env[0][0] = "AWS_EC2_METADATA_DISABLED";
    world.env[0][1] = "TRUE";
    atomic_store(&world.asked, 0);
    CHECK_RC(AK_FORBIDDEN, ask(&nothing, NULL, &err));
    CHECK_INT(atomic_load(&world.asked), 0);
}

/* --- Renewal --- */

static void at_agent(const char *json)
{
    world.env[0][0] = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    world.env[0][1] = "/x";
    world.services[0] = (struct service){"GET", "http://169.254.170.2/x", 200, json, NULL};
}

static void check_keys(struct ak_s3_creds *creds, const char *id)
{
    struct ak_err err;
    struct ak_s3_keys *keys = NULL;
    CHECK_OK(ak_s3_creds_get(creds, &keys, &err));
    CHECK(ak_str_eq(keys->id, ak_str_of(id)));
    ak_s3_keys_unref(keys);
}

#define SECOND                                                                                     \
    "{\"AccessKeyId\":\"I2\",\"SecretAccessKey\":\"S2\",\"Expiration\":\"2027-01-01T00:00:00Z\"}"

static void set_time(const char *text)
{
    int64_t us = 0;
    CHECK(ak_time_parse(ak_str_of(text), &us));
    ak_manual_clock_init(&world.clock, us);
}

TEST(s3_creds, keys_are_renewed_five_minutes_early_and_kept_when_that_fails)
{
    struct ak_err err;
    struct ak_httpc *client = NULL;
    struct ak_s3_keys *keys = NULL;
    reset();
    at_agent(JSON_ANSWER); /* until 12:00 */
    struct ak_s3_creds *creds = open_chain(&nothing, &client);
    set_time("2026-10-26T11:00:00Z");
    check_keys(creds, "II");
    set_time("2026-10-26T11:54:59Z");
    check_keys(creds, "II");
    CHECK_INT(atomic_load(&world.asked), 1);
    world.services[0].status = 500;
    set_time("2026-10-26T11:55:01Z");
    check_keys(creds, "II");
    CHECK(atomic_load(&world.asked) > 1);
    unsigned asked = atomic_load(&world.asked);
    check_keys(creds, "II"); /* and not again with every request */
    CHECK_INT(atomic_load(&world.asked), asked);
    set_time("2026-10-26T12:00:00Z");
    CHECK_RC(AK_UNAVAILABLE, ak_s3_creds_get(creds, &keys, &err));
    at_agent(SECOND);
    check_keys(creds, "I2");
    CHECK(!keys);
    ak_s3_creds_close(creds);
    ak_httpc_close(client);
}

TEST(s3_creds, what_the_server_calls_expired_is_asked_for_again_but_not_what_is_configured)
{
    struct ak_err err;
    struct ak_httpc *client = NULL;
    struct ak_s3_keys *keys = NULL;
    reset();
    at_agent(JSON_ANSWER);
    set_time("2026-10-26T11:00:00Z");
    struct ak_s3_creds *creds = open_chain(&nothing, &client);
    CHECK_OK(ak_s3_creds_get(creds, &keys, &err));
    at_agent(SECOND);
    CHECK(ak_s3_creds_expired(creds, keys));
    check_keys(creds, "I2");
    CHECK(ak_s3_creds_expired(creds, keys)); /* the old ones: nothing to do */
    unsigned asked = atomic_load(&world.asked);
    check_keys(creds, "I2");
    CHECK_INT(atomic_load(&world.asked), asked);
    ak_s3_keys_unref(keys);
    ak_s3_creds_close(creds);
    ak_httpc_close(client);
    const struct ak_s3_creds_options fixed = {.access_key_id = "I", .secret_access_key = "S"};
    creds = open_chain(&fixed, &client);
    CHECK_OK(ak_s3_creds_get(creds, &keys, &err));
    CHECK(!ak_s3_creds_expired(creds, keys));
    ak_s3_keys_unref(keys);
    ak_s3_creds_close(creds);
    ak_httpc_close(client);
}

struct getter {
    struct ak_s3_creds *creds;
    bool good;
};

static void get_in_thread(void *arg)
{
    struct getter *getter = arg;
    struct ak_s3_keys *keys = NULL;
    getter->good =
        ak_s3_creds_get(getter->creds, &keys, NULL) == AK_OK && ak_str_eq(keys->id, AK_STR("I2"));
    ak_s3_keys_unref(keys);
}

TEST(s3_creds, many_threads_ask_the_provider_once)
{
    struct ak_err err;
    struct ak_httpc *client = NULL;
    struct ak_thread threads[8] = {{.started = false}};
    struct getter getters[8];
    reset();
    at_agent(SECOND);
    struct ak_s3_creds *creds = open_chain(&nothing, &client);
    world.holds = true;
    for (size_t i = 0; i < 8; i++) {
        getters[i] = (struct getter){.creds = creds};
        CHECK_OK(ak_thread_start(&threads[i], "getter", get_in_thread, &getters[i], &err));
    }
    ak_mutex_lock(&world.mutex);
    while (world.held == 0) {
        ak_cond_wait(&world.go, &world.mutex);
    }
    world.holds = false;
    ak_cond_broadcast(&world.go);
    ak_mutex_unlock(&world.mutex);
    for (size_t i = 0; i < 8; i++) {
        ak_thread_join(&threads[i]);
        CHECK(getters[i].good);
    }
    CHECK_INT(atomic_load(&world.asked), 1);
    ak_s3_creds_close(creds);
    ak_httpc_close(client);
}

TEST(s3_creds, whichever_allocation_fails_the_chain_says_so)
{
    struct ak_err err;
    reset();
    at_agent(JSON_ANSWER);
    set_time("2026-10-26T11:00:00Z");
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        struct ak_httpc *client = NULL;
        struct ak_s3_keys *keys = NULL;
        struct ak_s3_creds *creds = open_chain(&nothing, &client);
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_s3_creds_get(creds, &keys, &err);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == AK_OK || fired);
        if (rc == AK_OK) {
            CHECK(ak_str_eq(keys->secret, AK_STR("SS")));
        }
        ak_s3_keys_unref(keys);
        check_keys(creds, "II");
        ak_s3_creds_close(creds);
        ak_httpc_close(client);
    }
}

TEST_MAIN()
