"""int8 graphs, bf16 and compiled models: what they compute, what they are called, and what is refused."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
import torch
from onnx import numpy_helper
from onnxruntime.quantization.onnx_model import ONNXModel
from sklearn.metrics import roc_auc_score

from cinemae import Detector
from cinemae.config import DecisionConfig
from cinemae.errors import ConfigError, EvaluationError, ModelDirError, SourceError
from cinemae.evaluation import precision as job
from cinemae.evaluation.detectors import Setup, make_sources
from cinemae.evaluation.precision import CHECK_KEY, compare_precisions, export_int8
from cinemae.models import export
from cinemae.models.bundle import ModelBundle
from cinemae.models.card import model_card
from cinemae.models.directory import INT8_FILE, ONNX_FILE, STARTER, read_model_config
from cinemae.models.export_int8 import linear_layers, quantize_graph
from cinemae.models.graph_weights import load_graph
from cinemae.models.results import PrecisionCheck, Results
from cinemae.models.scorers import OnnxScorer, TorchScorer, make_scorer

pytestmark = pytest.mark.usefixtures("one_thread")

COMPILED = """
import json, sys
import numpy as np, torch
from cinemae.models.scorers import TorchScorer
torch.set_num_threads(1)
original, found = torch.compile, []
def compile_whole(model, **settings):
    found.append(settings)
    return original(model, backend="aot_eager", fullgraph=True, dynamic=False)
torch.compile = compile_whole
pixels = np.random.default_rng(0).normal(size=(3, 1, 3, 32, 32)).astype(np.float32)
plain, compiled = (TorchScorer(sys.argv[1], device="cpu", compiled=value) for value in (False, True))
apart = np.abs(plain.score(pixels).logit - compiled.score(pixels).logit).max()
apart = max(apart, np.abs(plain.lcas_map(pixels[0]) - compiled.lcas_map(pixels[0])).max())
print(json.dumps([found[0], float(apart)]))
"""
PIXELS = np.random.default_rng(0).normal(size=(5, 1, 3, 32, 32)).astype(np.float32)
TILES = np.random.default_rng(1).normal(size=(3, 4, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def int8_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with an int8 graph."""
    directory = shutil.copytree(tiny_model, tmp_path_factory.mktemp("int8") / "tiny")
    quantize_graph(directory, directory)
    return directory


@pytest.fixture
def copy(int8_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(int8_model, tmp_path / "copy")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, picture) -> tuple[str, str]:
    """Folders of eight photographs and of eight fakes, one file of which is none."""
    root = tmp_path_factory.mktemp("pictures")
    for name, start in (("real", 0), ("fake", 20)):
        (root / name).mkdir()
        for index in range(8):
            picture(start + index).save(root / name / f"{index}.png")
    (root / "fake" / "broken.png").write_bytes(b"no picture")
    return str(root / "real"), str(root / "fake")


