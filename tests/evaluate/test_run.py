"""The evaluation: its lists, its reference modes, its numbers against ones computed by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from refsr.data.pairs import MIN_SIDE, EvaluationJob, load_jobs
from refsr.degradation.simulate import parse_kind, simulate
from refsr.errors import DataError, RefsrError
from refsr.evaluate import perceptual, run
from refsr.evaluate.metrics import SSIM_WINDOW, luma, psnr, ssim
from refsr.evaluate.perceptual import detail_share, haarpsi
from refsr.evaluate.protocol import BORDER, decode_lr, shuffled_references
from refsr.evaluate.run import evaluate
from refsr.evaluate.sheets import ERROR_GAIN, GAP, TITLE_HEIGHT
from refsr.evaluate.table import render_evaluation
from refsr.image.photo import load_photo
from refsr.resize import imresize

PAIRS = """input,reference,kind
church/a.png,church/b.png,moderate
church/b.png,church/a.png,moderate
harbour/a.png,harbour/b.png,zoomed
harbour/b.png,,irrelevant
"""


@pytest.fixture
def root(tmp_path: Path, natural: NDArray[np.uint8], rng: np.random.Generator) -> Path:
    """Two scenes of two views each; odd sizes, so that the crop has something to do."""
    for scene, image in (("church", natural), ("harbour", natural[::-1, ::-1])):
        (tmp_path / scene).mkdir()
        Image.fromarray(image[:61, :82]).save(tmp_path / scene / "a.png")
        Image.fromarray(image[10:60, 20:90]).save(tmp_path / scene / "b.png")
    (tmp_path / "pairs.csv").write_text(PAIRS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def jobs(root: Path) -> list[EvaluationJob]:
    return load_jobs(str(root / "pairs.csv"), root)


Seen = list[tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What a model would be given: records every (LR, references) and answers with bicubic."""
    calls: Seen = []

    def load_method(model: str, *_: object) -> run.Runner:
        def method(lr: NDArray[np.uint8], references: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
            calls.append((lr, references))
            return imresize(lr, scale=4.0)

        return run.Runner(method)

    monkeypatch.setattr(run, "load_method", load_method)
    return calls


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_csv_of_pairs(root: Path, jobs: list[EvaluationJob]) -> None:
    assert [job.kind for job in jobs] == ["moderate", "moderate", "zoomed", "irrelevant"]
    assert jobs[0].input == root / "church/a.png"
    assert jobs[0].references == (root / "church/b.png",)
    assert jobs[3].references == ()
    assert jobs[0].relative(jobs[0].input) == "church/a.png"


def test_several_references_and_a_byte_order_mark(root: Path) -> None:
    text = "kind,input,reference,note\nx,church/a.png,church/b.png; harbour/a.png,spare\n"
    (root / "more.csv").write_text(text, encoding="utf-8-sig")
    (job,) = load_jobs(str(root / "more.csv"), root)
    assert job.references == (root / "church/b.png", root / "harbour/a.png")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("input,kind\na,b\n", "no column 'reference'"),
        ("", "no column 'input'"),
        ("input,reference,kind\n", "lists no pairs"),
        ("input,reference,kind\nchurch/a.png,church/c.png,x\n", "Line 2 .*c.png.* does not exist"),
        ("input,reference,kind\nchurch/a.png,,\n", "Line 2 .* has no kind"),
        ("input,reference,kind\n,church/a.png,x\n", "Line 2 .* has no input"),
        ("input,reference,kind\nchurch,,x\n", "Line 2 .*church, which does not exist"),
    ],
)
def test_a_broken_list_is_one_sentence(root: Path, text: str, sentence: str) -> None:
    (root / "broken.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        load_jobs(str(root / "broken.csv"), root)


def test_a_binary_file_is_no_list(root: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a CSV"):
        load_jobs(str(root / "church/a.png"), root)


def test_unknown_targets(root: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'urban100'"):
        load_jobs("urban10", root)
    with pytest.raises(DataError, match=r"list of pairs nowhere\.csv does not exist"):
        load_jobs("nowhere.csv", root)
    with pytest.raises(DataError, match="--root"):
        load_jobs("set5", root / "nowhere")


def test_benchmark_folders(root: Path) -> None:
    with pytest.raises(DataError, match="holds the images of"):
        load_jobs("set5", root)
    by_root = load_jobs("set5", root / "church")
    assert [job.input.name for job in by_root] == ["a.png", "b.png"]
    assert {job.kind for job in by_root} == {"set5"}
    (root / "church").rename(root / "Set5")
    by_name = load_jobs("set5", root)
    assert [job.relative(job.input) for job in by_name] == ["Set5/a.png", "Set5/b.png"]


def test_cufed5_has_five_kinds(root: Path) -> None:
    with pytest.raises(DataError, match="CUFED5"):
        load_jobs("cufed5", root)
    for group in ("000", "001"):
        for level in range(6):
            shutil.copy(root / "church/a.png", root / f"{group}_{level}.png")
    jobs = load_jobs("cufed5", root)
    assert [job.kind for job in jobs] == ["L1", "L2", "L3", "L4", "L5"] * 2
    assert jobs[6].references == (root / "001_2.png",)
    for job, references in zip(jobs, shuffled_references(jobs), strict=True):
        assert references[0].name[:3] != job.input.name[:3]
    (root / "001_4.png").unlink()
    with pytest.raises(DataError, match=r"001_4\.png"):
        load_jobs("cufed5", root)


def test_numbers_are_those_of_the_protocol(root: Path, jobs: list[EvaluationJob]) -> None:
    shares: list[float] = []
    result = evaluate(jobs, model="lanczos", progress=shares.append)
    hr = pixels(root / "church/a.png")[:60, :80]  # 61x82 cropped at the bottom and right
    lr = imresize(hr, scale=0.25)
    bicubic = imresize(lr, scale=4.0)
    lanczos = np.asarray(Image.fromarray(lr).resize((80, 60), Image.Resampling.LANCZOS))
    row = result["rows"][0]
    assert row["input"] == "church/a.png"
    assert row["reference"] == "church/b.png"
    assert row["kind"] == "moderate"
    assert row["psnr"] == psnr(lanczos, hr)
    assert row["ssim"] == ssim(lanczos, hr)
    assert row["bicubic_psnr"] == psnr(bicubic, hr)
    assert row["bicubic_ssim"] == ssim(bicubic, hr)
    assert row["haarpsi"] == haarpsi(lanczos, hr)
    assert row["bicubic_detail"] == detail_share(bicubic, hr)
    assert row["seconds"] >= 0
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_bicubic_gains_nothing_over_itself(jobs: list[EvaluationJob]) -> None:
    result = evaluate(jobs, model="bicubic", reference="none")
    assert result["mean"]["all"]["gain_psnr"] == 0.0
    assert result["mean"]["all"]["gain_ssim"] == 0.0
    assert all(row["reference"] == "" for row in result["rows"])


def test_means_by_kind(jobs: list[EvaluationJob]) -> None:
    result = evaluate(jobs, model="lanczos")
    rows, mean = result["rows"], result["mean"]
    assert list(mean) == ["moderate", "zoomed", "irrelevant", "matching", "all"]
    assert mean["moderate"]["psnr"] == pytest.approx((rows[0]["psnr"] + rows[1]["psnr"]) / 2)
    assert mean["matching"]["pairs"] == 3
    assert mean["all"]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in rows]))
    gain = mean["zoomed"]["psnr"] - mean["zoomed"]["bicubic_psnr"]
    assert mean["zoomed"]["gain_psnr"] == pytest.approx(gain)


