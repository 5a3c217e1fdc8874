"""Models from files of every kind: TorchScript, exported programs, Lightning's checkpoints."""

from __future__ import annotations

import sys
import zipfile

import pytest
import torch

import bridge
from bridge.load import load_model
from tests.networks import Plain, images, seeded

LABELS = [0, 1, 2, 3]
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


def scripted(path):
    torch.jit.script(seeded(Plain)).save(str(path / "a.pt"))
    return f"torchscript:{path / 'a.pt'}"


def traced(path):
    torch.jit.trace(seeded(Plain), images(4)).save(str(path / "a.pt"))
    return f"torchscript:{path / 'a.pt'}"


def frozen(path):
    torch.jit.freeze(torch.jit.script(seeded(Plain))).save(str(path / "a.pt"))
    return f"torchscript:{path / 'a.pt'}"


def exported(path):
    dynamic = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(seeded(Plain), (images(4),), dynamic_shapes=dynamic)
    torch.export.save(program, path / "a.pt2")
    return f"export:{path / 'a.pt2'}"


FILES = (scripted, traced, frozen, exported)


@pytest.mark.parametrize("save", FILES)
def test_a_model_from_a_file_gives_the_plain_models_gradients_and_attacks(save, tmp_path):
    model, plain, x = load_model(save(tmp_path)), bridge.wrap(seeded(Plain)), images(4)
    for method in ("saliency", "fgsm"):
        for implementation in bridge.registry.get(method).implementations():
            found, expected = (
                bridge.run(method, each, x, LABELS, implementation=implementation).output
                for each in (model, plain)
            )
            assert torch.allclose(found, expected, atol=1e-6), (method, implementation)
    if save is not frozen:  # whose weights are constants
        wide = bridge.run("saliency", model.astype(torch.float64), x.double(), LABELS).output
        assert wide.dtype == torch.float64


@pytest.mark.parametrize("save", FILES)
def test_what_needs_layers_inside_a_file_says_so(save, tmp_path):
    with pytest.raises(ValueError, match=r"scripted|exported"):
        bridge.run("layer_gradcam", load_model(save(tmp_path)), images(4), LABELS)


@pytest.mark.parametrize("source", ["torchscript:{}/a.pt", "export:{}/a.pt2"])
def test_files_that_are_no_models_are_refused(source, tmp_path):
    source = source.format(tmp_path)
    with pytest.raises(ValueError, match=r"there is no file .*: it is not there"):
        load_model(source)
    path = tmp_path / source.rpartition("/")[2]
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"expected what torch\..*\.save writes"):
        load_model(source)
    torch.save(seeded(Plain).state_dict(), path)
    with pytest.raises(ValueError, match=r"expected what torch\..*\.save writes"):
        load_model(source)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_an_exported_program_with_pickles_is_refused(tmp_path, capsys):
    source = exported(tmp_path)
    torch.save(Evil(), tmp_path / "evil.pt")
    with zipfile.ZipFile(tmp_path / "a.pt2") as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    sample = next(name for name in parts if "/sample_inputs/" in name)
    weights = next(name for name in parts if name.endswith("weights_config.json"))
    for name, content in (
        (sample, (tmp_path / "evil.pt").read_bytes()),
        (weights, parts[weights].replace(b'"use_pickle": false', b'"use_pickle": true', 1)),
    ):
        with zipfile.ZipFile(tmp_path / "a.pt2", "w") as changed:
            for each, before in parts.items():
                changed.writestr(each, content if each == name else before)
        with pytest.raises(ValueError, match=r"holds pickles .* run any code: it is refused"):
            load_model(source)
    assert "code ran" not in capsys.readouterr().out


LITS = """
import lightning as L
import torch
from torch import nn

class Lit(L.LightningModule):
    def __init__(self, width=2, odd=None):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))

    def forward(self, x):
        return self.net(x)

class Odd:
    pass
"""