class TestTheGraph:
    def test_scores_nearly_as_float32_does(self, int8_model: Path):
        exact, found = OnnxScorer(int8_model).score(PIXELS), OnnxScorer(int8_model, precision="int8").score(PIXELS)
        assert 0 < np.abs(found.prob_fake - exact.prob_fake).max() < 0.01
        np.testing.assert_allclose(found.lcas, exact.lcas, atol=0.1)
        np.testing.assert_array_equal(np.isnan(found.lcas), np.isnan(exact.lcas))

    def test_rounds_each_column_of_a_weight_to_the_nearest_step_of_its_own(self, int8_model: Path):
        graph = load_graph(int8_model / ONNX_FILE)
        ONNXModel(graph).replace_gemm_with_matmul()
        of_int8 = {w.name: numpy_helper.to_array(w) for w in onnx.load(int8_model / INT8_FILE).graph.initializer}
        layers = {node.name: node.input[1] for node in graph.graph.node if node.op_type == "MatMul"}
        weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.graph.initializer}
        names = [layers[name] for name in linear_layers(graph)]
        assert len(names) == 2 * 6 + 1 + 6 + 1  # two layers, the way into the decoder, one layer, the way out
        for name in names:
            steps, scale = of_int8[f"{name}_quantized"].astype(np.float64), of_int8[f"{name}_scale"]
            assert scale.shape == weights[name].shape[1:]
            assert (np.abs(steps * scale - weights[name]) <= scale * 0.5001).all()
            assert 2 * 255 * np.abs(steps).max() < 2**15  # two products fit 16 bits, which AVX2 adds them in

    def test_leaves_the_head_and_what_follows_in_float32(self, int8_model: Path):
        before, after = (onnx.load(int8_model / name).graph.initializer for name in (ONNX_FILE, INT8_FILE))
        of_head = {numpy_helper.to_array(w).tobytes() for w in before if w.name.startswith("head.")}
        kept = {numpy_helper.to_array(w).tobytes() for w in after}
        kept |= {np.ascontiguousarray(numpy_helper.to_array(w).T).tobytes() for w in after}
        assert len(of_head) >= 8
        assert of_head <= kept

    def test_a_score_depends_on_its_image_alone(self, tiny_model_pooled: Path, tmp_path: Path):
        model = shutil.copytree(tiny_model_pooled, tmp_path / "pooled")
        quantize_graph(model, model)
        scorer = OnnxScorer(model, precision="int8")
        together = scorer.score(TILES * np.array([1, 100, 0.01], np.float32)[:, None, None, None, None])
        for index, factor in enumerate((1, 100, 0.01)):
            alone = scorer.score(TILES[index : index + 1] * np.float32(factor))
            assert alone.logit[0] == together.logit[index]
            np.testing.assert_array_equal(alone.lcas[0], together.lcas[index])
        threads = OnnxScorer(model, precision="int8", num_threads=3).score(TILES)
        np.testing.assert_array_equal(threads.logit, scorer.score(TILES).logit)

    def test_has_the_masks_as_a_default_and_the_same_outputs(self, int8_model: Path):
        sessions = [onnxruntime.InferenceSession(str(int8_model / name)) for name in (ONNX_FILE, INT8_FILE)]
        exact, int8 = ([node.name for node in session.get_outputs()] for session in sessions)
        assert exact == int8
        scorer = OnnxScorer(int8_model, precision="int8")
        (logit,) = sessions[1].run(["logit"], {"pixel_values": PIXELS[0]})
        assert logit[0] == np.float32(scorer.score(PIXELS[:1]).logit[0])


class TestLargeWeights:
    def test_lie_beside_the_graph_and_score_the_same(self, copy: Path, monkeypatch):
        expected = OnnxScorer(copy, precision="int8").score(PIXELS)
        monkeypatch.setattr(export, "LARGE", 1000)
        whole = (copy / INT8_FILE).stat().st_size
        export.save_graph(onnx.load(copy / INT8_FILE), copy / INT8_FILE)
        (weights,) = copy.glob("*.data")
        assert weights.name.startswith("model.int8.")
        assert (copy / INT8_FILE).stat().st_size < whole - 1000
        found = OnnxScorer(copy, precision="int8").score(PIXELS)
        np.testing.assert_array_equal(found.logit, expected.logit)
        weights.unlink()
        with pytest.raises(ModelDirError, match=r"onnx cannot be used \("):
            OnnxScorer(copy, precision="int8")

    def test_go_with_the_graph_they_belong_to_and_no_other(self, copy: Path, tmp_path: Path, monkeypatch):
        monkeypatch.setattr(export, "LARGE", 1000)
        (copy / "model.int8.0123456789ab.data").write_bytes(b"of the graph before")
        (copy / "model.0123456789ab.data").write_bytes(b"of the float32 graph")
        quantize_graph(copy, tmp_path / "made")
        made = {path.name: path for path in (tmp_path / "made").iterdir()}
        assert len(made) == 2, "a graph and its weights"
        ModelBundle.read(copy).changed(without=(INT8_FILE,), files=made).write(copy)
        OnnxScorer(copy, precision="int8").score(PIXELS)
        names = sorted(file.name for file in copy.glob("*.data"))
        assert names == sorted(["model.0123456789ab.data", *(name for name in made if name.endswith(".data"))])

    def test_are_named_by_their_content(self, copy: Path, monkeypatch):
        monkeypatch.setattr(export, "LARGE", 1000)
        export.save_graph(onnx.load(copy / ONNX_FILE), copy / ONNX_FILE)
        graph = onnx.load(copy / ONNX_FILE)
        largest = max(graph.graph.initializer, key=lambda weight: np.prod(weight.dims))
        values = numpy_helper.to_array(largest) + 1
        largest.CopyFrom(numpy_helper.from_array(values, largest.name))
        export.save_graph(graph, copy / ONNX_FILE)
        assert len(list(copy.glob("model.*.data"))) == 2


