/* mocks3_sigv4_test.c — signatures, against the examples that AWS publishes.
 *
 * "Authenticating Requests: Using the Authorization Header", "Using Query Parameters", "Signature
 * Calculations for the Authorization Header: Transferring Payload in Multiple Chunks", and the same
 * with trailing headers, of the Amazon S3 API Reference.
 */
#include "base/clock.h"
#include "base/encode.h"
#include "base/fault.h"
#include "base/rand.h"
#include "mocks3/sigv4.h"
#include "support/test.h"

#define ACCESS "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define SCOPE "20130524/us-east-1/s3/aws4_request"
#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HEADERS_MAX 12

struct example {
    const char *method;
    const char *path;
    const char *query;
    const char *headers[HEADERS_MAX][2];
};

static struct ak_arena arena;
static struct ak_mock_sigv4_field fields[HEADERS_MAX];

static struct ak_mock_sigv4_request request_of(const struct example *example)
{
    struct ak_mock_sigv4_request request = {
        .method = ak_str_of(example->method),
        .path = ak_str_of(example->path),
        .query = ak_str_of(example->query),
        .headers = fields,
    };
    while (request.header_count < HEADERS_MAX && example->headers[request.header_count][0]) {
        const char *const *header = example->headers[request.header_count];
        fields[request.header_count++] =
            (struct ak_mock_sigv4_field){ak_str_of(header[0]), ak_str_of(header[1])};
    }
    return request;
}

static int64_t time_of(const char *text)
{
    int64_t us = 0;
    CHECK(ak_time_parse(ak_str_of(text), &us));
    return us;
}

static enum ak_mock_code verify_at(const struct example *example, const char *secret,
                                   const char *now, struct ak_mock_sigv4_auth *auth,
                                   uint8_t key[AK_MOCK_SIGV4_KEY_BYTES],
                                   struct ak_mock_fault *fault)
{
    struct ak_mock_sigv4_request request = request_of(example);
    ak_arena_release(&arena);
    ak_arena_init(&arena, 0);
    *fault = (struct ak_mock_fault){0};
    enum ak_mock_code code = ak_mock_sigv4_read(&request, &arena, auth, fault);
    return code ? code
                : ak_mock_sigv4_verify(&request, auth, ak_str_of(secret), time_of(now), &arena, key,
                                       fault);
}

static enum ak_mock_code verify(const struct example *example)
{
    struct ak_mock_sigv4_auth auth;
    struct ak_mock_fault fault;
    uint8_t key[AK_MOCK_SIGV4_KEY_BYTES];
    return verify_at(example, SECRET, "2013-05-24T00:05:00Z", &auth, key, &fault);
}

#define AUTH(signed_headers, signature)                                                            \
    {                                                                                              \
        "Authorization", "AWS4-HMAC-SHA256 Credential=" ACCESS "/" SCOPE                           \
                         ",SignedHeaders=" signed_headers ",Signature=" signature                  \
    }
#define DATE                                                                                       \
    {                                                                                              \
        "x-amz-date", "20130524T000000Z"                                                           \
    }
#define HOST                                                                                       \
    {                                                                                              \
        "Host", "examplebucket.s3.amazonaws.com"                                                   \
    }

