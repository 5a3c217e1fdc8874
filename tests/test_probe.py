"""Probes see what training does and never change it."""

from __future__ import annotations

import copy
import sys
import types

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import bridge
from bridge.core.gradients import loss_gradient
from bridge.training import Probe, files, lightning_callback, tensorboard, wandb
from bridge.visualize.film import write_film
from tests.networks import Plain, images, seeded

LABELS = torch.tensor([0, 3, 2])
METHODS = {"saliency": {}, "smooth_grad": {"n_samples": 2}, "fgsm": {}, "pgd": {"steps": 2}}


def train(
    network: nn.Module,
    probe: Probe | None,
    *,
    steps: int = 6,
    accumulate: int = 1,
    amp: bool = False,
) -> list[Tensor]:
    """Batch norm, dropout, momentum, weight decay: everything that a careless probe disturbs."""
    torch.manual_seed(0)
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    for step in range(steps * accumulate):
        x, y = torch.rand(8, 3, 12, 12), torch.randint(4, (8,))
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss = F.cross_entropy(network(x), y)
        loss.backward()
        if probe is not None:
            probe.step()
        if (step + 1) % accumulate == 0:
            optimiser.step()
            optimiser.zero_grad()
    return [t.detach().clone() for t in network.state_dict().values()]


@pytest.mark.parametrize(("accumulate", "amp"), [(1, False), (3, False), (1, True)])
def test_training_is_bit_equal_with_and_without_a_probe(accumulate, amp):
    network = seeded(Plain)
    other = copy.deepcopy(network)
    probe = Probe(other, images(), LABELS, METHODS, every=2, integrate=True, margin=10.0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            train(network, None, accumulate=accumulate, amp=amp),
            train(other, probe, accumulate=accumulate, amp=amp),
            strict=True,
        )
    )
    assert other.training
    assert [record.step for record in probe.records] == list(range(2, 6 * accumulate + 1, 2))
    assert not probe.records[-1].failures


def test_a_record_is_what_bridge_says_of_the_model_at_that_step():
    network = seeded(Plain)
    seen = []
    probe = Probe(
        network,
        images(),
        LABELS,
        METHODS,
        every=3,
        sinks=[lambda r: seen.append(copy.deepcopy(network).eval())],
    )
    train(network, probe)
    for record, then in zip(probe.records, seen, strict=True):
        for name, params in METHODS.items():
            expected = bridge.run(
                name, bridge.wrap(then), images(), LABELS, implementation="fused", **params
            ).output
            assert torch.equal(record.outputs[name], expected), name
        assert record.accuracy == pytest.approx(
            float((then(images()).argmax(1) == LABELS).float().mean())
        )
    assert not torch.equal(
        probe.records[0].outputs["saliency"], probe.records[1].outputs["saliency"]
    )