class TestWhatIsRefused:
    def test_int8_without_its_graph(self, tiny_model: Path):
        with pytest.raises(ModelDirError, match=r"int8 scores with model\.int8\.onnx, .* run cinemae export --precis"):
            make_scorer(tiny_model, precision="int8")

    def test_a_float32_graph_in_the_place_of_an_int8_one(self, copy: Path):
        shutil.copy(copy / ONNX_FILE, copy / INT8_FILE)
        with pytest.raises(ModelDirError, match=r"model\.int8\.onnx computes in fp32, not int8: run cinemae export --"):
            OnnxScorer(copy, precision="int8")
        shutil.move(copy / INT8_FILE, copy / "other")
        quantize_graph(copy, copy)
        shutil.move(copy / INT8_FILE, copy / ONNX_FILE)
        with pytest.raises(ModelDirError, match=r"model\.onnx computes in int8, not fp32: run cinemae export\."):
            OnnxScorer(copy)

    def test_an_int8_graph_of_another_head(self, copy: Path):
        weights = (copy / "head.safetensors").read_bytes()
        (copy / "head.safetensors").write_bytes(weights[:-4] + b"\x00\x00\x20A")
        with pytest.raises(ModelDirError, match="another backbone, head .* run cinemae export --precision int8 again"):
            OnnxScorer(copy, precision="int8")

    def test_what_an_engine_cannot_do(self, int8_model: Path):
        with pytest.raises(ConfigError, match="precision must be auto, fp32, bf16 or int8, got 'fp16'"):
            make_scorer(int8_model, precision="fp16")
        with pytest.raises(ConfigError, match="int8 runs on the processor with ONNX Runtime, not on cuda"):
            make_scorer(int8_model, "cuda", precision="int8")
        with pytest.raises(ConfigError, match="int8 runs on the processor with ONNX Runtime, not compiled"):
            make_scorer(int8_model, precision="int8", compiled=True)
        with pytest.raises(ConfigError, match="ONNX Runtime computes in fp32 or int8 here, got 'bf16'"):
            OnnxScorer(int8_model, precision="bf16")
        with pytest.raises(ConfigError, match="torch computes in fp32 or bf16 here, got 'int8'"):
            TorchScorer(int8_model, device="cpu", precision="int8")

    def test_bf16_without_torch(self, tiny_model: Path):
        code = (
            "import sys; sys.modules['torch'] = None\n"
            "from cinemae.errors import MissingDependencyError\nfrom cinemae.models.scorers import make_scorer\n"
            f"try: make_scorer({str(tiny_model)!r}, precision='bf16')\n"
            "except MissingDependencyError as error: print(error)"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "torch is not installed: pip install 'cinemae[torch]'" in result.stdout

    def test_to_quantise_what_is_no_cinemae_graph(self, copy: Path, tmp_path: Path):
        graph = onnx.load(copy / ONNX_FILE)
        kept = [output for output in graph.graph.output if output.name not in ("lcas", "global_feature")]
        del graph.graph.output[:]
        graph.graph.output.extend(kept)
        for node in graph.graph.node:
            node.output[:] = [f"{name}_" if name in ("lcas", "global_feature") else name for name in node.output]
            node.input[:] = [f"{name}_" if name in ("lcas", "global_feature") else name for name in node.input]
        onnx.save(graph, copy / ONNX_FILE)
        with pytest.raises(ModelDirError, match="has no linear layer in its backbone"):
            quantize_graph(copy, tmp_path)
        (copy / ONNX_FILE).unlink()
        with pytest.raises(ModelDirError, match=r"an int8 graph is made from model\.onnx, .* run cinemae export"):
            quantize_graph(copy, tmp_path)


class TestChoice:
    def test_scores_say_their_precision_where_it_is_not_float32(self, int8_model: Path, photos: Path):
        plain = read_model_config(int8_model).model_id
        assert make_scorer(int8_model).model_id == make_scorer(int8_model, precision="fp32").model_id == plain
        assert isinstance(make_scorer(int8_model, precision="int8"), OnnxScorer)
        assert isinstance(make_scorer(int8_model, precision="bf16"), TorchScorer)
        for precision in ("int8", "bf16"):
            detector = Detector.from_pretrained(int8_model, device="cpu", precision=precision)
            assert detector.model_id == detector.scorer.model_id == f"{plain}+{precision}"
            assert detector.detect(photos / "a.png").model == f"{plain}+{precision}"
            assert detector.config.model_id == plain

    def test_evaluations_say_it_too(self, int8_model: Path):
        (source,) = make_sources(["cinemae"], Setup(model=str(int8_model), precision="int8"))
        assert source.columns[0].description.endswith("+int8")

    @pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # torch's own, when it loads its compiler
    def test_torch_on_a_processor_is_float32_unless_told_otherwise(self, tiny_model: Path):
        assert TorchScorer(tiny_model, device="cpu").precision == "fp32"
        scorer = make_scorer(tiny_model, "cpu", compiled=True)
        assert isinstance(scorer, TorchScorer)

    def test_cuda_devices_take_bf16_where_they_have_it(self, tiny_model: Path, monkeypatch):
        from cinemae.models.scorers import torch_precision

        cuda = torch.device("cuda")
        for has in (True, False):
            monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
            assert torch_precision("auto", cuda) == ("bf16" if has else "fp32")
            assert torch_precision("fp32", cuda) == "fp32"
        with pytest.raises(ConfigError, match="cuda does not compute in bf16: take fp32"):
            torch_precision("bf16", cuda)
        assert torch_precision("auto", torch.device("mps")) == "fp32"


class TestTorch:
    def test_bf16_scores_nearly_as_float32_does(self, tiny_model: Path):
        exact, found = (TorchScorer(tiny_model, device="cpu", precision=name) for name in ("fp32", "bf16"))
        assert {weight.dtype for weight in found._model.extractor.backbone.parameters()} == {torch.bfloat16}
        assert {weight.dtype for weight in found._model.head.parameters()} == {torch.float32}
        scores = found.score(PIXELS)
        assert 0 < np.abs(scores.prob_fake - exact.score(PIXELS).prob_fake).max() < 0.02
        assert scores.lcas.dtype == np.float32
        for index in range(len(PIXELS)):
            assert found.score(PIXELS[index : index + 1]).logit[0] == scores.logit[index]

    @pytest.mark.slow
    def test_the_compiled_model_scores_as_the_other_does(self, tiny_model: Path):
        """The model is one graph, any break in it would raise; traced alone, since a compiler takes a minute."""
        command = [sys.executable, "-c", COMPILED, str(tiny_model)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        settings, difference = json.loads(result.stdout)
        assert settings == {"mode": "default", "dynamic": False}
        assert difference < 1e-5

    def test_a_gpu_gets_several_images_at_once_and_results_that_later_calls_leave_alone(self, tiny_model: Path):
        """What a GPU does, on the processor: chunks of eight images, the last one filled up; outputs reused."""
        scorer, plain = (TorchScorer(tiny_model, device="cpu") for _ in range(2))
        scorer._chunk, sizes, reused = 8, [], {}

        def forward(pixel_values, noise):
            sizes.append(len(pixel_values))
            outputs = plain._model(pixel_values, noise)
            for index, output in enumerate(outputs):
                reused.setdefault(index, torch.empty_like(output)).copy_(output)
            return tuple(reused[index] for index in range(len(outputs)))

        scorer._forward = forward
        pixels = np.random.default_rng(2).normal(size=(19, 1, 3, 32, 32)).astype(np.float32)
        found = scorer.score(pixels)
        assert sizes == [8, 8, 8]
        np.testing.assert_allclose(found.logit, plain.score(pixels).logit, atol=1e-5)

    def test_pixels_go_to_a_gpu_from_pinned_memory(self, tiny_model: Path, monkeypatch):
        scorer = TorchScorer(tiny_model, device="cpu")
        calls = []
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: calls.append("pinned") or tensor)
        monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *to, **how: calls.append((to, how)) or tensor)
        scorer._device = torch.device("cuda")
        scorer._to_device(PIXELS)
        assert calls == ["pinned", ((torch.device("cuda"),), {"non_blocking": True})]