@pytest.fixture
def lit(tmp_path):
    lightning = pytest.importorskip("lightning")
    (tmp_path / "lit.py").write_text(LITS)
    module = bridge.load.load_object(f"{tmp_path}/lit.py:Lit")(width=5)
    module(images(1))

    def save(name, **hyper):
        for key, value in hyper.items():
            module.hparams[key] = value
        checkpoint = {
            "state_dict": module.state_dict(),
            "hyper_parameters": dict(module.hparams),
            "pytorch-lightning_version": lightning.__version__,
        }
        torch.save(checkpoint, tmp_path / name)
        return f"lightning:{tmp_path}/lit.py:Lit@{tmp_path / name}"

    return module, save


@pytest.mark.filterwarnings("ignore:.*[lL]azy.*")
def test_a_lightning_checkpoint_brings_its_hyper_parameters(lit):
    module, save = lit
    model, x = load_model(save("a.ckpt"), mean=0.5, std=0.5), images(4)
    assert not model.module.training
    with torch.no_grad():
        assert torch.equal(model(x), module((x - 0.5) / 0.5))
    found = bridge.compare(
        model, x, LABELS, methods=["layer_gradcam", "guided_backprop", "fgsm"], progress=False
    )
    assert set(found.agreement["verdict"]) <= {"equal", "rounding"}
    assert found.failures.empty


@pytest.mark.filterwarnings("ignore:.*[lL]azy.*")
def test_lightning_checkpoints_that_do_not_fit_are_refused(lit, tmp_path):
    _, save = lit
    source = save("a.ckpt")
    for wrong, words in (
        (source.replace(":Lit@", ":Odd@"), "is Odd, expected a class of LightningModule"),
        (source.rpartition("@")[0], "should be FILE.py:CLASS@CHECKPOINT"),
        (source.replace("a.ckpt", "b.ckpt"), "there is no file"),
        (save("wide.ckpt", width=7), "cannot be made of .*size mismatch"),
        (save("odd.ckpt", odd=Evil()), "could run any code: it is refused"),
    ):
        with pytest.raises(ValueError, match=words):
            load_model(wrong)


@pytest.mark.parametrize(
    "package, extra, source",
    [
        ("timm", "timm", "timm:resnet18"),
        ("transformers", "hf", "hf:somebody/something"),
        ("lightning", "lightning", "lightning:{}/lit.py:Lit@{}/lit.py"),
    ],
)
def test_a_missing_extra_is_named_by_the_command_that_installs_it(
    package, extra, source, tmp_path, monkeypatch
):
    (tmp_path / "lit.py").write_text(LITS)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError) as refusal:
        load_model(source.format(tmp_path, tmp_path))
    assert str(refusal.value) == f'{package} is not installed: pip install "gradbridge[{extra}]"'


def test_a_layer_of_a_compiled_model_keeps_its_name():
    compiled = torch.compile(seeded(Plain), backend="eager")
    plain = bridge.wrap(seeded(Plain), layer="3")
    model = bridge.wrap(compiled, layer="3")
    found, expected = (
        bridge.run("layer_gradcam", each, images(4), LABELS).output for each in (model, plain)
    )
    assert torch.allclose(found, expected, atol=1e-7)
    assert bridge.wrap(compiled, layer=compiled._orig_mod[3]).layer == model.layer


def test_weights_saved_from_a_compiled_model_fit_the_plain_one_and_back(tmp_path):
    compiled = torch.compile(seeded(Plain), backend="eager")
    torch.save(compiled.state_dict(), tmp_path / "compiled.pt")
    torch.save(seeded(Plain).state_dict(), tmp_path / "plain.pt")
    for file in ("compiled.pt", "plain.pt"):
        for target in (Plain(), torch.compile(Plain(), backend="eager")):
            bridge.load.load_weights(target, tmp_path / file)
            assert torch.equal(target.eval()(images(1)), seeded(Plain)(images(1)))