def test_gradients_are_integrated_over_training_with_mean_and_variance():
    network = seeded(Plain)
    gradients: list[Tensor] = []

    def spy(record) -> None:
        frozen = bridge.wrap(copy.deepcopy(network).eval())
        gradients.append(loss_gradient(frozen, images(), LABELS).double())

    probe = Probe(network, images(), LABELS, every=1, integrate=True, sinks=[spy])
    train(network, probe)
    stack = torch.stack(gradients)
    torch.testing.assert_close(probe.integrated, stack.sum(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(probe.mean, stack.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(probe.variance, stack.var(0), rtol=0, atol=1e-12)


def test_the_state_goes_on_from_a_checkpoint():
    network = seeded(Plain)
    probe = Probe(network, images(), LABELS, every=1, integrate=True)
    train(network, probe, steps=3)
    again = Probe(network, images(), LABELS, every=1, integrate=True)
    again.load_state_dict(copy.deepcopy(probe.state_dict()))
    for p in (probe, again):
        p.step()
    assert torch.equal(again.integrated, probe.integrated)
    assert torch.equal(again.variance, probe.variance)
    assert again.steps == probe.steps == 4
    with pytest.raises(ValueError, match="of images"):
        again.load_state_dict({**probe.state_dict(), "integrated": torch.zeros(1, 3, 4, 4)})


class Bilinear(nn.Module):
    """Two classes compete by how bright two halves are; the others are far below. Colour images."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[..., :6].mean((1, 2, 3)), x[..., 6:].mean((1, 2, 3))
        return torch.stack([left, -9 - 0 * left, right, -9 - 0 * right], 1)


def test_confused_images_are_pushed_towards_their_own_two_classes():
    x = torch.full((4, 3, 12, 12), 0.5)
    x[0, ..., :6] = 0.9  # clear
    x[1, ..., :6] = 0.51
    x[2, ..., 6:] = 0.52  # the other class first: no other image's class may be mixed in
    network = Bilinear()
    probe = Probe(network, x, [0, 0, 2, 0], every=1, margin=0.1, push=1.0)
    (confused,) = [probe.step().confused]
    assert confused.index.tolist() == [1, 2, 3]
    assert confused.classes[:2].tolist() == [[0, 2], [2, 0]]
    assert confused.gap[0] == pytest.approx(0.01, abs=1e-6)
    for row, index in enumerate(confused.index.tolist()):
        for k, cls in enumerate(confused.classes[row].tolist()):
            half = slice(0, 6) if cls == 0 else slice(6, 12)
            expected = torch.zeros(3, 12, 12)
            expected[..., half] = 1 / (3 * 12 * 6)
            torch.testing.assert_close(confused.gradients[row, k], expected)
            assert network(confused.towards[row, k][None]).argmax() == cls
            assert float((confused.towards[row, k] - x[index]).norm()) == pytest.approx(
                1.0, abs=1e-4
            )
    assert all(p.grad is None for p in network.parameters())


def test_no_image_is_confused_where_the_margin_is_tiny():
    confused = Probe(seeded(Plain), images(), LABELS, every=1, margin=1e-9).step().confused
    assert len(confused.index) == len(confused.gradients) == 0


def test_a_method_that_fails_is_noted_and_never_stops_training():
    network = nn.Sequential(nn.Flatten(), nn.Linear(432, 4))  # no layer for Grad-CAM
    probe = Probe(network, images(), LABELS, ["saliency", "layer_gradcam"], every=1)
    record = probe.step()
    assert set(record.outputs) == {"saliency"}
    assert [failure.method for failure in record.failures] == ["layer_gradcam"]


def test_films_and_contact_sheets_show_every_probed_step(tmp_path):
    network = seeded(Plain)
    probe = Probe(network, images(), LABELS, METHODS, every=2)
    train(network, probe)
    for name in ("saliency", "fgsm"):
        with Image.open(probe.film(name, tmp_path / f"{name}.gif")) as film:
            assert film.n_frames == 3
            assert film.size == (36, 24)
        with Image.open(probe.contact_sheet(name, tmp_path / f"{name}.png")) as sheet:
            assert sheet.size == (36, 12 * 4)
    with pytest.raises(ValueError, match="no record of 'bim'"):
        probe.film("bim", tmp_path / "bim.gif")


def test_sinks_write_files_and_tensorboard(tmp_path):
    written = {}

    class Writer:
        def add_scalar(self, name, value, step):
            written[name] = (value, step)

        def add_images(self, name, grid, step):
            written[name] = (tuple(grid.shape), float(grid.min()), float(grid.max()))

    probe = Probe(
        seeded(Plain),
        images(),
        LABELS,
        every=1,
        margin=10.0,
        sinks=[files(tmp_path), tensorboard(Writer())],
        keep=False,
    )
    record = probe.step()
    saved = load_file(tmp_path / "step-000001.safetensors")
    assert torch.equal(saved["saliency"], record.outputs["saliency"])
    assert torch.equal(saved["confused.classes"], record.confused.classes)
    assert written["probe/accuracy"] == (record.accuracy, 1)
    assert written["probe/saliency"] == ((3, 1, 12, 12), 0.0, 1.0)
    assert probe.records == []


def test_wandb_gets_accuracy_and_pictures(monkeypatch):
    logged = []
    stand_in = types.ModuleType("wandb")
    stand_in.Image = lambda picture: picture.shape
    stand_in.log = lambda values, step: logged.append((values, step))
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    record = Probe(seeded(Plain), images(), LABELS, every=1, sinks=[wandb()]).step()
    assert logged == [
        ({"probe/accuracy": record.accuracy, "probe/saliency": [(12, 12)] * len(LABELS)}, 1)
    ]


class Careless(nn.Module):
    """Dropout that is on in evaluation mode too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x.flatten(1)[:, :4], training=True)


def test_a_network_that_draws_in_evaluation_mode_does_not_move_the_random_state():
    probe = Probe(Careless(), images(), LABELS, every=1, margin=10.0)
    state = torch.get_rng_state()
    first, second = probe.step(), probe.step()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.logits, second.logits)


@pytest.mark.parametrize("library", ["lightning.pytorch", "pytorch_lightning"])
def test_the_lightning_callback_steps_once_an_optimiser_step(monkeypatch, library):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    stand_in = types.ModuleType(library)
    stand_in.Callback = type("Callback", (), {})
    if "." in library:
        monkeypatch.setitem(sys.modules, "lightning", types.ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, library, stand_in)
    probe = Probe(seeded(Plain), images(), LABELS, every=1)
    callback = lightning_callback(probe)
    assert isinstance(callback, stand_in.Callback)
    for step in (0, 1, 1, 2):  # two batches of one accumulated step
        callback.on_train_batch_end(types.SimpleNamespace(global_step=step), None, None, None, 0)
    assert [record.step for record in probe.records] == [1, 2]
    state = callback.state_dict()
    assert state["steps"] == 2
    # From a checkpoint in the middle of accumulation: the step that was probed is not probed again.
    again = Probe(seeded(Plain), images(), LABELS, every=1)
    callback = lightning_callback(again)
    callback.load_state_dict(state)
    for step in (2, 3):
        callback.on_train_batch_end(types.SimpleNamespace(global_step=step), None, None, None, 0)
    assert [record.step for record in again.records] == [3]


def test_without_lightning_it_says_what_to_install(monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"gradbridge\[lightning\]"):
        lightning_callback(Probe(seeded(Plain), images(), LABELS))


def test_probes_check_their_input():
    with pytest.raises(ValueError, match="every must be a whole number of 1 or more"):
        Probe(seeded(Plain), images(), LABELS, every=0)
    with pytest.raises(ValueError, match="4 classes"):
        Probe(seeded(Plain), images(), [0, 1, 9])


def test_lightning_itself_trains_the_same_with_the_callback():
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = seeded(Plain)

        def training_step(self, batch, index):
            return F.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    def trained(probed: bool) -> tuple[list[Tensor], list[int]]:
        torch.manual_seed(0)
        module = Module()
        probe = Probe(module.network, images(), LABELS, every=2)
        data = torch.utils.data.TensorDataset(torch.rand(32, 3, 12, 12), torch.randint(4, (32,)))
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accumulate_grad_batches=2,
            callbacks=[lightning_callback(probe)] if probed else [],
        )
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))
        return [t.clone() for t in module.state_dict().values()], [
            record.step for record in probe.records
        ]

    plain, probed = trained(False), trained(True)
    assert all(torch.equal(a, b) for a, b in zip(plain[0], probed[0], strict=True))
    assert probed[1] == [2, 4]


def test_films_are_gif_webp_or_mp4(tmp_path):
    frames = [torch.full((28, 56, 3), value, dtype=torch.uint8).numpy() for value in (0, 120, 255)]
    assert write_film(tmp_path / "film.webp", frames).stat().st_size > 0
    with pytest.raises(ValueError, match=r"unknown kind of film '.avi'"):
        write_film(tmp_path / "film.avi", frames)
    with pytest.raises(ValueError, match="at least one frame"):
        write_film(tmp_path / "film.gif", [])
    imageio = pytest.importorskip("imageio", reason="imageio is not installed")
    pytest.importorskip("imageio_ffmpeg", reason="imageio's ffmpeg is not installed")
    read = imageio.mimread(write_film(tmp_path / "film.mp4", frames))
    assert len(read) == 3
    assert abs(float(read[1].mean()) - 120) < 5


def test_without_imageio_an_mp4_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio", None)
    monkeypatch.setitem(sys.modules, "imageio.v2", None)
    with pytest.raises(ModuleNotFoundError, match=r"gradbridge\[film\]"):
        write_film(tmp_path / "film.mp4", [torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()])
