#!/usr/bin/env python3
"""Everything wrong that can arrive: each gets its status and a sentence that says what to change, and the server goes on.

Standard library only.
"""
import json

import support
from support import JSON, NDJSON, equal, status

C = "/collections/c"  # dimension 3, cosine, one document
DOC = "01234567-89ab-7def-8123-456789abcdef"
deep = lambda n: "[" * n + "]" * n
nested_filter = lambda n: {"must": [nested_filter(n - 1)]} if n else {"must": [{"key": "a", "match": 1}]}

# (method, path, body, content type, status, part of the message)
BODIES = [
    # --- JSON itself ---
    ("POST", C + "/search", "", JSON, 400, "the body is empty"),
    ("POST", C + "/search", "{", JSON, 400, "at byte 1"),
    ("POST", C + "/search", "[]", JSON, 400, "expected an object"),
    ("POST", C + "/search", "null", JSON, 400, "expected an object"),
    ("POST", C + "/search", "{}", JSON, 400, "'vector' is missing"),
    ("POST", C + "/search", '{"vector":[1,2,3]} x', JSON, 400, "expected the end of the text"),
    ("POST", C + "/search", '{"vector":[1,2,3],}', JSON, 400, "a comma before '}'"),
    ("POST", C + "/search", "{'vector':[1,2,3]}", JSON, 400, "expected a key in quotes"),
    ("POST", C + "/search", '{"vector":[1,2,3] "k":1}', JSON, 400, "expected ',' or '}'"),
    ("POST", C + "/search", '{"vector":[1,2,3],"k":1,"k":2}', JSON, 400, "'k'"),
    ("POST", C + "/search", '{"vector":[1,2,3],"topk":1}', JSON, 400,
     "unknown field 'topk' (allowed: vector, k, ef, recall, filter, include, score_threshold, exact)"),
    ("POST", C + "/search", b'{"vector":[1,2,3],"\xff":1}', JSON, 400, "UTF-8"),
    ("POST", C + "/search", b'\xef\xbb\xbf{"vector":[1,2,3]}', JSON, 400, "expected an object"),
    ("POST", C + "/search", '{"vector":[1,2,3],"\\ud800":1}', JSON, 400, "at byte"),
    ("POST", C + "/search", '{"vector":[1,2,3],"a\nb":1}', JSON, 400, "at byte"),
    ("POST", C + "/search", '{"vector":' + deep(100) + "}", JSON, 400, "expected a number"),
    ("POST", C + "/vectors", '{"vector":[1,2,3],"metadata":{"a":' + deep(70) + "}}", JSON, 400, "nested deeper than 64"),
    ("POST", C + "/search", b"\x00", JSON, 400, "expected an object"),
    # --- vectors ---
    ("POST", C + "/search", {"vector": [1, 2]}, JSON, 400, "vector has 2 numbers: collection 'c' has dimension 3"),
    ("POST", C + "/search", {"vector": [1, 2, 3, 4]}, JSON, 400, "vector has 4 numbers: collection 'c' has dimension 3"),
    ("POST", C + "/search", {"vector": [1] * 5000}, JSON, 400, "vector has 5000 numbers"),
    ("POST", C + "/search", {"vector": []}, JSON, 400, "vector has 0 numbers"),
    ("POST", C + "/search", {"vector": "abc"}, JSON, 400, "expected an array for 'vector'"),
    ("POST", C + "/search", {"vector": None}, JSON, 400, "expected an array for 'vector'"),
    ("POST", C + "/search", {"vector": [1, "2", 3]}, JSON, 400, "expected a number for 'vector'"),
    ("POST", C + "/search", {"vector": [1, None, 3]}, JSON, 400, "expected a number for 'vector'"),
    ("POST", C + "/search", {"vector": [[1], 2, 3]}, JSON, 400, "expected a number for 'vector'"),
    ("POST", C + "/search", '{"vector":[1,NaN,3]}', JSON, 400, "expected a number for 'vector'"),
    ("POST", C + "/search", '{"vector":[1,Infinity,3]}', JSON, 400, "expected a number for 'vector'"),
    ("POST", C + "/search", '{"vector":[1,1e39,3]}', JSON, 400, "a finite 32-bit number"),
    ("POST", C + "/search", '{"vector":[1,-1e999,3]}', JSON, 400, "a finite 32-bit number"),
    ("POST", C + "/search", '{"vector":[1,.5,3]}', JSON, 400, "expected a number for 'vector'"),
    ("POST", C + "/search", '{"vector":[1,0x1,3]}', JSON, 400, "vector"),
    ("POST", C + "/search", '{"vector":[01,2,3]}', JSON, 400, "expected a number for 'vector'"),
    ("POST", C + "/search", '{"vector":[1,2,3', JSON, 400, "'vector'"),
    ("POST", C + "/search", {"vector": [0, 0, 0]}, JSON, 400, "vector is all zeros: cosine needs a direction"),
    ("POST", C + "/search", '{"vector":[1e-60,-0,0]}', JSON, 400, "vector is all zeros"),
    ("POST", C + "/vectors", {"vector": [0, 0, 0]}, JSON, 400, "vector is all zeros"),
    ("POST", C + "/vectors", {"vector": [1, 2]}, JSON, 400, "vector has 2 numbers"),
    # --- searches ---
    ("POST", C + "/search", {"vector": [1, 2, 3], "k": 0}, JSON, 400, "an integer from 1 to 10000 for 'k'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "k": 10001}, JSON, 400, "an integer from 1 to 10000 for 'k'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "k": -1}, JSON, 400, "an integer from 1 to 10000 for 'k'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "k": 1.5}, JSON, 400, "an integer from 1 to 10000 for 'k'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "k": "10"}, JSON, 400, "an integer from 1 to 10000 for 'k'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "k": 1 << 70}, JSON, 400, "an integer from 1 to 10000 for 'k'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "ef": 0}, JSON, 400, "an integer from 1 to 65536 for 'ef'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "exact": 1}, JSON, 400, "expected true or false for 'exact'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "include": "vector"}, JSON, 400, "expected an array for 'include'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "include": ["vectors"]}, JSON, 400,
     "include takes external_id, metadata and vector, not 'vectors'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "include": [1]}, JSON, 400, "expected a string for 'include'"),
    ("POST", C + "/search", '{"vector":[1,2,3],"recall":0}', JSON, 400, "recall is a share above 0, up to 1"),
    ("POST", C + "/search", '{"vector":[1,2,3],"recall":95}', JSON, 400, "recall is a share above 0, up to 1"),
    ("POST", C + "/search", '{"vector":[1,2,3],"score_threshold":1e39}', JSON, 400, "score_threshold is not a finite"),
    ("POST", C + "/search", '{"vector":[1,2,3],"score_threshold":1e999}', JSON, 400, "a finite number"),
    ("POST", C + "/search/batch", {}, JSON, 400, "'searches' is missing or empty"),
    ("POST", C + "/search/batch", {"searches": []}, JSON, 400, "'searches' is missing or empty"),
    ("POST", C + "/search/batch", {"searches": {}}, JSON, 400, "expected an array for 'searches'"),
    ("POST", C + "/search/batch", {"searches": [{"vector": [1, 2, 3]}, {}]}, JSON, 400, "searches[1]: 'vector' is missing"),
    ("POST", C + "/search/batch", {"searches": [{"vector": [1, 2, 3]}, {"vector": [0, 0, 0]}]}, JSON, 400,
     "searches[1]: vector is all zeros"),
    ("POST", C + "/search/batch", {"searches": [{"vector": [1, 2, 3]}] * 1001}, JSON, 413, "more than 1000 searches"),
    ("POST", C + "/search/batch", {"search": []}, JSON, 400, "unknown field 'search' (allowed: searches)"),
    # --- filters ---
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": {}}, JSON, 400, "a filter needs one of must, should, must_not"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": []}, JSON, 400, "expected an object for 'filter'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": {"key": "a", "match": 1}}, JSON, 400, "unknown field 'key'"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": {"must": [{"key": "a"}]}}, JSON, 400,
     "a condition needs 'key' and one of match, range, exists"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": {"must": [{"key": "a", "match": None}]}}, JSON, 400,
     "a match takes no null"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": {"must": [{"key": "", "match": 1}]}}, JSON, 400,
     "a filter's key has 1 to 512 bytes"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": {"must": [{"key": "a", "range": {}}]}}, JSON, 400,
     "a range needs one of gt, gte, lt, lte"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": {"must": [{"key": "a", "range": {"gt": 1, "gte": 1}}]}}, JSON, 400,
     "gt or gte, not both"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": nested_filter(20)}, JSON, 400, "nested 16 deep"),
    ("POST", C + "/search", {"vector": [1, 2, 3], "filter": {"must": [{"key": "a", "match": 1}] * 1025}}, JSON, 400,
     "at most 1024 conditions"),
    ("POST", C + "/count", {"filter": {"must": [{"key": str(i), "match": 1} for i in range(65)]}}, JSON, 400,
     "at most 64 different keys"),
    ("POST", C + "/count", {"filters": {}}, JSON, 400, "unknown field 'filters' (allowed: filter)"),
    # --- documents ---
    ("POST", C + "/vectors", {}, JSON, 400, "'vector' is missing"),
    ("POST", C + "/vectors", {"vectors": []}, JSON, 400, "'vectors' is empty"),
    ("POST", C + "/vectors", {"vectors": [{}]}, JSON, 400, "vectors[0]: 'vector' is missing"),
    ("POST", C + "/vectors", {"vectors": [[1, 2, 3]]}, JSON, 400, "expected an object for 'vectors'"),
    ("POST", C + "/vectors", {"vectors": [{"vector": [1, 2, 3]}, {"vector": [1]}]}, JSON, 400,
     "vectors[1]: vector has 1 numbers"),
    ("POST", C + "/vectors", {"vectors": [{"vector": [1, 2, 3]}], "id": DOC}, JSON, 400,
     "either 'vectors' or the fields of one document"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "values": 1}, JSON, 400,
     "unknown field 'values' (allowed: id, external_id, vector, metadata; or vectors alone)"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "id": "abc"}, JSON, 400, "id 'abc' is not a UUID"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "id": 7}, JSON, 400, "expected a string for 'id'"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "id": DOC + "0"}, JSON, 400, "is not a UUID"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "id": "{" + DOC + "}"}, JSON, 400, "is not a UUID"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "id": "00000000-0000-0000-0000-000000000000"}, JSON, 400, "nil UUID"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "external_id": ""}, JSON, 400, "external_id is empty"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "external_id": "x" * 1025}, JSON, 400,
     "external_id has 1025 bytes: at most 1024"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "external_id": 5}, JSON, 400, "expected a string for 'external_id'"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "metadata": []}, JSON, 400, "metadata must be a JSON object"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "metadata": "x"}, JSON, 400, "metadata must be a JSON object"),
    ("POST", C + "/vectors", {"vector": [1, 2, 3], "metadata": {"a": "x" * 65536}}, JSON, 400, "metadata has"),
    ("POST", C + "/vectors", '{"vector":[1,2,3],"metadata":{"a":1,"a":2}}', JSON, 400, "'a'"),
    ("POST", C + "/vectors", '{"vector":[1,2,3],"metadata":{"a":1e999}}', JSON, 400, "a finite number"),
    ("POST", C + "/vectors", b'{"vector":[1,2,3],"metadata":{"a":"\xc0\xaf"}}', JSON, 400, "UTF-8"),
    ("GET", C + "/vectors/abc", None, None, 400, "the id in the path, 'abc', is not a UUID"),
    ("DELETE", C + "/vectors/abc", None, None, 400, "is not a UUID"),
    ("GET", C + "/vectors/" + DOC[:-1] + "0", None, None, 404, "no document"),
    ("DELETE", C + "/vectors/" + DOC[:-1] + "0", None, None, 404, "no document"),
    ("POST", C + "/vectors/delete", {}, JSON, 400, "give either 'ids' or 'filter'"),
    ("POST", C + "/vectors/delete", {"ids": [DOC], "filter": {"must": []}}, JSON, 400, "not both"),
    ("POST", C + "/vectors/delete", {"ids": DOC}, JSON, 400, "expected an array for 'ids'"),
    ("POST", C + "/vectors/delete", {"ids": [DOC, "x"]}, JSON, 400, "ids[1]: the id 'x' is not a UUID"),
    ("POST", C + "/vectors/delete", {"ids": [DOC] * 100001}, JSON, 413, "more than 100000 ids"),
    ("POST", C + "/vectors/delete", {"id": DOC}, JSON, 400, "unknown field 'id' (allowed: ids or filter)"),
    ("POST", C + "/vectors/delete", {"filter": None}, JSON, 400, "expected an object for 'filter'"),
    ("POST", C + "/vectors/scroll", {"limit": 0}, JSON, 400, "an integer from 1 to 10000 for 'limit'"),
    ("POST", C + "/vectors/scroll", {"limit": 10001}, JSON, 400, "an integer from 1 to 10000 for 'limit'"),
    ("POST", C + "/vectors/scroll", {"after": "x"}, JSON, 400, "after 'x' is not a UUID"),
    ("POST", C + "/vectors/scroll", {"offset": 1}, JSON, 400, "unknown field 'offset' (allowed: limit, after, filter, include)"),
    ("POST", C + "/vectors/scroll", "[]", JSON, 400, "expected an object"),
    # --- lines ---
    ("POST", C + "/import", '{"vector":[1,2,3]}\n{"vector":[1,2]}\n', NDJSON, 400, "line 2: at byte"),
    ("POST", C + "/import", '{"vector":[1,2,3]}\n\nnonsense\n', NDJSON, 400, "line 3: "),
    ("POST", C + "/import", '{"vector":[0,0,0]}', NDJSON, 400, "line 1: vector is all zeros"),
    ("POST", C + "/import", '{"vectors":[{"vector":[1,2,3]}]}', NDJSON, 400, "unknown field 'vectors'"),
    ("POST", C + "/import", '{"vector":[1,2,3]}\n{"vector":[1,\n2,3]}\n', NDJSON, 400, "(upserted before: 1)"),
    ("POST", C + "/import", b'{"vector":[1,2,3],"external_id":"\xff"}', NDJSON, 400, "UTF-8"),
    ("POST", C + "/import", "{" + " " * (5 << 20), NDJSON, 413, "line 1 is longer than"),
    ("POST", C + "/vectors", '{"vector":[1,2]}', NDJSON, 400, "line 1: "),
    # --- content types ---
    ("POST", C + "/search", '{"vector":[1,2,3]}', "text/plain", 415, "Content-Type must be application/json"),
    ("POST", C + "/search", '{"vector":[1,2,3]}', "application/x-www-form-urlencoded", 415, "application/json"),
    ("POST", C + "/search", '{"vector":[1,2,3]}', NDJSON, 415, "application/json"),
    ("POST", C + "/search", '{"vector":[1,2,3]}', "application/json; charset=utf-16", 415, "application/json"),
    ("POST", C + "/vectors", '{"vector":[1,2,3]}', "text/csv", 415, "application/json or application/x-ndjson"),
    ("POST", C + "/import", '{"vector":[1,2,3]}', JSON, 415, "Content-Type must be application/x-ndjson"),
    ("POST", "/collections", '{"name":"x","dimension":3}', "application/xml", 415, "application/json"),
    # --- collections ---
    ("POST", "/collections", {}, JSON, 400, "'name' is missing"),
    ("POST", "/collections", {"name": "x"}, JSON, 400, "'dimension' is missing"),
    ("POST", "/collections", {"name": "", "dimension": 3}, JSON, 400, "name is empty"),
    ("POST", "/collections", {"name": "x" * 256, "dimension": 3}, JSON, 400, "name has 256 bytes"),
    ("POST", "/collections", {"name": "a/b", "dimension": 3}, JSON, 400, "neither is allowed"),
    ("POST", "/collections", {"name": "..", "dimension": 3}, JSON, 400, "would be a folder"),
    ("POST", "/collections", {"name": "a\u0000b", "dimension": 3}, JSON, 400, "control character"),
    ("POST", "/collections", {"name": "a\nb", "dimension": 3}, JSON, 400, "control character"),
    ("POST", "/collections", {"name": 5, "dimension": 3}, JSON, 400, "expected a string for 'name'"),
    ("POST", "/collections", {"name": "x", "dimension": 0}, JSON, 400, "an integer from 1 to 65535 for 'dimension'"),
    ("POST", "/collections", {"name": "x", "dimension": 65536}, JSON, 400, "an integer from 1 to 65535 for 'dimension'"),
    ("POST", "/collections", {"name": "x", "dimension": 3.5}, JSON, 400, "an integer from 1 to 65535 for 'dimension'"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "metric": "manhattan"}, JSON, 400, "cosine, dot or l2 are allowed"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "distance": "l2"}, JSON, 400,
     "unknown field 'distance' (allowed: name, dimension, metric, embedding_model, index)"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "embedding_model": "m" * 256}, JSON, 400, "embedding_model has 256"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "index": {"m": 3}}, JSON, 400, "index.m is 3: 4 to 64 are allowed"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "index": {"ef_construction": 5000}}, JSON, 400,
     "index.ef_construction is 5000: 16 to 2000"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "index": {"quantization": "pq"}}, JSON, 400,
     "index.quantization 'pq' is unknown"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "index": {"vectors": "tape"}}, JSON, 400,
     "index.vectors 'tape' is unknown: ram and disk are allowed"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "index": {"vectors": "disk", "quantization": "none"}}, JSON, 400,
     "give a quantization"),
    ("POST", "/collections", {"name": "x", "dimension": 3, "index": {"M": 16}}, JSON, 400, "unknown field 'M'"),
    ("POST", "/collections", {"name": "c", "dimension": 3}, JSON, 409, "'c'"),
    ("POST", "/collections", '{"name":"x","dimension":3,"embedding_model":"' + "m" * 100000 + '"}', JSON, 413, ""),
    ("GET", "/collections?limit=0", None, None, 400, "limit must be an integer from 1 to 1000"),
    ("GET", "/collections?limit=x", None, None, 400, "limit must be an integer from 1 to 1000"),
    ("GET", "/collections?limit=1001", None, None, 400, "limit must be an integer from 1 to 1000"),
    ("GET", "/collections?after=%zz", None, None, 400, "after is not properly %-encoded"),
    ("GET", "/collections?offset=1", None, None, 400, "unknown parameter 'offset' (allowed: limit, after)"),
    # --- paths and methods ---
    ("GET", "/", None, None, 404, "no such path"),
    ("GET", "/collections/", None, None, 404, "no such path"),
    ("GET", "/api/v1", None, None, 404, "no such path"),
    ("GET", "/api/v2/collections", None, None, 404, "no such path"),
    ("GET", "/collections/none", None, None, 404, "no collection 'none'"),
    ("GET", "/collections/%zz", None, None, 400, "not properly %-encoded"),
    ("GET", "/collections/%00", None, None, 400, "not properly %-encoded"),
    ("GET", "/collections/%ff", None, None, 404, "no collection '\ufffd'"),
    ("GET", "/collections/..%2f..", None, None, 404, "no collection '../..'"),
    ("DELETE", "/collections/none", None, None, 404, "no collection 'none'"),
    ("POST", "/collections/none/search", "nonsense", JSON, 404, "no collection 'none'"),
    ("POST", "/collections/none/import", "nonsense", NDJSON, 404, "no collection 'none'"),
    ("PUT", "/collections", "{}", JSON, 405, "this path has GET, HEAD, POST"),
    ("PATCH", C, "{}", JSON, 405, "this path has GET, HEAD, DELETE"),
    ("GET", C + "/search", None, None, 405, "this path has POST"),
    ("OPTIONS", C + "/search", None, None, 405, "this path has POST"),
    ("DELETE", "/health", None, None, 405, "this path has GET, HEAD"),
]

