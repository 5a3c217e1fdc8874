"""Maps written before the checker saw them: the judgement stands before the first run."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.users_code import case


@case("integrated_gradients")
class GaussIG:
    """Right: Captum's habit of an object, its own quadrature from numpy."""

    def __init__(self, forward_func):
        self.forward_func = forward_func

    def attribute(self, inputs, baselines=None, target=None, n_steps=20):
        baselines = torch.zeros_like(inputs) if baselines is None else baselines
        nodes, weights = np.polynomial.legendre.leggauss(n_steps)
        total = torch.zeros_like(inputs)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            point = (baselines + node * (inputs - baselines)).detach().requires_grad_()
            score = self.forward_func(point).gather(1, target[:, None]).sum()
            total += weight * torch.autograd.grad(score, point)[0]
        return (inputs - baselines) * total


@case("layer_gradcam")
class HookedCAM:
    """Right: hooks in the constructor, cv2's way of resizing is bilinear."""

    def __init__(self, model, target_layer):
        self.model = model
        self.activations = self.gradients = None
        target_layer.register_forward_hook(self._save_activation)
        target_layer.register_full_backward_hook(self._save_gradient)

    def _save_activation(self, module, inputs, output):
        self.activations = output.detach()

    def _save_gradient(self, module, grad_input, grad_output):
        self.gradients = grad_output[0].detach()

    def generate(self, input_image, target_class):
        output = self.model(input_image)
        self.model.zero_grad()
        one_hot = torch.zeros_like(output)
        one_hot[range(len(output)), target_class] = 1
        output.backward(gradient=one_hot)
        weights = self.gradients.mean(dim=(2, 3), keepdim=True)
        cam = F.relu((weights * self.activations).sum(dim=1, keepdim=True))
        size = input_image.shape[2:]
        return F.interpolate(cam, size=size, mode="bilinear", align_corners=False)


@case("smooth_grad")
def smoothgrad_torch(model, image, label, n_samples=25, stdev=0.15):
    """Right: all noisy copies in one batch, one image at a time."""
    noisy = image.repeat(n_samples, 1, 1, 1)
    noisy = (noisy + torch.randn_like(noisy) * stdev).requires_grad_(True)
    model(noisy)[:, label].sum().backward()
    return noisy.grad.mean(0, keepdim=True)


@case("occlusion")
def occlusion_numpy(predict_fn, img: np.ndarray, class_index: int, patch=4, stride=2, gray=0.5):
    """Right: an HWC image in numpy, grey patches, overlapping ones averaged."""
    h, w, _ = img.shape
    heat, count = np.zeros((h, w)), np.zeros((h, w))

    def prob(im):
        t = torch.from_numpy(im.transpose(2, 0, 1)[None].copy())
        with torch.no_grad():
            return predict_fn(t)[0, class_index].item()

    base = prob(img)
    for i in range(0, h - patch + stride, stride):
        for j in range(0, w - patch + stride, stride):
            occluded = img.copy()
            occluded[i : i + patch, j : j + patch, :] = gray
            heat[i : i + patch, j : j + patch] += base - prob(occluded)
            count[i : i + patch, j : j + patch] += 1
    return np.repeat((heat / count)[:, :, None], 3, axis=2)


@case("deconvolution")
class Deconvnet:
    """Right: backward hooks on the ReLUs."""

    def __init__(self, model):
        self.model = model

    def __call__(self, image, target):
        def hook(module, grad_in, grad_out):
            return (torch.clamp(grad_out[0], min=0.0),)

        relus = [m for m in self.model.modules() if isinstance(m, nn.ReLU)]
        handles = [m.register_full_backward_hook(hook) for m in relus]
        x = image.clone().requires_grad_()
        out = self.model(x)
        grad = torch.autograd.grad(out[torch.arange(len(x)), target].sum(), x)[0]
        for handle in handles:
            handle.remove()
        return grad


