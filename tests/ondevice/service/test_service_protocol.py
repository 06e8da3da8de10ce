"""Requests as bytes, and counts in Prometheus' format as its own parser reads it."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgekit.ondevice.service.metrics import Counter, Histogram, Metrics, gauge, info, since
from edgekit.ondevice.service.protocol import MAX_BODY_BYTES, Refusal, Response, parse_head


def head(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1")


def test_a_head_is_read() -> None:
    read = parse_head(
        head("POST /predict?x=1 HTTP/1.1", "Host: localhost:8476", "CONTENT-LENGTH:  12 ", "X: a", "x:\tb", "Y:")
    )
    assert (read.method, read.path, read.length, read.keep_alive) == ("POST", "/predict", 12, True)
    assert read.fields == {"host": "localhost:8476", "content-length": "12", "x": "a, b", "y": ""}


@pytest.mark.parametrize(
    ("lines", "keeps"),
    [
        (("GET / HTTP/1.1", "Host: a", "Connection: Close"), False),
        (("GET / HTTP/1.1", "Host: a", "Connection: upgrade, close"), False),
        (("GET / HTTP/1.1", "Host: a", "Connection: keep-alive"), True),
        (("GET / HTTP/1.0",), False),
        (("GET / HTTP/1.0", "Connection: keep-alive"), True),
    ],
)
def test_whether_a_connection_is_kept(lines: tuple[str, ...], keeps: bool) -> None:
    assert parse_head(head(*lines)).keep_alive is keeps


@pytest.mark.parametrize(
    ("lines", "status", "why"),
    [
        (("",), 400, "not an HTTP request line"),
        (("GET  / HTTP/1.1", "Host: a"), 400, "not an HTTP request line"),
        (("GET /\x00 HTTP/1.1", "Host: a"), 400, "not an HTTP request line"),
        (("GET /a b HTTP/1.1", "Host: a"), 400, "not an HTTP request line"),
        (("\x16\x03\x01\x02",), 400, "not an HTTP request line"),
        (("GET / HTTP/2.0", "Host: a"), 505, "only HTTP/1.1"),
        (("GET / HTTP/1.1",), 400, "no Host field"),
        (("GET http://a/ HTTP/1.1", "Host: a"), 400, "expected a path"),
        (("OPTIONS * HTTP/1.1", "Host: a"), 400, "expected a path"),
        (("GET / HTTP/1.1", "Host : a"), 400, "not a header field"),
        (("GET / HTTP/1.1", "Host: a", " folded"), 400, "not a header field"),
        (("GET / HTTP/1.1", "Host: a\nX: b"), 400, "not a header field"),
        (("GET / HTTP/1.1", "Host: a", "Host: b"), 400, "host is there twice"),
        (
            ("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 1"),
            400,
            "content-length is there twice",
        ),
        (("POST / HTTP/1.1", "Host: a", "Content-Length: -1"), 400, "is not a number"),
        (("POST / HTTP/1.1", "Host: a", "Content-Length: 1, 1"), 400, "is not a number"),
        (("POST / HTTP/1.1", "Host: a", "Content-Length: ٣".encode().decode("latin-1")), 400, "is not a number"),
        (("POST / HTTP/1.1", "Host: a", f"Content-Length: {MAX_BODY_BYTES + 1}"), 413, "at most"),
        (("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"), 411, "Content-Length"),
    ],
)
def test_what_is_no_request_is_refused(lines: tuple[str, ...], status: int, why: str) -> None:
    with pytest.raises(Refusal, match=why) as refused:
        parse_head(head(*lines))
    assert refused.value.status == status


def test_a_response_is_written() -> None:
    sent = Response(200, b"{}", headers={"Retry-After": "1"}).encode(close=True)
    assert sent == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nCache-Control: no-store\r\n"
        b"Retry-After: 1\r\nConnection: close\r\n\r\n{}"
    )
    assert Response(200, b"{}").encode(close=False, bodiless=True).endswith(b"no-store\r\n\r\n")


def test_a_histogram_is_cumulative_and_counts_a_bound_in_its_bucket() -> None:
    histogram = Histogram("h_seconds", "Help.", (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 2.0):
        histogram.observe(value)
    (family,) = text_string_to_metric_families("\n".join(histogram.lines()) + "\n")
    assert (family.name, family.type) == ("h_seconds", "histogram")
    found = {(sample.name, sample.labels.get("le")): sample.value for sample in family.samples}
    assert found == {
        ("h_seconds_bucket", "0.1"): 2, ("h_seconds_bucket", "1"): 3, ("h_seconds_bucket", "+Inf"): 4,
        ("h_seconds_sum", None): pytest.approx(2.65), ("h_seconds_count", None): 4,
    }  # fmt: skip


def test_labels_may_hold_anything() -> None:
    strange = 'a "b" \\ c\nd, é{}='
    counter = Counter("c_total", "Help.", ("label",))
    counter.add(strange, by=2.5)
    (family,) = text_string_to_metric_families("\n".join(counter.lines()) + "\n")
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"label": strange}, 2.5)]


def test_what_is_not_known_is_left_out() -> None:
    assert list(gauge("g", "Help.", None)) == []
    assert list(gauge("g", "Help.", 0.0))[-1] == "g 0"
    assert list(info("i", "Help.", {"a": "b"}))[-1] == 'i{a="b"} 1'


def test_a_successor_goes_on_counting_and_counts_nothing_twice() -> None:
    older, newer = Metrics(), Metrics()
    older.predictions.add("a", by=3)
    older.latency.observe(0.2)
    handed_over = older.state()
    newer.absorb(handed_over)
    older.predictions.add("a")
    older.predictions.add("b")
    older.latency.observe(0.4)
    newer.absorb(since(older.state(), handed_over))
    assert newer.predictions.values == {("a",): 4, ("b",): 1}
    assert sum(newer.latency.counts) == 2
    assert math.isclose(newer.latency.total, 0.6)


def test_what_another_release_counted_otherwise_is_left_out() -> None:
    older, newer = Metrics(), Metrics()
    older.predictions.add("a")
    state = older.state()
    state["edgekit_predictions_total"]["labels"] = ["label", "model"]
    state["edgekit_confidence"]["bounds"] = [1.0]
    state["edgekit_new_total"] = {"labels": [], "counts": []}
    newer.absorb(state)
    assert newer.predictions.values == {}