HOST = b"Host: t\r\n"
# (bytes, the statuses that may come; None: the connection may also just be closed)
GARBAGE = [
    (b"\r\n\r\n\r\n", {None, 400}),
    (b"\x00\x01\x02\x03\xff\xfe\r\n\r\n", {None, 400}),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)), {None, 400}),  # a TLS hello
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {None, 400, 405, 505}),
    (b"GET /health\r\n\r\n", {None, 400, 505}),
    (b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n", {None, 400, 505}),
    (b"GET /health HTTP/1.1\r\n\r\n", {400}),  # no Host
    (b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", {400}),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"bad header\r\n\r\n", {400}),
    (b"GET /hea\x00lth HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {400, 414, 431}),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100000 + b"\r\n\r\n", {431}),
    (b"GET /health HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 200 + b"\r\n", {431}),
    (b"POST /collections HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", {400}),
    (b"POST /collections HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", {400}),
    (b"POST /collections HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n", {400}),
    (b"POST /collections HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    (b"POST /collections HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", {400, 501}),
    (b"POST /collections HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {400}),
    (b"POST /collections HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", {400}),
    (b"POST /collections/c/import HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
     b"\r\n5\r\n{\"vec\r\nzz\r\n", {None, 400}),
    (b"POST /collections/c/search HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n{", {None, 400}),  # cut short
    (b"POST /collections/c/import HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-ndjson\r\nContent-Length: 100\r\n\r\n"
     b"{\"vector\":[1,2,3]}\n", {None, 400}),
]


def start():
    server = support.Server()
    server.start()
    client = server.client()
    status(client.post("/collections", {"name": "c", "dimension": 3, "metric": "cosine"}), 201)
    status(client.post(C + "/vectors", {"id": DOC, "vector": [1, 2, 3]}), 201)
    return server, client


def test_bad_bodies_get_their_status_and_a_sentence():
    server, client = start()
    with server_ends(server):
        wrong = []
        for method, path, body, content_type, want, part in BODIES:
            answer = client.call(method, path, body, content_type)
            shown = body if body is None or len(str(body)) < 100 else str(body)[:100] + "…"
            try:
                error = answer.json()["error"]
                good = answer.status == want and part in error["message"] and set(error) == {"code", "message"}
            except (ValueError, KeyError):
                good = False
            if not good:
                wrong.append(f"  {method} {path} {shown!r}: {answer!r}, want {want} with {part!r}")
        assert not wrong, f"{len(wrong)} of {len(BODIES)}:\n" + "\n".join(wrong)
        equal(status(client.get(C + "/vectors/" + DOC), 200).json()["vector"], [1, 2, 3], "the document")


def test_garbage_on_the_socket_is_refused():
    server, client = start()
    with server_ends(server):
        for data, allowed in GARBAGE:
            answer = support.raw(server.port, data)
            got = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None if not answer else answer
            assert got in allowed, f"{data[:120]!r}: {answer[:200]!r}, want one of {allowed}"
            if got:
                body = json.loads(answer.split(b"\r\n\r\n", 1)[1])
                equal(set(body["error"]), {"code", "message"})
        equal(client.get("/health").status, 200)


def test_a_body_over_the_limit_is_refused_by_its_announced_length():
    server, client = start()
    with server_ends(server):
        for path in ("/vectors", "/search", "/search/batch", "/count", "/vectors/delete", "/vectors/scroll"):
            answer = support.raw(server.port, b"POST " + (C + path).encode() + b" HTTP/1.1\r\nHost: t\r\n"
                                 b"Content-Type: application/json\r\nContent-Length: 70000000\r\n\r\n{", half_close=False)
            assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]
            equal(json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"], "TOO_BIG")


def test_pages_of_other_origins_cannot_send_untyped_bodies():
    server, client = start()
    with server_ends(server):
        evil = {"Origin": "http://evil.example"}
        status(client.call("POST", C + "/count", "{}", None, evil), 415)
        status(client.call("POST", C + "/count", "{}", None), 200)


class server_ends:
    """The server must be alive at the end, and stop cleanly."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        return self.server

    def __exit__(self, kind, value, trace):
        alive = self.server.is_alive()
        self.server.__exit__(kind, value, trace)
        assert alive, "the server has died"


if __name__ == "__main__":
    support.run(globals())