def test_the_result_is_json_and_a_table(jobs: list[EvaluationJob]) -> None:
    result = evaluate(jobs, model="lanczos", reference="blank")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result) == {
        *("protocol", "model", "look", "ensemble", "reference", "run_by", "rows", "mean")
    }
    table = render_evaluation(result).splitlines()
    assert "lanczos" in table[0]
    assert "blank" in table[0]
    assert table[1].split()[:3] == ["kind", "pairs", "bicubic"]
    assert len({line.index(line.split()[1]) + len(line.split()[1]) for line in table[1:7]}) == 1
    assert "BT.601" in table[7]


def test_an_exact_copy_keeps_the_mean_finite(root: Path) -> None:
    Image.new("RGB", (40, 40), (9, 99, 199)).save(root / "flat.png")
    result = evaluate([EvaluationJob(root / "flat.png", (), "flat")], model="bicubic")
    assert result["mean"]["all"]["psnr"] == 100.0
    assert result["rows"][0]["input"] == str(root / "flat.png")  # no root: shown as it is


def test_given_and_none(root: Path, jobs: list[EvaluationJob], seen: Seen) -> None:
    evaluate(jobs, reference="given")
    lr, references = seen[0]
    assert lr.shape == (15, 20, 3)
    np.testing.assert_array_equal(references[0], pixels(root / "church/b.png"))
    assert seen[3][1] == []
    seen.clear()
    evaluate(jobs, reference="none")
    assert all(references == [] for _, references in seen)


