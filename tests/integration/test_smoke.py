#!/usr/bin/env python3
"""The first five minutes with AkiDB: create, insert, search, look at the metrics, restart. Standard library only."""
import math
import random

import support
from support import equal, status


def vector(i):
    """Unit vectors in the order of their angle to the first axis."""
    return [math.cos(i * 0.01), math.sin(i * 0.01)] + [0.0] * 126


def test_a_collection_takes_vectors_and_finds_the_nearest():
    with support.Server() as server:
        client = server.client()
        made = status(client.post("/collections", {"name": "test", "dimension": 128, "metric": "cosine",
                                                   "embedding_model": "none"}), 201).json()
        equal(made["name"], "test")
        ids = {}
        order = list(range(100))
        random.Random(1).shuffle(order)
        for i in order:
            ids[i] = status(client.post("/collections/test/vectors", {"vector": vector(i)}), 201).json()["id"]
        equal(len(set(ids.values())), 100, "different ids")
        found = status(client.post("/collections/test/search", {"vector": vector(0), "k": 10}), 200).json()
        equal([hit["id"] for hit in found["results"]], [ids[i] for i in range(10)], "the nearest, in order")
        scores = [hit["score"] for hit in found["results"]]
        equal(scores, sorted(scores, reverse=True), "scores")
        assert abs(scores[0] - 1) < 1e-6 and abs(scores[9] - math.cos(0.09)) < 1e-6, scores
        metrics = status(client.get("/metrics"), 200).text()
        assert "\nvectors_indexed_total 100\n" in metrics, metrics
        assert "\nhttp_requests_total{" in metrics, metrics
        assert '\ncollection_tier{tier="hot"} 1\n' in metrics and '\ncollection_tier{tier="cold"} 0\n' in metrics, metrics


def test_what_was_acknowledged_is_there_after_a_stop_and_after_a_kill():
    with support.Server() as server:
        client = server.client("/api/v1")
        status(client.post("/collections", {"name": "kept", "dimension": 3, "metric": "l2"}), 201)
        first = status(client.post("/collections/kept/vectors", {
            "vector": [0.1, 0.2, 0.3], "external_id": "a", "metadata": {"n": 1}}), 201).json()["id"]
        before = status(client.get(f"/collections/kept/vectors/{first}"), 200).json()
        client.close()
        server.stop()
        server.start()
        client = server.client("/api/v1")
        equal(status(client.get(f"/collections/kept/vectors/{first}"), 200).json(), before)
        status(client.post("/collections/kept/vectors", {"vector": [1, 2, 3]}), 201)
        client.close()
        server.kill()
        server.start()
        client = server.client("/api/v1")
        equal(status(client.post("/collections/kept/count"), 200).json(), {"count": 2})
        equal(status(client.get(f"/collections/kept/vectors/{first}"), 200).json(), before)


def test_documents_are_filtered_by_their_metadata():
    with support.Server() as server:
        client = server.client()
        status(client.post("/collections", {"name": "f", "dimension": 2, "metric": "dot"}), 201)
        status(client.post("/collections/f/vectors", {"vectors": [
            {"vector": [i, 1], "external_id": str(i), "metadata": {"even": i % 2 == 0, "n": i}} for i in range(50)]}), 200)
        found = status(client.post("/collections/f/search", {
            "vector": [1, 0], "k": 3, "include": ["external_id"],
            "filter": {"must": [{"key": "even", "match": True}], "must_not": [{"key": "n", "range": {"gt": 40}}]},
        }), 200).json()["results"]
        equal([(hit["external_id"], hit["score"]) for hit in found], [("40", 40), ("38", 38), ("36", 36)])


if __name__ == "__main__":
    support.run(globals())
