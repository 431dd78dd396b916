"""The feature cache: results stay the same, and no features are computed twice."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from refsr import RefsrError, Upscaler
from refsr.cli import main
from refsr.registration import matching
from refsr.registration.feature_cache import (
    HEAD,
    SUFFIX,
    CachedFeatures,
    FeatureCache,
    make_key,
    pack,
)
from refsr.registration.matching import Features
from refsr.registration.pool import build_pool
from refsr.resize import imresize
from scenes import facade

LIMIT = 10**8


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Ten photos; the eighth shows what ``small`` shows."""
    folder = tmp_path / "album"
    folder.mkdir()
    for seed in range(10):
        PIL.Image.fromarray(facade(seed)[:256, :320]).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.png"
    PIL.Image.fromarray(imresize(facade(7)[:256, :320], scale=0.25)).save(path)
    return path


@pytest.fixture
def detected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The images that features were looked for in, by their shapes."""
    seen: list[tuple[int, ...]] = []
    detect = matching.detect

    def counted(gray: Any, *rest: Any) -> Any:
        seen.append(gray.shape)
        return detect(gray, *rest)

    monkeypatch.setattr(matching, "detect", counted)
    return seen


def same(a: Features, b: Features) -> bool:
    """Equal bit by bit, types too."""
    pairs = [(vars(a)[name], vars(b)[name]) for name in vars(a)]
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def test_results_are_the_same_and_no_features_are_computed_twice(
    album: Path, small: Path, tmp_path: Path, detected: list[tuple[int, ...]]
) -> None:
    def result(cache: Path | None) -> tuple[bytes, dict[str, Any], int]:
        detected.clear()
        upscaler = Upscaler.load("detail-transfer", cache=cache)
        upscaler.set_reference(album)
        done = upscaler.upscale(small)
        facts = {key: value for key, value in done.report.items() if key != "seconds"}
        return np.asarray(done.image).tobytes(), facts, len(detected)

    without, first, second = (result(cache) for cache in (None, tmp_path / "c", tmp_path / "c"))
    assert without == first
    assert without[:2] == second[:2]
    assert "7.png" in without[1]["album"]["registered"]
    assert second[2] == without[2] - 10 - len(without[1]["album"]["registered"])


def test_features_are_kept_bit_by_bit(album: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "deep" / "cache")
    files = sorted(album.iterdir())
    plain, first, second = (build_pool(files, LIMIT, cache=c) for c in (None, cache, cache))
    for one, two, three in zip(plain.thumbnails, first.thumbnails, second.thumbnails, strict=True):
        assert same(one.features, two.features)
        assert same(one.features, three.features)
        assert (one.shrink, one.pixels, one.name) == (three.shrink, three.pixels, three.name)
    upscaler = Upscaler.load("detail-transfer", cache=cache.folder)
    found = [upscaler.prepare(files[0]).loaded[0].prepared.features for _ in range(2)]
    bare = Upscaler.load("detail-transfer").prepare(files[0]).loaded[0].prepared.features
    assert same(found[0], bare)
    assert same(found[1], bare)
    assert len(list(cache.folder.iterdir())) == 11


def test_a_changed_photo_is_looked_at_again(
    album: Path, tmp_path: Path, detected: list[tuple[int, ...]]
) -> None:
    cache = FeatureCache(tmp_path / "cache")
    one, two = album / "1.png", album / "2.png"
    build_pool([one, two], LIMIT, cache=cache)
    facts = one.stat()
    detected.clear()
    os.utime(one, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    build_pool([one, two], LIMIT, cache=cache)
    assert len(detected) == 1
    shutil.copyfile(album / "3.png", one)
    os.utime(one, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))  # another size
    found = build_pool([one, two], LIMIT, cache=cache).thumbnails[0]
    assert same(found.features, build_pool([album / "3.png"], LIMIT).thumbnails[0].features)
    assert len(list(cache.folder.iterdir())) == 2, "the old ones are replaced"
    one.unlink()
    with pytest.raises(RefsrError, match="no file"):
        build_pool([one, two], LIMIT, optional=False, cache=cache)


def test_a_photo_above_the_limit_is_refused_though_it_is_kept(album: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    build_pool([album / "1.png"], LIMIT, cache=cache)
    with pytest.raises(RefsrError, match="more than the limit"):
        build_pool([album / "1.png"], 256 * 320 - 1, optional=False, cache=cache)


def damage(path: Path, other: bytes) -> dict[str, bytes]:
    """What may stand in the place of a kept file."""
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    return {
        "empty": b"",
        "short": whole[: len(whole) // 2],
        "one bit": bytes(flipped),
        "longer": whole + b"x",
        "of another photo": other,
        "foreign": b"PK\x03\x04" + bytes(1000),
        "huge": bytes(9_000_000),
    }


def forged() -> dict[str, bytes]:
    """Contents that no photo has, as somebody would write them who knows how a file is signed."""
    rng = np.random.default_rng(0)

    def features(**other: Any) -> Features:
        arrays = {"xy": (9, 2), "size": (9,), "angle": (9,), "descriptor": (9, 128)}
        made = {name: rng.random(shape, np.float32) for name, shape in arrays.items()}
        return Features(**(made | other))

    sound = pack(CachedFeatures(features(), 2.0, 99))
    packed = io.BytesIO()  # what the first version would have unpacked: 64 MB of nothing
    np.savez_compressed(packed, xy=np.zeros((1 << 23, 2), np.float32))
    pickled = io.BytesIO()
    np.savez(pickled, xy=np.array([{"a": 1}], object))
    nowhere = np.full((9, 2), np.inf, np.float32)
    return {
        "more features than it holds": HEAD.pack(2.0, 99, 1 << 31) + sound[HEAD.size :],
        "half a feature": sound[:-4],
        "packed": packed.getvalue(),
        "pickled": pickled.getvalue(),
        "no numbers": pack(CachedFeatures(features(xy=nowhere), 2.0, 99)),
        "no size": HEAD.pack(float("nan"), 99, 9) + sound[HEAD.size :],
        "shrunk to nothing": HEAD.pack(1e-300, 99, 9) + sound[HEAD.size :],
        "negative": HEAD.pack(2.0, -1, 9) + sound[HEAD.size :],
        "nothing": b"",
    }


@pytest.mark.parametrize("what", forged())
def test_a_forged_entry_is_computed_anew(album: Path, tmp_path: Path, what: str) -> None:
    cache, photo = FeatureCache(tmp_path / "cache"), album / "1.png"
    entry = cache.entry(photo, "any")
    assert entry is not None
    key = make_key(photo, "any")
    assert key is not None

    def write(content: bytes) -> None:
        entry.path.write_bytes(hashlib.sha256(key + content).digest() + content)

    write(pack(CachedFeatures(matching.NO_FEATURES, 2.0, 99)))
    assert entry.read() is not None  # signed like this it is taken
    write(forged()[what])
    assert entry.read() is None


@pytest.mark.posix
def test_links_and_pipes_in_the_cache_are_not_followed(album: Path, tmp_path: Path) -> None:
    cache, photo = FeatureCache(tmp_path / "cache"), album / "1.png"
    wanted = build_pool([photo], LIMIT, cache=cache).thumbnails[0].features
    (path,) = cache.folder.iterdir()
    letter = tmp_path / "letter.txt"
    for make in (
        lambda: path.symlink_to(letter),
        lambda: os.mkfifo(path),
        lambda: path.symlink_to(tmp_path / "missing"),
    ):
        letter.write_text("dear aunt")
        path.unlink()
        make()
        found = build_pool([photo], LIMIT, cache=cache).thumbnails[0].features
        assert same(found, wanted)
        assert letter.read_text() == "dear aunt"
        assert not (tmp_path / "missing").exists()
        assert path.is_file()
        assert not path.is_symlink()


def test_damaged_and_foreign_files_are_computed_anew_and_replaced(
    album: Path, tmp_path: Path, detected: list[tuple[int, ...]]
) -> None:
    cache = FeatureCache(tmp_path / "cache")
    photo = album / "1.png"
    wanted = build_pool([photo], LIMIT, cache=cache).thumbnails[0].features
    (path,) = cache.folder.iterdir()
    build_pool([album / "2.png"], LIMIT, cache=cache)
    (other,) = set(cache.folder.iterdir()) - {path}
    whole = path.read_bytes()
    for name, data in damage(path, other.read_bytes()).items():
        path.write_bytes(data)
        detected.clear()
        assert same(build_pool([photo], LIMIT, cache=cache).thumbnails[0].features, wanted), name
        assert len(detected) == 1, name
        assert path.read_bytes() == whole, name
    path.unlink()
    path.mkdir()  # nothing can be kept there
    assert same(build_pool([photo], LIMIT, cache=cache).thumbnails[0].features, wanted)
    assert len(cache.notes) == 1


def test_a_cache_that_cannot_be_written_costs_a_note(
    album: Path, small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    command = ["--ref", str(album), "--cache", str(taken)]
    assert main(["check", str(small), *command]) == 0
    assert f"note: the feature cache {taken} cannot be written: " in capfd.readouterr().err
    out = tmp_path / "out.png"
    upscale = ["upscale", str(small), "-o", str(out), "--model", "detail-transfer"]
    assert main([*upscale, *command]) == 0
    assert out.is_file()
    assert capfd.readouterr().err.count("cannot be written") == 1
    assert taken.read_text() == "a file"
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    shutil.copy(small, folder)
    batch = ["batch", str(folder), "-o", str(out), "--refs", str(album)]
    assert main([*batch, "--model", "detail-transfer", "--cache", f"{taken}/below"]) == 0
    assert capfd.readouterr().err.count("cannot be written") == 1
    assert (out / "small.png").is_file()


def test_a_batch_keeps_its_references_and_resumes_with_and_without(
    album: Path, small: Path, tmp_path: Path, detected: list[tuple[int, ...]]
) -> None:
    folder, out, cache = tmp_path / "photos", tmp_path / "out", tmp_path / "cache"
    folder.mkdir()
    shutil.copy(small, folder / "a.png")
    shutil.copy(small, folder / "b.png")
    command = ["batch", str(folder), "-o", str(out), "--refs", str(album), "--quiet"]
    command += ["--model", "detail-transfer", "--workers", "2"]
    assert main(command) == 0
    without = (out / "a.png").read_bytes()
    plain = len(detected)
    assert main([*command, "--cache", str(cache)]) == 0
    detected.clear()
    assert main([*command, "--cache", str(cache)]) == 0
    assert len(detected) <= plain - 10 - 2, "the album's, and a reference of each photo"
    assert (out / "a.png").read_bytes() == (out / "b.png").read_bytes() == without
    detected.clear()
    assert main([*command, "--resume"]) == 0
    assert not detected, "a cache changes no result: all is finished"


def test_threads_and_programs_at_once(album: Path, small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    command = [sys.executable, "-m", "refsr", "check", str(small), "--ref", str(album)]
    running = [
        subprocess.Popen([*command, "--cache", str(folder)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    cache = FeatureCache(folder)
    files = sorted(album.iterdir())
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(build_pool(files, LIMIT, cache=cache)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [one.communicate()[0] for one in running]
    assert answers[0] == answers[1]
    assert b"10 references looked at" in answers[0]
    wanted = build_pool(files, LIMIT)
    for one in [*found, build_pool(files, LIMIT, cache=cache)]:
        pairs = zip(one.thumbnails, wanted.thumbnails, strict=True)
        assert all(same(a.features, b.features) for a, b in pairs)
    assert not cache.notes
    assert all(path.suffix == SUFFIX for path in folder.iterdir()), "nothing temporary is left"


def test_what_is_no_file_is_not_kept(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    build_pool([facade(1), PIL.Image.fromarray(facade(2))], LIMIT, cache=cache)
    assert cache.entry("\0", "a kind") is None
    assert not list(cache.folder.iterdir())