def test_blank_self_upscaled(root: Path, jobs: list[EvaluationJob], seen: Seen) -> None:
    evaluate(jobs, reference="blank")
    assert seen[0][1][0].shape == pixels(root / "church/b.png").shape
    assert np.unique(seen[0][1][0]).tolist() == [128]
    assert seen[3][1][0].shape == (48, 68, 3)  # no reference is given: as large as the truth
    seen.clear()
    evaluate(jobs, reference="self")
    np.testing.assert_array_equal(seen[0][1][0], seen[0][0])
    seen.clear()
    evaluate(jobs, reference="upscaled")
    np.testing.assert_array_equal(seen[0][1][0], imresize(seen[0][0], scale=4.0))


def test_a_sheet_shows_what_was_measured(root: Path, jobs: list[EvaluationJob], seen: Seen) -> None:
    folder = root / "new" / "sheets"
    result = evaluate(jobs[2:], reference="given", sheets=folder)
    sheets = sorted(path.name for path in folder.iterdir())
    assert sheets == ["00.00dB_001_harbour-a.jpg", "00.00dB_002_harbour-b.jpg"]
    shown = pixels(folder / sheets[0]).astype(int)
    truth = pixels(root / "harbour" / "a.png")[:60, :80]
    assert shown.shape == (2 * (TITLE_HEIGHT + 60) + GAP, 3 * 80 + 2 * GAP, 3)

    def cell(row: int, column: int) -> NDArray[np.int_]:
        top, left = row * (TITLE_HEIGHT + 60 + GAP) + TITLE_HEIGHT, column * (80 + GAP)
        return shown[top : top + 60, left : left + 80]

    bicubic = imresize(imresize(truth, scale=0.25), scale=4.0)
    error = np.abs(luma(bicubic) - luma(truth)) * ERROR_GAIN
    for place, expected in (((0, 1), bicubic), ((0, 2), bicubic), ((1, 0), truth)):
        assert np.abs(cell(*place) - expected).mean() < 3  # JPEG
    assert np.abs(cell(1, 2)[..., 0] - np.minimum(error, 255)).mean() < 3
    assert result["rows"][0]["input"] == "harbour/a.png"


def test_shuffled_shows_another_scene(jobs: list[EvaluationJob], seen: Seen) -> None:
    result = evaluate(jobs, reference="shuffled")
    for row in result["rows"]:
        assert row["input"].split("/")[0] != row["reference"].split("/")[0]
    again = evaluate(jobs, reference="shuffled")
    assert [row["reference"] for row in again["rows"]] == [
        row["reference"] for row in result["rows"]
    ]
    # An irrelevant row's reference may show the scene of the input that it would be given to.
    root = jobs[0].input.parents[1]
    crossed = [
        *jobs,
        EvaluationJob(root / "harbour/a.png", (root / "church/a.png",), "irrelevant", root),
    ]
    for job, references in zip(crossed, shuffled_references(crossed), strict=True):
        assert references[0].parent != job.input.parent


