#!/usr/bin/env python3
"""The server keeps docs/openapi.yaml: every operation is called, every response is held against the document, and every status
that the document lists is provoked. Needs tests/requirements.txt.
"""
import json
import pathlib
import re
import uuid

import jsonschema
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

import support
from support import JSON, NDJSON, equal

SPEC_PATH = support.ROOT / "docs" / "openapi.yaml"
SPEC = yaml.safe_load(SPEC_PATH.read_text())
METHODS = ("get", "post", "put", "patch", "delete")
FORMATS = jsonschema.FormatChecker()


@FORMATS.checks("uuid", ValueError)
def is_uuid(value):
    return not isinstance(value, str) or str(uuid.UUID(value)) == value


@FORMATS.checks("date-time")
def is_time(value):
    return not isinstance(value, str) or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value) is not None


def resolve(node):
    while "$ref" in node:
        target = SPEC
        for part in node["$ref"][2:].split("/"):
            target = target[part]
        node = target
    return node


def validator(schema):
    """A JSON Schema of the document; references lead into the document's components."""
    return jsonschema.Draft202012Validator({**schema, "components": SPEC["components"]}, format_checker=FORMATS)


def operations():
    for path, item in SPEC["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


class Contract:
    """A client that checks each exchange and remembers what was seen."""

    def __init__(self, client):
        self.client = client
        self.seen = set()

    def call(self, operation_id, want, body=None, content_type=JSON, query="", collection="c", id=None, valid=None):
        path, method, operation = next(o for o in operations() if o[2]["operationId"] == operation_id)
        url = path.replace("{collection}", collection).replace("{id}", str(id)) + query
        answer = self.client.call(method.upper(), url, body, content_type, {"X-Request-Id": "contract-1"})
        where = f"{operation_id} {url} gave {answer!r}"
        equal(answer.status, want, where + ": status")
        if want != 413:  # may be said before the request is taken up
            equal(answer.headers["X-Request-Id"], "contract-1", where + ": X-Request-Id")
        self.check_request(operation, body, content_type, valid if valid is not None else want < 300, where)
        listed = str(want) in operation["responses"]
        response = resolve(operation["responses"][str(want) if listed else "default"])
        self.check_response(response, answer, where)
        self.seen.add((operation_id, str(want) if listed else "default"))
        kind = answer.headers.get("Content-Type", "")
        if "parquet" in kind:
            return answer.body
        return answer.json() if answer.body and kind.startswith(JSON) else answer.text()

    def check_request(self, operation, body, content_type, is_valid, where):
        """What the server takes must fit the document's schema of the body."""
        if body is None or not is_valid or content_type != JSON:
            return
        schema = operation["requestBody"]["content"][JSON]["schema"]
        validator(schema).validate(body)

    def check_response(self, response, answer, where):
        if "content" not in response:
            equal(answer.body, b"", where + ": body")
            return
        content_type = answer.headers["Content-Type"].split(";")[0]
        assert content_type in response["content"], f"{where}: type {content_type}"
        media = response["content"][content_type]
        if content_type == JSON:
            try:
                validator(media["schema"]).validate(answer.json())
            except jsonschema.ValidationError as why:
                raise AssertionError(f"{where}: {why.message} at {list(why.absolute_path)}") from None


UNKNOWN = {"nonsense": 1}
FILTER = {"must": [{"key": "lang", "match": ["en", "de"]}, {"key": "n", "range": {"gte": 0, "lt": 1000}}],
          "should": [{"must": [{"key": "n", "exists": True}]}], "must_not": [{"key": "lang", "match": {"any": ["fr"]}}]}


def node(api):
    api.call("getHealth", 200)
    api.call("getReady", 200)
    api.call("getVersion", 200)
    text = api.call("getMetrics", 200)
    assert "http_requests_total" in text and "memory_usage_bytes" in text, text


def collections(api):
    made = api.call("createCollection", 201, {"name": "c", "dimension": 3})
    equal((made["metric"], made["index"]), ("cosine", {"m": 16, "ef_construction": 200, "ef_search": 64, "quantization": "u8",
                                                                  "vectors": "ram"}))
    made = api.call("createCollection", 201, {"name": "floats", "dimension": 3, "index": {"quantization": "none"}})
    equal(made["index"]["quantization"], "none")
    for codes in ("u4", "binary"):
        made = api.call("createCollection", 201, {"name": codes, "dimension": 3, "index": {"quantization": codes}})
        equal(made["index"]["quantization"], codes)
        api.call("dropCollection", 204, collection=made["id"])
    made = api.call("createCollection", 201, {"name": "on disk", "dimension": 3, "index": {"vectors": "disk"}})
    equal(made["index"]["vectors"], "disk")
    api.call("dropCollection", 204, collection=made["id"])
    made = api.call("createCollection", 201, {"name": "naïve name", "dimension": 65535, "metric": "l2", "embedding_model": "m",
                                              "index": {"m": 8, "ef_construction": 16, "ef_search": 1, "quantization": None}})
    equal((made["name"], made["documents"], made["state"]), ("naïve name", 0, "ready"))
    api.call("createCollection", 201, {"name": "d", "dimension": 3, "metric": "dot", "embedding_model": None, "index": None})
    api.call("createCollection", 400, UNKNOWN)
    api.call("createCollection", 409, {"name": "c", "dimension": 3}, valid=True)
    api.call("createCollection", 413, {"name": "x", "dimension": 3, "embedding_model": "m" * 100000})
    api.call("createCollection", 415, {"name": "x", "dimension": 3}, "text/plain")
    page = api.call("listCollections", 200, query="?limit=2")
    equal(([c["name"] for c in page["collections"]], page["next"]), (["c", "d"], "d"))
    page = api.call("listCollections", 200, query="?limit=2&after=d")
    equal(([c["name"] for c in page["collections"]], page["next"]), (["floats", "naïve name"], None))
    api.call("listCollections", 400, query="?limit=0")
    equal(api.call("getCollection", 200, collection=made["id"]), made)
    equal(api.call("getCollection", 200, collection="na%C3%AFve%20name"), made)
    api.call("getCollection", 400, collection="%zz")
    api.call("getCollection", 404, collection="none")
    api.call("dropCollection", 400, collection="%zz")
    api.call("dropCollection", 204, collection=made["id"])
    api.call("dropCollection", 404, collection=made["id"])


def documents(api):
    one = api.call("upsertVectors", 201, {"vector": [0.1, -2, 3e-7], "external_id": "ä", "metadata": {"lang": "en", "n": 1}})["id"]
    api.call("upsertVectors", 201, {"id": str(uuid.uuid4()), "external_id": None, "vector": [1, 2, 3], "metadata": None})
    many = api.call("upsertVectors", 200, {"vectors": [{"vector": [1, i, 0], "metadata": {"lang": "de", "n": i}}
                                                       for i in range(50)]})
    equal((many["upserted"], len(set(many["ids"]))), (50, 50))
    lines = "".join(json.dumps({"vector": [1, i, 1], "metadata": {"n": i}}) + "\n" for i in range(1000))
    equal(api.call("upsertVectors", 200, lines, NDJSON)["upserted"], 1000)
    equal(api.call("importVectors", 200, lines, NDJSON, collection="d")["upserted"], 1000)
    for operation in ("upsertVectors", "importVectors"):
        kind = JSON if operation == "upsertVectors" else NDJSON
        api.call(operation, 400, "{}", kind)
        api.call(operation, 404, lines, NDJSON, collection="none")
        api.call(operation, 413, "{" + " " * (5 << 20), NDJSON)
        api.call(operation, 415, lines, "text/plain")
    shown = api.call("getVector", 200, id=one)
    equal((shown["vector"], shown["external_id"], shown["metadata"]), ([0.1, -2, 3e-7], "ä", {"lang": "en", "n": 1}))
    api.call("getVector", 400, id="x")
    api.call("getVector", 404, id=uuid.uuid4())
    equal(api.call("countVectors", 200), {"count": 1052})
    equal(api.call("countVectors", 200, {"filter": FILTER}), {"count": 51})
    equal(api.call("countVectors", 200, {"filter": None}), {"count": 1052})
    scroll(api)
    api.call("deleteVector", 204, id=one)
    api.call("deleteVector", 400, id="x")
    api.call("deleteVector", 404, id=one)
    equal(api.call("deleteVectors", 200, {"ids": [many["ids"][0], many["ids"][0], one]}), {"deleted": 1})
    equal(api.call("deleteVectors", 200, {"filter": {"must": [{"key": "lang", "match": "de"}]}}), {"deleted": 49})
    equal(api.call("deleteVectors", 200, {"ids": []}), {"deleted": 0})
    api.call("deleteVectors", 400, {})
    for operation in ("countVectors", "scrollVectors", "deleteVectors"):
        api.call(operation, 400, UNKNOWN)
        api.call(operation, 404, {}, collection="none")
        api.call(operation, 415, "{}", "text/plain")
    for operation in ("countVectors", "scrollVectors"):
        api.call(operation, 413, " " * (9 << 20))
    api.call("deleteVectors", 413, {"ids": [one] * 100001})


def scroll(api):
    seen, after = [], None
    while True:
        page = api.call("scrollVectors", 200, {"limit": 500, "after": after, "filter": None, "include": None})
        seen += [document["id"] for document in page["vectors"]]
        after = page["next"]
        if after is None:
            break
        equal(len(page["vectors"]), 500)
    equal((len(seen), len(set(seen)), seen == sorted(seen)), (1052, 1052, True))
    page = api.call("scrollVectors", 200, {"filter": FILTER, "include": ["vector", "external_id"]})
    equal((len(page["vectors"]), page["next"]), (51, None))
    equal(set(page["vectors"][0]), {"id", "external_id", "vector", "inserted_at"})
    equal(len(api.call("scrollVectors", 200)["vectors"]), 100)


def searches(api):
    plain = {"vector": [1, 0, 0]}
    equal(len(api.call("search", 200, plain)["results"]), 10)
    full = {"vector": [1, 2, 3], "k": 5, "ef": 100, "filter": {"must": [{"key": "n", "range": {"gt": 5}}]},
            "include": ["external_id", "metadata", "vector"], "score_threshold": -1, "recall": 0.95, "exact": True}
    found = api.call("search", 200, full)["results"]
    equal(len(found), 5)
    equal(set(found[0]), {"id", "score", "metadata", "vector"})
    equal(api.call("search", 200, {**plain, "include": [], "k": 1, "ef": None, "recall": None, "filter": None, "score_threshold": 2})["results"], [])
    equal(set(api.call("search", 200, {**plain, "include": []})["results"][0]), {"id", "score"})
    batch = api.call("searchBatch", 200, {"searches": [plain, full]})["results"]
    equal([len(one["results"]) for one in batch], [10, 5])
    equal(batch[1]["results"], found)
    for operation, good in (("search", plain), ("searchBatch", {"searches": [plain]})):
        api.call(operation, 400, UNKNOWN)
        api.call(operation, 404, good, collection="none", valid=True)
        api.call(operation, 415, good, "text/plain")
    api.call("search", 413, " " * (9 << 20))
    api.call("searchBatch", 413, {"searches": [plain] * 1001})


def snapshots(api, data):
    """Of collection c, which has documents; `data` is the server's folder."""
    api.call("createCollection", 201, {"name": "empty", "dimension": 3})
    api.call("createSnapshot", 400, collection="empty")
    made = api.call("createSnapshot", 201, query="?wait=true")
    lines = api.call("createSnapshot", 201, {"format": "json", "compression": None, "encoding": None}, query="?wait=true")
    equal((made["format"], made["lossless"], lines["format"]), ("parquet", True, "json"))
    api.call("createSnapshot", 400, {"format": "csv"})
    api.call("createSnapshot", 404, collection="none")
    api.call("createSnapshot", 415, {}, "text/plain")
    page = api.call("listSnapshots", 200, query="?limit=1")
    equal([one["id"] for one in page["snapshots"]], [lines["id"]])
    page = api.call("listSnapshots", 200, query=f"?to={page['next']}")
    equal(([one["id"] for one in page["snapshots"]], page["next"]), ([made["id"]], None))
    equal([one["id"] for one in api.call("listSnapshots", 200, query="?format=json")["snapshots"]], [lines["id"]])
    equal(api.call("listSnapshots", 200, query=f"?from={lines['created_at']}")["snapshots"], [lines])
    api.call("listSnapshots", 400, query="?from=yesterday")
    api.call("listSnapshots", 404, collection="none")
    equal(api.call("getSnapshot", 200, id=made["id"]), made)
    restored = api.call("restoreSnapshot", 201, {"into": "again"}, id=made["id"], query="?wait=true")
    equal((restored["name"], restored["documents"]), ("again", made["vector_count"]))
    equal(api.call("restoreSnapshot", 201, id=made["id"], query="?wait=true")["documents"], made["vector_count"])
    api.call("restoreSnapshot", 400, {"into": ""}, id=made["id"])
    api.call("restoreSnapshot", 409, {"into": "again"}, id=made["id"], valid=True)
    api.call("restoreSnapshot", 415, {}, "text/plain", id=made["id"])
    equal(api.call("verifySnapshot", 200, id=made["id"])["rows"], made["vector_count"])
    for operation in ("getSnapshot", "restoreSnapshot", "verifySnapshot", "deleteSnapshot"):
        api.call(operation, 400, id="x")
        api.call(operation, 404, id=uuid.uuid4())
    path = data / "objects" / made["objects"][0]["key"]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    why = api.call("verifySnapshot", 422, id=made["id"])["error"]["message"]
    assert made["id"] in why, why
    api.call("deleteSnapshot", 204, id=made["id"])
    api.call("deleteSnapshot", 404, id=made["id"])
    jobs = api.call("listJobs", 200, query="?limit=1000")["jobs"]
    assert {"snapshot", "restore"} <= {job["kind"] for job in jobs}, jobs
    api.call("listJobs", 400, query="?limit=0")
    equal(api.call("getJob", 200, id=jobs[0]["id"])["state"], "done")
    api.call("getJob", 400, id="x")
    api.call("getJob", 404, id=uuid.uuid4())


def tiers(api):
    """Of collection c, which has documents, and of the empty one."""
    shown = api.call("getTier", 200)
    equal((shown["collection"], shown["tier"], shown["pinned"], shown["rules"]["own"]), ("c", "hot", False, []))
    api.call("getTier", 400, collection="%zz")
    api.call("getTier", 404, collection="none")
    equal(api.call("actOnTier", 200, {"action": "pin"})["next"]["reason"], "pinned")
    api.call("actOnTier", 409, {"action": "demote_to_warm"}, valid=True)
    rules = {"hot_idle_s": 60, "warm_idle_s": None, "promote_accesses": 3, "stay_cold_on_access": True, "lowest": "cold"}
    shown = api.call("actOnTier", 200, {"action": "unpin", "rules": rules})
    equal((shown["rules"]["hot_idle_s"], shown["rules"]["warm_idle_s"], len(shown["rules"]["own"])), (60, 604800, 4))
    equal(api.call("actOnTier", 200, {"rules": None})["rules"]["own"], [])
    equal(api.call("actOnTier", 200, {"action": "demote_to_cold"})["tier"], "cold")
    job = next(job for job in api.call("listJobs", 200)["jobs"] if job["kind"] == "tier")
    equal((job["state"], job["to"]), ("done", "cold"))
    api.call("actOnTier", 409, {"action": "demote_to_warm"}, valid=True)
    equal(api.call("getCollection", 200)["tier"], "cold")
    equal(len(api.call("search", 200, {"vector": [1, 0, 0]})["results"]), 10)
    equal(api.call("getTier", 200)["tier"], "warm")
    api.call("actOnTier", 400, UNKNOWN)
    api.call("actOnTier", 400, {"action": "melt"})
    api.call("actOnTier", 400, {"action": "demote_to_cold"}, collection="empty", valid=True)
    api.call("actOnTier", 404, {"action": "pin"}, collection="none", valid=True)
    api.call("actOnTier", 415, {"action": "pin"}, "text/plain")
    all_of_them = api.call("listTiers", 200)
    assert "collections" not in all_of_them and all_of_them["tiers"]["warm"]["collections"] >= 1, all_of_them
    page = api.call("listTiers", 200, query="?limit=2")
    equal(([one["collection"] for one in page["collections"]], page["next"]), (["again", "c"], "c"))
    equal(api.call("listTiers", 200, query="?limit=1000&after=c")["next"], None)
    api.call("listTiers", 400, query="?limit=x")
    assert api.call("runTiering", 200, query="?wait=true")["last_pass"]["collections"] >= 4
    api.call("runTiering", 200)
    api.call("runTiering", 400, query="?wait=perhaps")
    before = api.call("moveTestClock", 200, {})["ahead_s"]
    equal(api.call("moveTestClock", 200, {"advance_s": 3600})["ahead_s"], before + 3600)
    api.call("moveTestClock", 400, {"advance_s": -1})
    api.call("moveTestClock", 415, {}, "text/plain")


def exports(api):
    lines = api.call("exportVectors", 200, query="?format=ndjson")
    equal(api.call("importVectors", 200, lines, NDJSON)["upserted"], lines.count("\n"))
    api.call("exportVectors", 200, query="?compression=snappy&encoding=plain")
    api.call("exportVectors", 400, query="?format=csv")
    api.call("exportVectors", 404, collection="none")
    api.call("importVectors", 400, "no Parquet", "application/vnd.apache.parquet")


# Jobs that last for more than a second: tests/unit/rest_snapshots_test.c makes them last.
ELSEWHERE = {("createSnapshot", "202"), ("restoreSnapshot", "202")}


def test_the_document_is_valid_openapi():
    validate(SPEC, cls=OpenAPIV31SpecValidator)
    ids = [operation["operationId"] for _, _, operation in operations()]
    equal(len(ids), len(set(ids)), "operation ids")


def test_every_route_of_the_server_is_in_the_document():
    table = (support.ROOT / "src" / "rest" / "routes.def").read_text()
    routes = re.findall(r'^AK_ROUTE\(\w+, (\w+), "([^"]+)"', table, re.M)
    assert routes
    served = {(method.lower(), path.replace("{c}", "{collection}")) for method, path in routes}
    equal({(method, path) for path, method, _ in operations()}, served, "the operations of the document")


def test_every_example_fits_its_schema():
    count = 0

    def walk(value):
        nonlocal count
        if isinstance(value, dict):
            if "examples" in value and "schema" in value:
                for example in value["examples"].values():
                    if value["schema"].get("type") != "string":
                        validator(value["schema"]).validate(example["value"])
                        count += 1
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(SPEC)
    for name, schema in SPEC["components"]["schemas"].items():
        for example in schema.get("examples", []):
            validator(schema).validate(example)
            count += 1
    assert count > 15, count


def test_every_operation_and_status_is_as_the_document_says():
    with support.Server() as server:
        client = server.client("/api/v1")
        production = Contract(client)
        production.call("moveTestClock", 404, {"advance_s": 1}, valid=True)
        client.close()
    with support.Server(environment={"AKIDB_TEST_CLOCK": "1"}) as server:
        client = server.client("/api/v1")
        api = Contract(client)
        api.seen |= production.seen
        for part in (node, collections, documents, searches):
            part(api)
        snapshots(api, pathlib.Path(server.data) / "db")
        exports(api)
        tiers(api)
        equal(client.call("PATCH", "/collections").headers["Allow"], "GET, HEAD, POST")
        client.close()
        listed = {(operation["operationId"], code) for _, _, operation in operations()
                  for code in operation["responses"] if code != "default"}
        equal(sorted(listed - api.seen - ELSEWHERE), [], "what was never provoked")


def test_every_code_of_the_server_is_in_the_document():
    table = (support.ROOT / "src" / "base" / "err.def").read_text()
    codes = set(re.findall(r'^AK_RC\(\w+, "(\w+)"', table, re.M)) - {"OK"}
    equal(set(SPEC["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"]), codes)


if __name__ == "__main__":
    support.run(globals())