class TestExport:
    def test_writes_graph_figures_and_card(self, tiny_model: Path, tmp_path: Path, pictures):
        model = shutil.copytree(tiny_model, tmp_path / "model")
        (model / "results.json").write_text("{}")
        done = []
        found = export_int8(model, [pictures[0]], [pictures[1]], progress=lambda *counts: done.append(counts))
        assert done[-1] == (17, 17)
        assert (found.num_real, found.num_fake, found.num_unread) == (8, 8, 1)
        assert found.model == read_model_config(model).model_id
        assert sorted(path.name for path in model.iterdir()) == sorted(
            ["README.md", "results.json", INT8_FILE, *(path.name for path in tiny_model.iterdir())]
        )
        session = onnxruntime.InferenceSession(str(model / INT8_FILE))
        stated = json.loads(session.get_modelmeta().custom_metadata_map[CHECK_KEY])
        assert stated == json.loads((model / "results.json").read_text())["int8"]
        assert stated["max_deviation"] == found.max_deviation
        assert f"| images with another verdict | {found.verdict_changes} |" in (model / "README.md").read_text()
        files = [str(path) for folder in pictures for path in sorted(Path(folder).glob("?.png"))]
        detectors = [Detector.from_pretrained(model, precision=name) for name in ("fp32", "int8")]
        scores = [np.array([verdict.prob_fake for verdict in one.detect_batch(files)]) for one in detectors]
        assert found.mean_deviation == pytest.approx(np.abs(scores[0] - scores[1]).mean())
        labels = [0] * 8 + [1] * 8
        assert found.auc_int8 == pytest.approx(roc_auc_score(labels, scores[1]))
        assert found.auc_drop == pytest.approx(roc_auc_score(labels, scores[0]) - found.auc_int8)

    def test_refuses_a_graph_that_tells_images_apart_less_well(self, copy: Path, pictures, monkeypatch):
        before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
        monkeypatch.setattr(job, "MAX_AUC_DROP", -2.0)
        with pytest.raises(
            EvaluationError, match=r"int8 may cost at most -2\.0 of AUC, here it costs .* 8 photographs"
        ):
            export_int8(copy, [pictures[0]], [pictures[1]])
        assert {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()} == before

    def test_refuses_sources_that_do_not_do(self, copy: Path, pictures, tmp_path: Path):
        with pytest.raises(SourceError, match="nowhere"):
            export_int8(copy, [pictures[0]], [str(tmp_path / "nowhere")])
        (tmp_path / "one").mkdir()
        shutil.copy(Path(pictures[1]) / "0.png", tmp_path / "one")
        with pytest.raises(EvaluationError, match="two photographs and two generated images at least, got 8 and 1"):
            export_int8(copy, [pictures[0]], [str(tmp_path / "one")])

    def test_results_that_are_no_json_are_named(self, copy: Path, pictures):
        (copy / "results.json").write_text("{")
        with pytest.raises(ModelDirError, match=r"results\.json cannot be used: Expecting property name"):
            export_int8(copy, [pictures[0]], [pictures[1]])