def test_shuffling_what_cannot_be_shuffled(root: Path, jobs: list[EvaluationJob]) -> None:
    with pytest.raises(DataError, match="two scenes"):
        evaluate(jobs[:2], model="bicubic", reference="shuffled")
    with pytest.raises(DataError, match="no references to shuffle"):
        evaluate(load_jobs("set5", root / "church"), model="bicubic", reference="shuffled")


def test_max_side_shrinks_truth_and_reference(
    root: Path, jobs: list[EvaluationJob], seen: Seen
) -> None:
    result = evaluate(jobs[:1], max_side=48)
    lr, references = seen[0]
    assert lr.shape == (9, 12, 3)  # 61x82 -> 36x48
    expected = imresize(pixels(root / "church/b.png"), size=(34, 48))  # 50x70
    np.testing.assert_array_equal(references[0], expected)
    assert result["protocol"]["max_side"] == 48


def test_the_small_photo_may_be_a_jpeg_file(jobs: list[EvaluationJob]) -> None:
    clean = evaluate(jobs[:1], model="bicubic")
    packed = evaluate(jobs[:1], model="bicubic", jpeg=30)
    assert packed["mean"]["all"]["gain_psnr"] == pytest.approx(0.0)  # of the same damaged photo
    assert packed["mean"]["all"]["psnr"] < clean["mean"]["all"]["psnr"]
    assert "JPEG of quality 30" in packed["protocol"]["lr"]
    assert "JPEG" not in clean["protocol"]["lr"]
    with pytest.raises(DataError, match="The JPEG quality must be 1 to 100, not 0"):
        evaluate(jobs, jpeg=0)


