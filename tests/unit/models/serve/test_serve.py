"""``headstart serve`` as programs meet it: a real process, real connections."""

from __future__ import annotations

import io
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr

import numpy as np
import pytest
from factories import with_facts
from headstart.cli import run
from headstart.models.predict import Model

BOUNDARY = "limit"


def form(name: str, content: bytes, filename: str | None = "a.png") -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture(scope="module")
def model(tiny_classifier) -> Model:
    return Model(tiny_classifier)


@pytest.fixture(scope="module")
def images(photos) -> list[bytes]:
    return [path.read_bytes() for path in sorted(photos.rglob("*.png"))]


class TestPredict:
    def test_an_image_as_the_body(self, served, model, images):
        status, answer, _ = served.ask("POST", "/predict", images[0])
        expected = model.answer(model.decode(images[0])[np.newaxis])
        assert status == 200
        assert tuple(answer["probabilities"]) == model.classes
        shares = list(answer["probabilities"].values())
        assert shares == pytest.approx(expected.probabilities[0].tolist(), abs=1e-6)
        assert answer["label"] == model.classes[int(np.argmax(shares))]
        assert answer["probability"] == max(shares)
        assert answer["distance"] == pytest.approx(float(expected.distance[0]), abs=1e-6)
        assert answer["unlike"] == (answer["distance"] > model.threshold)
        spent = answer["milliseconds"]
        assert spent["total"] >= spent["decode"] + spent["inference"] - 0.02

    def test_an_image_in_a_form(self, served, images):
        plain = served.ask("POST", "/predict", images[1])[1]
        status, answer, _ = served.ask("POST", "/predict", form("image", images[1]), MULTIPART)
        assert (status, answer["probabilities"]) == (200, plain["probabilities"])

    def test_the_nearest_training_images(self, served, photos):
        trained = sorted(photos.glob("train/*/*.png"))
        for path in trained[:3]:
            answer = served.ask("POST", "/predict", path.read_bytes())[1]
            nearest = answer["nearest"]
            assert nearest[0]["path"] == path.relative_to(photos).as_posix()
            assert nearest[0]["label"] == path.parent.name
            assert nearest[0]["distance"] == pytest.approx(0, abs=1e-5)
            distances = [one["distance"] for one in nearest]
            assert distances == sorted(distances)
            assert not any(one["path"].startswith("test/") for one in nearest)
            status, picture, reply = served.ask("GET", nearest[0]["thumbnail"])
            assert (status, reply.headers["content-type"]) == (200, "image/webp")
            assert picture[8:12] == b"WEBP"

    def test_what_was_only_tested_on_has_no_picture(self, served):
        found = [served.ask("GET", f"/thumbnail/{row}")[0] for row in range(14)]
        assert sorted(found) == [200] * 9 + [404] * 5

    def test_many_at_once_get_the_answers_that_each_gets_alone(self, served, model, images):
        with ThreadPoolExecutor(16) as pool:
            asked = [images[number % len(images)] for number in range(96)]
            found = list(pool.map(lambda data: served.ask("POST", "/predict", data), asked))
        for data, (status, answer, _) in zip(asked, found, strict=True):
            alone = model.predict(model.decode(data)[np.newaxis])[0].tolist()
            assert status == 200
            assert list(answer["probabilities"].values()) == pytest.approx(alone, abs=1e-6)

    def test_a_connection_may_be_kept(self, served, images):
        import http.client

        connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
        for body in (images[0], b"no image", images[0]):
            connection.request("POST", "/predict", body)
            reply = connection.getresponse()
            assert reply.status == (422 if body == b"no image" else 200)
            reply.read()
        connection.close()


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "headers", "status", "said"),
        [
            (b"", {}, 400, "no image"),
            (b"GIF89a", {}, 422, "the image cannot be used: "),
            (b"\xff\xd8\xff" + b"\0" * 99, {}, 422, "the image cannot be used: "),
            (b"<svg onload=alert(1)>", {}, 422, "HTML, SVG or XML"),
            (b"x" * (1 << 20) + b"x", {}, 413, "larger than 1,048,576 bytes"),
            (b"x" * (9 << 20), {}, 413, "larger than 1,048,576 bytes"),
            (b"abc", {"content-type": "multipart/form-data"}, 400, "the form cannot be read"),
            (b"abc", MULTIPART, 400, "the form cannot be read"),
            (form("image", b""), MULTIPART, 400, "no image"),
            (form("image", b"text", None), MULTIPART, 400, "no image"),
            (form("a", b"x") + form("b", b"x"), MULTIPART, 422, "cannot be used"),
            (form("", b"x")[:-9], MULTIPART, 400, ""),
            (b"--limit\r\n\r\n\r\n--limit--\r\n", MULTIPART, 400, "the form cannot be read"),
            (b"\xff" * 300, MULTIPART, 400, "the form cannot be read"),
        ],
    )
    def test_an_upload_that_is_no_image(self, served, body, headers, status, said):
        found, answer, reply = served.ask("POST", "/predict", body, headers)
        assert (found, list(answer)) == (status, ["error"]), answer
        assert said in answer["error"]
        assert answer["error"].isprintable()
        assert reply.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/predict", 405),
            ("POST", "/", 405),
            ("GET", "/absent", 404),
            ("GET", "/thumbnail/-1", 404),
            ("GET", "/thumbnail/99999999999999999999999", 404),
            ("GET", "/..%2f..%2fetc/passwd", 404),
            ("GET", "/page.js/../../app.py", 404),
        ],
    )
    def test_what_is_not_there(self, served, method, path, status):
        found, answer, _ = served.ask(method, path)
        assert (found, list(answer)) == (status, ["error"])

    def test_an_image_of_too_many_pixels(self, served):
        import struct
        import zlib

        def chunk(kind: bytes, data: bytes) -> bytes:
            body = kind + data
            return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

        head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        bomb = (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        )
        status, answer, _ = served.ask("POST", "/predict", bomb + chunk(b"IEND", b""))
        assert status == 422
        assert "pixels" in answer["error"]

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
    def test_a_name_that_was_pointed_at_this_machine(self, served, host):
        status, answer, _ = served.ask("GET", "/model", headers={"host": host})
        assert (status, list(answer)) == (421, ["error"])

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "[::1]:80"])
    def test_names_of_this_machine(self, served, host):
        assert served.ask("GET", "/model", headers={"host": host})[0] == 200

    @pytest.mark.parametrize("data", [b"\0\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"A" * 99_999])
    def test_what_is_no_http(self, served, data):
        with socket.create_connection((served.host, served.port), timeout=30) as line:
            line.sendall(data)
            assert line.recv(99).startswith(b"HTTP/1.1 400")

    def test_a_client_that_hangs_up(self, served, images):
        for _ in range(8):
            with socket.create_connection((served.host, served.port), timeout=30) as line:
                line.sendall(
                    b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\nx"
                )
        assert served.ask("POST", "/predict", images[0])[0] == 200


def test_what_the_model_is(served, model):
    answer = served.ask("GET", "/model")[1]
    assert answer["classes"] == list(model.classes)
    assert (answer["name"], answer["max_bytes"], answer["nearest"]) == ("model.onnx", 1 << 20, 9)


def test_below_the_threshold_of_a_target_it_names_no_class(
    start, tiny_classifier, images, tmp_path
):
    path = with_facts(
        tiny_classifier,
        tmp_path / "model.onnx",
        operating_points=[{"target": 0.99, "threshold": 0.999999, "share": 0.1}],
        prediction_sets={"level": 0.95, "mass": 1.0, "least": [0, 0, 0]},
    )
    server = start(path, "--nearest", "0", "--at", "99%")
    assert server.ask("GET", "/model")[1]["min_confidence"] == 0.999999
    answer = server.ask("POST", "/predict", images[0])[1]
    assert answer["label"] == "unknown"
    ranked = sorted(answer["probabilities"], key=lambda name: -answer["probabilities"][name])
    assert answer["set"] == ranked


def test_it_decides_by_costs_and_answers_with_sets_by_class(
    start, tiny_classifier, images, tmp_path
):
    path = with_facts(
        tiny_classifier,
        tmp_path / "model.onnx",
        prediction_sets={"level": 0.95, "mass": 0.0, "least": [0, 0, 0]},
    )
    table = tmp_path / "costs.csv"
    rows = ["true,bark,cloth,drain", "bark,0,9,9", "cloth,0,0,9", "drain,0,9,0"]
    table.write_text("\n".join(rows))
    server = start(path, "--nearest", "0", "--costs", table, "--sets-by-class")
    answer = server.ask("POST", "/predict", images[0])[1]
    assert answer["label"] == "bark"
    assert answer["probability"] == answer["probabilities"]["bark"]
    assert len(answer["set"]) == 3
    assert server.ask("GET", "/model")[1]["sets"] == "by-class"


def test_without_a_store_it_says_so(start, tiny_classifier, images, tmp_path):
    gone = tmp_path / "gone.h5"
    server = start(tiny_classifier, "--store", gone)
    assert server.said[0].startswith("nearest training images are not available: no feature store")
    assert "gone.h5" in server.ask("GET", "/model")[1]["nearest"]
    assert server.ask("POST", "/predict", images[0])[1]["nearest"] is None
    assert server.ask("GET", "/thumbnail/0")[0] == 404


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(start, tiny_classifier, images, number, code):
    server = start(tiny_classifier, "--nearest", "0")
    assert server.ask("POST", "/predict", images[0])[1]["nearest"] is None
    server.process.send_signal(number)
    assert server.process.wait(30) == code
    time.sleep(0.1)
    assert server.said[-1].startswith(("headstart: interrupted", "headstart: terminated"))


def test_another_address_is_warned_of(start, tiny_classifier, training):
    server = start(tiny_classifier, "--host", "0.0.0.0", "--store", training)
    assert server.said[0].startswith("WARNING: anyone who can reach 0.0.0.0")
    assert server.ask("GET", "/model", headers={"host": "any.example"})[0] == 200


def fails(*words: object) -> str:
    """Run the command in this process: it ends before it serves anything."""
    said = io.StringIO()
    with redirect_stderr(said):
        assert run(["serve", *map(str, words)]) == 1
    lines = said.getvalue().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("headstart: ")
    return lines[0]


@pytest.mark.slow
def test_a_port_in_use_is_one_line(served, tiny_classifier):
    said = fails(tiny_classifier, "--port", served.port)
    assert f"cannot listen on port {served.port} of 127.0.0.1: Address already in use" in said


@pytest.mark.slow
def test_an_address_that_is_not_there(tiny_classifier):
    assert "cannot resolve host 'absent.invalid'" in fails(
        tiny_classifier, "--host", "absent.invalid", "--port", "0"
    )
    assert "cannot listen" in fails(tiny_classifier, "--host", "192.0.2.1", "--port", "0")


@pytest.mark.slow
def test_a_model_that_is_none(tmp_path, tiny_classifier):
    data = bytearray(tiny_classifier.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "altered.onnx").write_bytes(data)
    assert "damaged or was edited" in fails(tmp_path / "altered.onnx", "--port", "0")
    assert "no model at" in fails(tmp_path / "absent.onnx", "--port", "0")


def test_it_needs_neither_torch_nor_scikit_learn(fresh_python, tiny_classifier, training, photos):
    script = """
        import json, sys, threading, time, urllib.request
        import headstart.cli.serve
        from pathlib import Path
        from headstart.models import serve
        said = []
        config = serve.ServeConfig(port=0, stores=[Path(sys.argv[2])])
        run = lambda: serve.serve(sys.argv[1], config, said.append)
        threading.Thread(target=run, daemon=True).start()
        while not said:
            time.sleep(0.01)
        url = said[-1].split(" at ")[1].split(" ")[0]
        data = open(sys.argv[3], "rb").read()
        answer = json.load(urllib.request.urlopen(url + "/predict", data))
        assert answer["nearest"], answer
        urllib.request.urlopen(url + answer["nearest"][0]["thumbnail"]).read()
        print(json.dumps([n for n in ("torch", "sklearn", "onnx", "scipy") if n in sys.modules]))
    """
    image = next(photos.glob("train/*/*.png"))
    assert fresh_python(script, tiny_classifier, training, image) == []
