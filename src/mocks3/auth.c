/* auth.c — who sent it? */
#include "mocks3/mocks3_priv.h"

static enum ak_mock_code check_region(struct ak_mock_call *call)
{
    struct ak_str region = ak_str_of(call->server->region);
    if (region.len == 0 || ak_str_eq(region, call->auth.region)) {
        return AK_MOCK_OK;
    }
    return ak_mock_fail(&call->fault, AK_MOCK_AuthorizationHeaderMalformed,
                        "The authorization header is malformed; the region '%.*s' is wrong; "
                        "expecting '%s'",
                        AK_STR_ARG(ak_str_sub(call->auth.region, 0, 64)), call->server->region);
}

enum ak_mock_code ak_mock_authorize(struct ak_mock_call *call)
{
    const struct ak_mocks3 *server = call->server;
    const struct ak_mock_sigv4_request request = {
        .method = ak_str_of(ak_http_method_name(ak_http_method(call->request))),
        .path = ak_http_path(call->request),
        .query = ak_http_query(call->request),
        .headers = call->headers,
        .header_count = call->header_count,
    };
    enum ak_mock_code code = ak_mock_sigv4_read(&request, call->arena, &call->auth, &call->fault);
    if (!server->access_key) { /* what the head says of the body's form still holds */
        call->fault.code = AK_MOCK_OK;
        return AK_MOCK_OK;
    }
    if (code) {
        return code;
    }
    if (call->auth.kind == AK_MOCK_SIGV4_NONE) {
        return ak_mock_fail(&call->fault, AK_MOCK_AccessDenied,
                            "Access Denied: this server wants signed requests (--access-key)");
    }
    if (!ak_mock_sigv4_same(call->auth.access_key, ak_str_of(server->access_key))) {
        return ak_mock_fail(&call->fault, AK_MOCK_InvalidAccessKeyId,
                            "The AWS Access Key Id you provided does not exist in our records.");
    }
    code = check_region(call);
    if (!code) {
        code = ak_mock_sigv4_verify(&request, &call->auth, ak_str_of(server->secret_key),
                                    ak_now_us(server->clock), call->arena, call->signing_key,
                                    &call->fault);
    }
    call->is_verified = code == AK_MOCK_OK;
    return code;
}