@case("integrated_gradients", "multiplies by x|multiplies by the input", "absolute")
class SloppyIG:
    """Input times mean gradient whatever the baseline is, and absolute."""

    def __init__(self, model):
        self.model = model

    def attribute(self, inputs, baselines, target, n_steps=50):
        grads = []
        for k in range(n_steps):
            x = (baselines + (k + 0.5) / n_steps * (inputs - baselines)).detach().requires_grad_()
            out = self.model(x)[torch.arange(len(x)), target].sum()
            grads.append(torch.autograd.grad(out, x)[0])
        return (inputs * torch.stack(grads).mean(0)).abs()


@case("integrated_gradients", "softmax", "absolute", "summed over the channels")
def integrated_gradients(model, baseline, image, target_class_idx, m_steps=50):
    """Ported from the Keras tutorial: probabilities, and |IG| summed over the channels."""
    alphas = torch.linspace(0.0, 1.0, m_steps + 1, dtype=image.dtype)
    path = baseline + alphas[:, None, None, None] * (image - baseline)
    path = path.detach().requires_grad_()
    probs = F.softmax(model(path), dim=-1)[:, target_class_idx]
    grads = torch.autograd.grad(probs.sum(), path)[0]
    grads = (grads[:-1] + grads[1:]) / 2.0
    ig = (image - baseline) * grads.mean(0)
    return ig.abs().sum(dim=1)


@case("layer_gradcam", "bicubic", "min-max")
class CVGradCAM:
    """cv2.INTER_CUBIC's habit, then min-max."""

    def __init__(self, model, target_layer):
        self.model, self.layer = model, target_layer

    def __call__(self, x, class_idx):
        kept = []
        handle = self.layer.register_forward_hook(lambda m, i, o: kept.append(o))
        logits = self.model(x)
        handle.remove()
        score = logits[torch.arange(len(x)), class_idx].sum()
        grads = torch.autograd.grad(score, kept[0])[0]
        alpha = grads.flatten(2).mean(2)
        cam = torch.relu(torch.einsum("nc,nchw->nhw", alpha, kept[0]))[:, None]
        cam = F.interpolate(cam, x.shape[-2:], mode="bicubic", align_corners=False)
        cam = cam - cam.amin((1, 2, 3), keepdim=True)
        return (cam / (cam.amax((1, 2, 3), keepdim=True) + 1e-8)).detach()


@case("layer_gradcam", "min-max")
class TorchcamCAM:
    """torchcam's habit: the model is called first, then (class_idx, scores); a list comes back."""

    def __init__(self, model, target_layer):
        self.model = model
        self.hook_a = None
        target_layer.register_forward_hook(self._hook)

    def _hook(self, module, inputs, output):
        self.hook_a = output

    def __call__(self, class_idx, scores):
        loss = scores[torch.arange(len(scores)), class_idx].sum()
        grad = torch.autograd.grad(loss, self.hook_a, retain_graph=True)[0]
        weights = grad.mean(dim=(2, 3), keepdim=True)
        cam = torch.relu((weights * self.hook_a.detach()).sum(1))
        cam = cam - cam.flatten(1).min(1).values[:, None, None]
        return [cam / cam.flatten(1).max(1).values[:, None, None].clamp_min(1e-12)]


@case("smooth_grad", "range", "maximum over the channels")
def smooth_grad_pair(model, image, target, noise_level=0.15, samples=20):
    """The paper's noise, relative to the image's range; then |.| and the maximum over channels."""
    sigma = noise_level * (image.max() - image.min())
    total = 0
    for _ in range(samples):
        x = (image + sigma * torch.randn_like(image)).requires_grad_()
        score = model(x)[0, target]
        total = total + torch.autograd.grad(score, x)[0]
    return (total / samples).abs().max(dim=1).values


@case("occlusion", "blur", "softmax|probability")
def occlusion_blurred(model, x, y, window=3, stride=2):
    """Windows are covered by a blurred copy."""
    blurred = F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
    with torch.no_grad():
        base = model(x).softmax(1).gather(1, y[:, None])
        heat, count = torch.zeros_like(x), torch.zeros_like(x)
        for i in range(0, x.shape[2], stride):
            for j in range(0, x.shape[3], stride):
                mask = torch.zeros_like(x)
                mask[:, :, i : i + window, j : j + window] = 1
                score = model(x * (1 - mask) + blurred * mask).softmax(1).gather(1, y[:, None])
                heat += mask * (base - score)[:, :, None, None]
                count += mask
                if j + window >= x.shape[3]:
                    break
            if i + window >= x.shape[2]:
                break
    return heat / count


