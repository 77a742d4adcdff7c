"""scripts/get-data against a server on loopback: what is right is kept, everything else leaves nothing behind."""

import functools
import gzip
import hashlib
import http.server
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

SOURCE = pathlib.Path(os.environ.get("IDREC_SOURCE_DIR", pathlib.Path(__file__).parent.parent))
SCRIPT = SOURCE / "scripts" / "get-data"
VIDEO_PATH = "kang205/SASRec/master/data/Video.txt"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def serve(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def get_data(target, mirror, name):
    environment = dict(os.environ, IDREC_DATA_MIRROR=mirror)
    return subprocess.run([SCRIPT, name, target], env=environment, capture_output=True, text=True, timeout=120)


def expect_failure(result, target, status, *phrases):
    assert result.returncode == status, (result.returncode, result.stderr)
    for phrase in phrases:
        assert phrase in result.stderr, (phrase, result.stderr)
    left = os.listdir(target) if os.path.isdir(target) else []
    assert left == [], left


def real_file(name):
    for folder in (os.environ.get("IDREC_DATA"), SOURCE.parent / "shared" / "data"):
        if folder and (pathlib.Path(folder) / name).exists():
            return pathlib.Path(folder) / name
    return None


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        published = scratch / "published"
        (published / VIDEO_PATH).parent.mkdir(parents=True)
        (published / VIDEO_PATH).write_text("1 2\n")
        server = serve(published)
        mirror = f"http://127.0.0.1:{server.server_port}"

        known = subprocess.run([SCRIPT, "--list"], capture_output=True, text=True).stdout
        assert known == "amazon-beauty amazon-video-games gowalla ml-100k ml-1m\n", known
        expect_failure(get_data(scratch / "a", mirror, "movielens"), scratch / "a", 2, "there is no data set", "ml-100k")
        expect_failure(get_data(scratch / "b", mirror, "amazon-video-games"), scratch / "b", 1, "checksum", "nothing was kept")
        expect_failure(get_data(scratch / "c", mirror, "amazon-beauty"), scratch / "c", 1, "amazon-beauty.txt.gz")
        expect_failure(get_data(scratch / "d", "http://127.0.0.1:9", "gowalla"), scratch / "d", 1, "without a network")

        source = real_file("amazon-video-games.txt.gz")
        if source is None:
            print("no amazon-video-games.txt.gz in IDREC_DATA or ../shared/data: the successful download is not tested")
            return 77
        text = gzip.decompress(source.read_bytes())
        (published / VIDEO_PATH).write_bytes(text)
        result = get_data(scratch / "e", mirror, "amazon-video-games")
        assert result.returncode == 0, result.stderr
        kept = gzip.decompress((scratch / "e" / "amazon-video-games.txt.gz").read_bytes())
        assert hashlib.md5(kept).digest() == hashlib.md5(text).digest()
        again = get_data(scratch / "e", "http://127.0.0.1:9", "amazon-video-games")
        assert again.returncode == 0 and "already there" in again.stdout, again.stderr
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
