"""Gradients as maps: saliency, input x gradient, integrated gradients, guided backprop."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.users_code import case


@case("saliency")
class Gradients:
    def __init__(self, forward_func):
        self.forward_func = forward_func

    def attribute(self, inputs, target):
        inputs = inputs.detach().clone().requires_grad_()
        self.forward_func(inputs).gather(1, target[:, None]).sum().backward()
        return inputs.grad.abs()


@case("integrated_gradients")
def ig_midpoint(model, inputs, target, baseline=0.0):
    """Right, with 64 steps of the middle rule."""
    total = 0
    for k in range(64):
        point = baseline + (k + 0.5) / 64 * (inputs - baseline)
        point = point.detach().requires_grad_()
        score = model(point)[torch.arange(len(point)), target].sum()
        total = total + torch.autograd.grad(score, point)[0]
    return (inputs - baseline) * total / 64


@case("integrated_gradients")
def ig_trapezoid(model, image, target_class, steps=20):
    """Right: numpy's trapezoid along one batch of points."""
    alphas = torch.linspace(0, 1, steps).view(-1, 1, 1, 1).to(image)
    points = (alphas * image).requires_grad_()
    grads = torch.autograd.grad(model(points)[:, target_class].sum(), points)[0].numpy()
    mean = (grads[:-1] + grads[1:]).mean(0) / 2
    return image.numpy() * mean


@case("saliency", "softmax", "maximum over the channels")
def simonyan(net, img, label):
    img = img.clone().requires_grad_()
    F.softmax(net(img), 1)[0, label].backward()
    return img.grad.abs().max(1)[0]


@case("saliency", "predicted class", "maximum over the channels", "[0, 1]")
def saliency_of_prediction(model, image):
    image = image.clone().requires_grad_()
    scores = model(image)
    scores[0, scores.argmax()].backward()
    s = image.grad.abs()[0].max(0)[0]
    return ((s - s.min()) / (s.max() - s.min())).numpy()


@case("saliency", "signed gradient", "summed over the channels")
def saliency_sum(model, images, labels):
    images = images.clone().requires_grad_()
    out = model(images)
    out[range(len(labels)), labels].sum().backward()
    return images.grad.sum(1)


@case("saliency", "loss|cross-entropy", "averaged over the channels")
def saliency_of_loss(model, images, labels):
    images = images.clone().requires_grad_()
    F.cross_entropy(model(images), labels, reduction="sum").backward()
    return images.grad.abs().mean(1, keepdim=True)


@case("saliency", "first image's target", "batch's maximum")
def saliency_first(model, images, labels):
    images = images.clone().requires_grad_()
    model(images)[:, labels[0]].sum().backward()
    s = images.grad.abs()
    return s / s.max()


@case("input_x_gradient", "absolute", "averaged over the channels")
def ixg(model, images, labels):
    images = images.clone().requires_grad_()
    model(images).gather(1, labels[:, None]).sum().backward()
    return (images * images.grad).abs().mean(1).detach()


@case("input_x_gradient", "softmax", "each image's maximum")
class InputTimesGradient:
    """Of log p; scaled by its maximum, that is the map of p."""

    def __init__(self, model):
        self.model = model

    def explain(self, x, class_idx):
        x = x.clone().requires_grad_()
        self.model(x).log_softmax(1)[0, class_idx].backward()
        m = (x * x.grad).detach()
        return m / m.abs().max()


@case("integrated_gradients", "factor (x - baseline) is missing", "absolute")
def ig_without_way(model, inputs, target, baselines=0.0, n_steps=25):
    total = torch.zeros_like(inputs)
    for k in range(1, n_steps + 1):
        z = (baselines + k / n_steps * (inputs - baselines)).detach().requires_grad_()
        total += torch.autograd.grad(model(z).gather(1, target[:, None]).sum(), z)[0]
    return (total / n_steps).abs()


@case("integrated_gradients", "softmax", "both ends")
def ig_linspace(model, images, targets, baseline=0.0, steps=30):
    grads = []
    for alpha in np.linspace(0, 1, steps):
        z = (baseline + alpha * (images - baseline)).requires_grad_()
        p = model(z).softmax(1)
        grads.append(torch.autograd.grad(p[range(len(p)), targets].sum(), z)[0])
    return (images - baseline) * torch.stack(grads).mean(0)


@case("integrated_gradients", "n_steps + 1", "summed over the channels")
def ig_one_more(model, images, targets, baseline=0.0, m_steps=20):
    total = 0
    for k in range(m_steps + 1):
        z = (baseline + k / m_steps * (images - baseline)).detach().requires_grad_()
        total = total + torch.autograd.grad(model(z).gather(1, targets[:, None]).sum(), z)[0]
    return ((images - baseline) * total / (m_steps + 1)).sum(1, keepdim=True)


@case("integrated_gradients", "multiplies by x", "[0, 1]")
class IG:
    def __init__(self, model, steps=16):
        self.model, self.steps = model, steps

    def generate(self, image, label, baseline=0.2):
        total = 0
        for k in range(self.steps):
            z = baseline + (k + 0.5) / self.steps * (image - baseline)
            z = z.detach().requires_grad_()
            total = total + torch.autograd.grad(self.model(z)[0, label], z)[0]
        m = image * total / self.steps
        return (m - m.min()) / (m.max() - m.min())


@case("smooth_grad", "absolute gradients")
def smoothgrad(model, images, labels, n_samples=10, sigma=0.1):
    total = 0
    for _ in range(n_samples):
        z = (images + sigma * torch.randn_like(images)).requires_grad_()
        total = total + torch.autograd.grad(model(z).gather(1, labels[:, None]).sum(), z)[0].abs()
    return total / n_samples


@case("guided_backprop", "softmax", "[0, 1]")
class GuidedBackprop:
    def __init__(self, model):
        self.model = model
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.register_full_backward_hook(lambda m, i, o: (i[0].clamp(min=0),))

    def __call__(self, img, target_class):
        img = img.clone().requires_grad_()
        self.model(img).softmax(1)[0, target_class].backward()
        g = img.grad
        return (g - g.min()) / (g.max() - g.min())