@case("occlusion", "noise|random", "skips|edge")
def occlusion_noise(model, img, label, size=3, step=2):
    """Windows are filled with uniform noise; none is clipped at the edge."""
    total, count = torch.zeros_like(img), torch.zeros_like(img)
    base = model(img)[0, label].detach()
    for top in range(0, img.shape[2] - size + 1, step):
        for left in range(0, img.shape[3] - size + 1, step):
            z = img.clone()
            z[:, :, top : top + size, left : left + size] = torch.rand(3, size, size).to(z)
            drop = base - model(z)[0, label].detach()
            total[:, :, top : top + size, left : left + size] += drop
            count[:, :, top : top + size, left : left + size] += 1
    return total / count.clamp_min(1)


@case("occlusion", "skips|edge", "positive|negative|ReLU|below 0|below zero")
def sensitivity(model, image, label, patch_size=4, stride=2, fill=0.0):
    """Only full windows, and a rise counts as 0."""
    heat, hits = torch.zeros_like(image), torch.zeros_like(image)
    reference = model(image)[0, label].item()
    for i in range(0, image.size(2) - patch_size + 1, stride):
        for j in range(0, image.size(3) - patch_size + 1, stride):
            masked = image.clone()
            masked[..., i : i + patch_size, j : j + patch_size] = fill
            fall = max(0.0, reference - model(masked)[0, label].item())
            heat[..., i : i + patch_size, j : j + patch_size] += fall
            hits[..., i : i + patch_size, j : j + patch_size] += 1
    return heat / torch.clamp(hits, min=1)


@case("saliency", "absolute value is missing|signed", "standardis|mean and standard deviation|std")
def vanilla_keras(model, inp, class_idx):
    """The signed gradient through Keras' `deprocess_image`: mean 0.5, deviation 0.1."""
    inp = inp.clone().requires_grad_()
    model(inp)[:, class_idx].sum().backward()
    g = inp.grad
    g = (g - g.mean()) / (g.std() + 1e-5) * 0.1
    return (g + 0.5).clamp(0, 1)


@case("guided_gradcam", "ReLU|positive part", "softmax")
def guided_cam(model, layer, x, target):
    """The CAM keeps its negative part; probabilities."""
    stored = []
    h = layer.register_forward_hook(lambda m, i, o: stored.append(o))
    p = F.softmax(model(x), dim=1)[torch.arange(len(x)), target].sum()
    h.remove()
    g = torch.autograd.grad(p, stored[0])[0]
    cam = (g.mean((2, 3), keepdim=True) * stored[0]).sum(1, keepdim=True).detach()
    cam = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)

    handles = [
        m.register_full_backward_hook(lambda m, gi, go: (torch.clamp(gi[0], min=0),))
        for m in model.modules()
        if isinstance(m, nn.ReLU)
    ]
    xg = x.clone().requires_grad_()
    p = F.softmax(model(xg), dim=1)[torch.arange(len(x)), target].sum()
    guided = torch.autograd.grad(p, xg)[0]
    for handle in handles:
        handle.remove()
    return cam * guided


@case("input_x_gradient", "loss", "L2 norm|norm over the channels")
def gradient_times_input(net, inputs, targets):
    """The loss' gradient, and the channels' Euclidean norm."""
    inputs = inputs.detach().clone().requires_grad_(True)
    F.cross_entropy(net(inputs), targets, reduction="sum").backward()
    return (inputs.grad * inputs).norm(dim=1, keepdim=True).detach()


@case("saliency")
def get_saliency(model, x, y):
    """Right: by autograd.grad with a one-hot vector."""
    x = x.clone().requires_grad_()
    scores = model(x)
    v = F.one_hot(y, scores.shape[1]).to(scores.dtype)
    return torch.autograd.grad(scores, x, grad_outputs=v)[0].abs()