def test_the_comparison_is_what_its_words_say():
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.repeat([0, 1], 100))
    exact = np.clip(labels * 0.2 + rng.uniform(0, 0.8, 200), 0, 1)
    rounded = np.clip(exact + rng.normal(0, 0.02, 200), 0, 1)
    found = compare_precisions(exact, rounded, labels, DecisionConfig(threshold=0.7, real_below=0.3))
    apart = np.abs(exact - rounded)
    assert (found.mean_deviation, found.max_deviation) == (pytest.approx(apart.mean()), apart.max())
    assert (apart > found.p99_deviation).sum() == 2
    words = [np.digitize(scores, [0.3, 0.7]) for scores in (exact, rounded)]
    assert found.verdict_changes == (words[0] != words[1]).sum() > 0
    assert found.auc_fp32 == pytest.approx(roc_auc_score(labels, exact))
    assert found.auc_int8 == pytest.approx(roc_auc_score(labels, rounded))
    assert found.auc_drop == pytest.approx(found.auc_fp32 - found.auc_int8)
    assert found.auc_drop_low < found.auc_drop < found.auc_drop_high


class TestCard:
    FIGURES = dict.fromkeys(
        ("mean_deviation", "p99_deviation", "max_deviation", "auc_fp32", "auc_int8", "auc_drop", "auc_drop_low",
         "auc_drop_high"), 0.0
    ) | {"num_real": 5, "num_fake": 6, "num_unread": 0, "verdict_changes": 7}  # fmt: skip

    def _card(self, model: Path, of_model: str | None) -> str:
        """The card of a model that says so of its int8 graph; None for nothing."""
        found = None if of_model is None else PrecisionCheck(**{**self.FIGURES, "model": of_model})
        return model_card(dataclasses.replace(ModelBundle.read(model), results=Results(int8=found)))

    def test_says_nothing_without_a_graph_or_figures(self, tiny_model: Path, int8_model: Path):
        assert "In int8" not in self._card(tiny_model, read_model_config(tiny_model).model_id)
        assert "In int8" not in self._card(int8_model, None)

    def test_does_not_show_figures_of_another_calibration(self, int8_model: Path):
        found = self._card(int8_model, "tiny@other")
        assert "calibrated again since its int8 graph was measured" in found
        assert "5 photographs and 6 generated images" not in found
        found = self._card(int8_model, read_model_config(int8_model).model_id)
        assert "5 photographs and 6 generated images" in found


class TestTheBundledModel:
    def test_has_an_int8_graph_that_passed_its_check(self):
        scorer = OnnxScorer(STARTER, precision="int8")
        stated = json.loads(scorer._session.get_modelmeta().custom_metadata_map[CHECK_KEY])
        assert stated["model"] == scorer.config.model_id
        assert stated["auc_drop"] <= job.MAX_AUC_DROP
        assert stated["num_real"] + stated["num_fake"] >= 400

    def test_scores_in_int8_as_its_check_says(self):
        photographs = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee()]
        exact, int8 = (Detector.from_pretrained(precision=name) for name in ("fp32", "int8"))
        most = ModelBundle.read(STARTER).results.int8.max_deviation
        for one, other in zip(exact.detect_batch(photographs), int8.detect_batch(photographs), strict=True):
            assert 0 < abs(one.prob_fake - other.prob_fake) < most