static const struct example get_object = {
    "GET",
    "/test.txt",
    "",
    {HOST,
     AUTH("host;range;x-amz-content-sha256;x-amz-date",
          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
     {"Range", "bytes=0-9"},
     {"x-amz-content-sha256", EMPTY_HASH},
     DATE}};

static const struct example put_object = {
    "PUT",
    "/test$file.text",
    "",
    {HOST,
     {"Date", "Fri, 24 May 2013 00:00:00 GMT"},
     AUTH("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
          "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
     DATE,
     {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
     {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"}}};

static const struct example get_lifecycle = {
    "GET",
    "/",
    "lifecycle",
    {HOST,
     AUTH("host;x-amz-content-sha256;x-amz-date",
          "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
     DATE,
     {"x-amz-content-sha256", EMPTY_HASH}}};

static const struct example list_objects = {
    "GET",
    "/",
    "max-keys=2&prefix=J",
    {HOST,
     AUTH("host;x-amz-content-sha256;x-amz-date",
          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
     DATE,
     {"x-amz-content-sha256", EMPTY_HASH}}};

static const struct example presigned = {
    "GET",
    "/test.txt",
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" ACCESS
    "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
    "X-Amz-SignedHeaders=host&X-Amz-Signature="
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    {HOST}};

static const struct example chunked = {
    "PUT",
    "/examplebucket/chunkObject.txt",
    "",
    {{"Host", "s3.amazonaws.com"},
     DATE,
     {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
     AUTH("content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
          "x-amz-decoded-content-length;x-amz-storage-class",
          "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"),
     {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
     {"Content-Encoding", "aws-chunked"},
     {"x-amz-decoded-content-length", "66560"},
     {"Content-Length", "66824"}}};

static const struct example trailing = {
    "PUT",
    "/examplebucket/chunkObject.txt",
    "",
    {{"Host", "s3.amazonaws.com"},
     DATE,
     {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
     AUTH("content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
          "x-amz-storage-class;x-amz-trailer",
          "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"),
     {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"},
     {"Content-Encoding", "aws-chunked"},
     {"x-amz-decoded-content-length", "66560"},
     {"x-amz-trailer", "x-amz-checksum-crc32c"}}};

static const struct example *const all[] = {&get_object, &put_object, &get_lifecycle, &list_objects,
                                            &presigned,  &chunked,    &trailing};
#define ALL (sizeof all / sizeof all[0])

TEST(sigv4, every_example_of_aws_is_accepted)
{
    for (size_t i = 0; i < ALL; i++) {
        CHECK_INT(verify(all[i]), AK_MOCK_OK);
    }
}

TEST(sigv4, the_steps_are_those_that_aws_prints)
{
    struct ak_mock_sigv4_auth auth;
    struct ak_mock_fault fault;
    uint8_t key[AK_MOCK_SIGV4_KEY_BYTES];
    CHECK_INT(verify_at(&put_object, SECRET, "2013-05-24T00:00:00Z", &auth, key, &fault), 0);
    struct ak_mock_sigv4_request request = request_of(&put_object);
    struct ak_str canonical = ak_mock_sigv4_canonical(&request, &auth, &arena);
    CHECK_STR(canonical.p,
              "PUT\n/test%24file.text\n\ndate:Fri, 24 May 2013 00:00:00 GMT\n"
              "host:examplebucket.s3.amazonaws.com\n"
              "x-amz-content-sha256:44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e4203"
              "4a8b803f8b072\nx-amz-date:20130524T000000Z\n"
              "x-amz-storage-class:REDUCED_REDUNDANCY\n\n"
              "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class\n"
              "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
    struct ak_str to_sign = ak_mock_sigv4_string_to_sign(&auth, canonical, &arena);
    CHECK_STR(to_sign.p, "AWS4-HMAC-SHA256\n20130524T000000Z\n" SCOPE "\n"
                         "9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d");
    CHECK(ak_str_eq(auth.access_key, AK_STR(ACCESS)));
    CHECK(ak_str_eq(auth.region, AK_STR("us-east-1")));
    ak_arena_release(&arena);
}

static void check_chunks(const struct example *example, const char *const signatures[3])
{
    static char a[65536];
    static const size_t sizes[] = {65536, 1024, 0};
    struct ak_mock_sigv4_auth auth;
    struct ak_mock_fault fault;
    uint8_t key[AK_MOCK_SIGV4_KEY_BYTES];
    char before[AK_MOCK_SIGV4_TEXT];
    memset(a, 'a', sizeof a);
    CHECK_INT(verify_at(example, SECRET, "2013-05-24T00:00:00Z", &auth, key, &fault), 0);
    (void)snprintf(before, sizeof before, "%.*s", AK_STR_ARG(auth.signature));
    for (size_t i = 0; i < 3; i++) {
        char hash[AK_MOCK_SIGV4_TEXT];
        char signature[AK_MOCK_SIGV4_TEXT];
        ak_mock_sigv4_sha256((struct ak_str){a, sizes[i]}, hash);
        ak_mock_sigv4_chunk(key, &auth, false, ak_str_of(before), hash, signature);
        CHECK_STR(signature, signatures[i]);
        memcpy(before, signature, sizeof before);
    }
    if (ak_str_has_suffix(auth.payload, AK_STR("-TRAILER"))) {
        char hash[AK_MOCK_SIGV4_TEXT];
        char signature[AK_MOCK_SIGV4_TEXT];
        ak_mock_sigv4_sha256(AK_STR("x-amz-checksum-crc32c:sOO8/Q==\n"), hash);
        ak_mock_sigv4_chunk(key, &auth, true, ak_str_of(before), hash, signature);
        CHECK_STR(signature, "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
    }
    ak_arena_release(&arena);
}

TEST(sigv4, chunks_and_trailers_are_chained_as_in_the_examples_of_aws)
{
    static const char *const plain[] = {
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"};
    static const char *const with_trailer[] = {
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"};
    check_chunks(&chunked, plain);
    check_chunks(&trailing, with_trailer);
}

TEST(sigv4, every_part_of_a_request_is_signed)
{
    for (size_t i = 0; i < ALL; i++) {
        struct example changed = *all[i];
        changed.method = "POST";
        CHECK_INT(verify(&changed), AK_MOCK_SignatureDoesNotMatch);
        changed = *all[i];
        changed.path = "/other";
        CHECK_INT(verify(&changed), AK_MOCK_SignatureDoesNotMatch);
        char query[1024];
        (void)snprintf(query, sizeof query, "%s&more=1", all[i]->query);
        changed = *all[i];
        changed.query = query;
        CHECK_INT(verify(&changed), AK_MOCK_SignatureDoesNotMatch);
        changed = *all[i];
        changed.headers[0][1] = "other.host";
        CHECK_INT(verify(&changed), AK_MOCK_SignatureDoesNotMatch);
    }
    struct example changed = get_object;
    changed.headers[2][1] = "bytes=0-99";
    CHECK_INT(verify(&changed), AK_MOCK_SignatureDoesNotMatch);
    changed = get_object;
    changed.headers[5][0] = "x-amz-acl";
    changed.headers[5][1] = "public-read";
    CHECK_INT(verify(&changed), AK_MOCK_AccessDenied);
}

TEST(sigv4, a_wrong_secret_is_answered_with_what_was_computed)
{
    for (size_t i = 0; i < ALL; i++) {
        struct ak_mock_sigv4_auth auth;
        struct ak_mock_fault fault;
        uint8_t key[AK_MOCK_SIGV4_KEY_BYTES];
        CHECK_INT(verify_at(all[i], "another", "2013-05-24T00:00:00Z", &auth, key, &fault),
                  AK_MOCK_SignatureDoesNotMatch);
        CHECK(strstr(fault.detail.p, "<CanonicalRequest>") != NULL);
        CHECK(strstr(fault.detail.p, "<AWSAccessKeyId>" ACCESS) != NULL);
        ak_arena_release(&arena);
    }
}

TEST(sigv4, requests_are_good_for_fifteen_minutes_and_urls_until_they_expire)
{
    static const struct {
        const struct example *example;
        const char *now;
        enum ak_mock_code want;
    } cases[] = {
        {&get_object, "2013-05-24T00:15:00Z", AK_MOCK_OK},
        {&get_object, "2013-05-24T00:15:01Z", AK_MOCK_RequestTimeTooSkewed},
        {&get_object, "2013-05-23T23:45:00Z", AK_MOCK_OK},
        {&get_object, "2013-05-23T23:44:59Z", AK_MOCK_RequestTimeTooSkewed},
        {&presigned, "2013-05-25T00:00:00Z", AK_MOCK_OK},
        {&presigned, "2013-05-25T00:00:01Z", AK_MOCK_AccessDenied},
        {&presigned, "2013-05-23T23:44:59Z", AK_MOCK_AccessDenied},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ak_mock_sigv4_auth auth;
        struct ak_mock_fault fault;
        uint8_t key[AK_MOCK_SIGV4_KEY_BYTES];
        CHECK_INT(verify_at(cases[i].example, SECRET, cases[i].now, &auth, key, &fault),
                  cases[i].want);
        ak_arena_release(&arena);
    }
}

static enum ak_mock_code read_auth(const char *authorization)
{
    struct example example = {
        "GET",
        "/",
        "",
        {HOST, {"Authorization", authorization}, DATE, {"x-amz-content-sha256", EMPTY_HASH}}};
    return verify(&example);
}

TEST(sigv4, headers_of_another_form_are_refused_by_their_form)
{
#define SIG "0000000000000000000000000000000000000000000000000000000000000000"
#define V4 "AWS4-HMAC-SHA256 "
    static const char *const malformed[] = {
        V4,
        V4 "Credential=AK",
        V4 "Credential=AK/20130524/r/s3/aws4_request,SignedHeaders=host",
        V4 "Credential=AK/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=12",
        V4 "Credential=AK/20130524/r/ec2/aws4_request,SignedHeaders=host,Signature=" SIG,
        V4 "Credential=/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=" SIG,
        V4 "Credential=AK/20130524/r/s3/aws4_reques,SignedHeaders=host,Signature=" SIG,
        V4 "Credential=AK/20130525/r/s3/aws4_request,SignedHeaders=host,Signature=" SIG,
        V4 "Credential=AK/20130524/r/s3/aws4_request,SignedHeaders=range,Signature=" SIG,
        V4 "Credential=AK/20130524/r/s3/aws4_request,SignedHeaders=Host,Signature=" SIG,
        V4 "Credential=AK/20130524/r/s3/aws4_request,SignedHeaders=x-a;host,Signature=" SIG,
        V4 "Credential=AK/20130524/r/s3/aws4_request,SignedHeaders=host;host,Signature=" SIG,
        V4 "Credential=AK/20130524/r/s3/aws4_request,SignedHeaders=;host,Signature=" SIG,
    };
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        CHECK_INT(read_auth(malformed[i]), AK_MOCK_AuthorizationHeaderMalformed);
    }
    CHECK_INT(read_auth("AWS AK:signature"), AK_MOCK_InvalidRequest);
    CHECK_INT(read_auth("Basic abc"), AK_MOCK_InvalidRequest);
    CHECK_INT(
        read_auth(V4 "Credential=A/K/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=" SIG),
        AK_MOCK_SignatureDoesNotMatch);
    struct example both = presigned;
    both.headers[1][0] = "Authorization";
    both.headers[1][1] = V4;
    CHECK_INT(verify(&both), AK_MOCK_InvalidArgument);
    ak_arena_release(&arena);
}

TEST(sigv4, how_a_client_encodes_its_uri_does_not_matter)
{
    struct example changed = put_object;
    changed.path = "/test%24file%2Etext";
    CHECK_INT(verify(&changed), AK_MOCK_OK);
    changed = list_objects;
    changed.query = "prefix=%4A&max-keys=%32";
    CHECK_INT(verify(&changed), AK_MOCK_OK);
    changed.query = "prefix=J&max-keys=2&";
    CHECK_INT(verify(&changed), AK_MOCK_OK);
    changed.query = "prefix=J&max-keys=%3";
    CHECK_INT(verify(&changed), AK_MOCK_InvalidURI);
    ak_arena_release(&arena);
}

TEST(sigv4, without_memory_a_request_is_refused_and_nothing_more)
{
    int64_t n = 0;
    bool fired = true;
    for (; fired; n++) {
        struct ak_mock_sigv4_auth auth;
        struct ak_mock_fault fault = {0};
        uint8_t key[AK_MOCK_SIGV4_KEY_BYTES];
        struct ak_mock_sigv4_request request = request_of(&presigned);
        ak_arena_release(&arena);
        ak_arena_init(&arena, 0);
        ak_fault_alloc_at(n);
        enum ak_mock_code code = ak_mock_sigv4_read(&request, &arena, &auth, &fault);
        code = code ? code
                    : ak_mock_sigv4_verify(&request, &auth, AK_STR(SECRET),
                                           1369353600000000 /* 2013-05-24 */, &arena, key, &fault);
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(fired ? code != AK_MOCK_OK : code == AK_MOCK_OK);
    }
    CHECK(n > 2);
    ak_arena_release(&arena);
}

TEST(uri, encoding_and_decoding_are_each_others_inverse)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (int turn = 0; turn < 2000; turn++) {
        char bytes[64];
        size_t len = (size_t)ak_rand_below(&rand, sizeof bytes);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (char)(1 + ak_rand_below(&rand, 255));
        }
        struct ak_buf out;
        ak_buf_init(&out, 0);
        ak_mock_uri_encode(&out, (struct ak_str){bytes, len}, turn % 2);
        ak_arena_init(&arena, 0);
        struct ak_str back = ak_percent_decode(ak_buf_str(&out), true, &arena);
        CHECK(back.p && ak_str_eq(back, (struct ak_str){bytes, len}));
        for (size_t i = 0; i < out.len; i++) {
            CHECK(out.p[i] > ' ' && out.p[i] < 0x7f && out.p[i] != '+');
        }
        ak_arena_release(&arena);
        ak_buf_release(&out);
    }
}

TEST_MAIN()