@pytest.mark.parametrize("photo", ["area", "motion:9,30", "noise:8", "messenger"])
def test_any_kind_of_photo(root: Path, jobs: list[EvaluationJob], photo: str) -> None:
    result = evaluate(jobs, model="lanczos", photo=photo)
    kind = parse_kind(photo)
    assert result["protocol"]["photo"] == photo
    assert result["protocol"]["lr"] == kind.sentence
    for index, name in ((0, "church/a.png"), (1, "church/b.png")):  # noise: a row, a seed
        hr = pixels(root / name)
        hr = np.ascontiguousarray(hr[: hr.shape[0] // 4 * 4, : hr.shape[1] // 4 * 4])
        lr = decode_lr(simulate(hr, kind, seed=index))
        enlarged = Image.fromarray(lr).resize(hr.shape[1::-1], Image.Resampling.LANCZOS)
        assert result["rows"][index]["psnr"] == psnr(np.asarray(enlarged), hr)
        assert result["rows"][index]["bicubic_psnr"] == psnr(imresize(lr, scale=4.0), hr)
    assert photo not in render_evaluation(evaluate(jobs[:1], model="lanczos"))
    assert kind.sentence in render_evaluation(result)


def test_matlab_is_the_default_and_jpeg_a_synonym(jobs: list[EvaluationJob]) -> None:
    def numbers(**choices: Any) -> dict[str, Any]:
        result = evaluate(jobs[:1], model="lanczos", **choices)
        del result["rows"][0]["seconds"], result["mean"]
        return result

    assert numbers() == numbers(photo="matlab")
    assert numbers()["protocol"]["lr"] == (
        "MATLAB-compatible antialiased bicubic (a = -0.5) of the truth, rounded to 8 bits"
    )
    assert numbers(jpeg=40) == numbers(photo="jpeg:40")
    with pytest.raises(DataError, match="--jpeg 40 is the same as --photo jpeg:40; give only one"):
        evaluate(jobs, photo="area", jpeg=40)
    with pytest.raises(DataError, match="no kind of photo 'mist'; the kinds are matlab, area"):
        evaluate(jobs, photo="mist")


def test_a_model_gets_the_jpeg_file_itself(jobs: list[EvaluationJob], monkeypatch: Any) -> None:
    files: list[object] = []

    def load_method(model: str, *_: object) -> run.Runner:
        def method(small: object, references: object) -> NDArray[np.uint8]:
            files.append(small)
            assert isinstance(small, bytes)
            return imresize(decode_lr(small), scale=4.0)

        return run.Runner(method)

    monkeypatch.setattr(run, "load_method", load_method)
    evaluate(jobs[:1], jpeg=60)
    photo = load_photo(files[0])  # pyright: ignore[reportArgumentType]
    assert photo.jpeg_quality == 60
    assert (photo.height, photo.width) == (15, 20)


def test_the_least_side_is_the_least_that_every_metric_takes() -> None:
    filters = max(SSIM_WINDOW, perceptual.MIN_SIDE)
    assert filters + 2 * BORDER <= MIN_SIDE < filters + 2 * BORDER + 4
    assert MIN_SIDE % 4 == 0


def test_what_cannot_be_evaluated(root: Path, jobs: list[EvaluationJob]) -> None:
    with pytest.raises(DataError, match="no pairs"):
        evaluate([])
    with pytest.raises(DataError, match="reference mode 'mine'"):
        evaluate(jobs, reference="mine")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="too small"):
        evaluate(jobs, model="bicubic", max_side=8)
    Image.new("RGB", (60, 18)).save(root / "thin.png")
    with pytest.raises(DataError, match=r"thin\.png is too small to measure \(60 x 18 pixels\)"):
        evaluate([EvaluationJob(root / "thin.png", (), "x")], model="bicubic")
    Image.new("RGB", (MIN_SIDE, MIN_SIDE)).save(root / "least.png")
    assert (
        evaluate([EvaluationJob(root / "least.png", (), "x")], model="bicubic")["rows"][0][
            "haarpsi"
        ]
        == 1
    )
    (root / "text.png").write_text("no photo", encoding="utf-8")
    with pytest.raises(RefsrError, match=r"text\.png"):
        evaluate([EvaluationJob(root / "text.png", (), "x")], model="bicubic")
    with pytest.raises(RefsrError, match="no model"):
        evaluate(jobs, model="no-such-model")


def test_detail_transfer_goes_through_the_upscaler(root: Path, jobs: list[EvaluationJob]) -> None:
    result = evaluate(jobs[:1], model="detail-transfer", reference="none")
    hr = pixels(root / "church/a.png")[:60, :80]
    # The upscaler rounds once; MATLAB's bicubic rounds, and clips, after each axis.
    bicubic = imresize(imresize(hr, scale=0.25).astype(np.float32), scale=4.0)
    once = np.clip(np.rint(bicubic), 0, 255).astype(np.uint8)
    assert result["rows"][0]["psnr"] == pytest.approx(psnr(once, hr), abs=1e-6)


@pytest.mark.parametrize(("name", "anchor"), [("set5", 28.81), ("set14", 26.32)])
def test_lanczos_meets_the_published_anchor(shared_data: Path, name: str, anchor: float) -> None:
    result = evaluate(load_jobs(name, shared_data / "sisr"), model="lanczos")
    assert result["mean"]["all"]["psnr"] == pytest.approx(anchor, abs=0.011)


def test_the_validation_list_matches_the_photos(shared_data: Path) -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "validation.csv"
    jobs = load_jobs(str(path), shared_data / "pairs")
    scenes = set((shared_data / "pairs" / "validation.txt").read_text(encoding="utf-8").split())
    shown_in_training = {"spw_42"}  # its building stands in spw_00, too
    assert {job.input.parent.name for job in jobs} == scenes - shown_in_training
    for job in jobs:
        same = job.input.parent == job.references[0].parent
        assert same == (job.kind != "irrelevant")
        assert job.references[0].parent.name in scenes
        assert job.input != job.references[0]
    shuffled_references(jobs)
