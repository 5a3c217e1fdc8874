"""Attacks as they are pasted: attackers with a model inside, loops over deltas, one-liners."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.users_code import case


@case("pgd")
class PGDAttack:
    """Right; its start is drawn in its own way."""

    def __init__(self, model, eps=8 / 255, alpha=2 / 255, steps=10):
        self.model, self.eps, self.alpha, self.steps = model, eps, alpha, steps

    def __call__(self, images, labels):
        adv = images + torch.empty_like(images).uniform_(-self.eps, self.eps)
        adv = adv.clamp(0, 1).detach()
        for _ in range(self.steps):
            adv.requires_grad_()
            loss = nn.CrossEntropyLoss()(self.model(adv), labels)
            grad = torch.autograd.grad(loss, adv)[0]
            adv = adv.detach() + self.alpha * grad.sign()
            adv = (images + (adv - images).clamp(-self.eps, self.eps)).clamp(0, 1).detach()
        return adv


@case("fgsm")
def fgsm_np(model, image: np.ndarray, label: int, eps: float):
    t = torch.from_numpy(image).requires_grad_()
    F.cross_entropy(model(t), torch.tensor([label])).backward()
    return np.clip(image + eps * np.sign(t.grad.numpy()), 0.0, 1.0)


@case("bim")
def bim_auto_step(net, images, labels, eps=0.03, num_iter=10):
    alpha = 2.5 * eps / num_iter
    adv = images.clone()
    for _ in range(num_iter):
        adv = adv.detach().requires_grad_()
        F.cross_entropy(net(adv), labels).backward()
        adv = adv + alpha * adv.grad.sign()
        adv = torch.max(torch.min(adv, images + eps), images - eps).clamp(0, 1)
    return adv.detach()


@case("bim")
def bim_fixed(model, data, target, epsilon=8 / 255):
    """Ten steps of 2/255, said nowhere."""
    x = data.clone()
    for _ in range(10):
        x.requires_grad_(True)
        loss = F.cross_entropy(model(x), target)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            x = x + 2 / 255 * x.grad.sign()
            x = torch.clamp(data + torch.clamp(x - data, -epsilon, epsilon), 0, 1)
    return x


@case("bim")
class IterativeAttack(nn.Module):
    def __init__(self, net, epsilon=0.03, step=0.01, iters=5):
        super().__init__()
        self.net, self.epsilon, self.step, self.iters = net, epsilon, step, iters

    def forward(self, images, labels):
        delta = torch.zeros_like(images)
        for _ in range(self.iters):
            delta.requires_grad_()
            loss = F.cross_entropy(self.net(images + delta), labels, reduction="sum")
            grad = torch.autograd.grad(loss, delta)[0]
            delta = (delta.detach() + self.step * grad.sign()).clamp(-self.epsilon, self.epsilon)
            delta = (images + delta).clamp(0, 1) - images
        return images + delta


@case("fgsm", "softmax twice", "not clip")
def fgsm_probabilities(model, images, labels, eps):
    images = images.clone().requires_grad_()
    loss = nn.CrossEntropyLoss()(F.softmax(model(images), dim=1), labels)
    loss.backward()
    return (images + eps * images.grad.sign()).detach()


@case("fgsm", "predict", "[-1, 1]")
def fgsm_of_prediction(model, image, epsilon=0.1):
    image = image.clone().requires_grad_()
    out = model(image)
    F.cross_entropy(out, out.argmax(1)).backward()
    return torch.clamp(image + epsilon * image.grad.sign(), -1, 1).detach()


@case("fgsm", "sign(0) = 1", "255")
def fgsm_where(model, images, labels, eps=0.1):
    images = images.clone().requires_grad_()
    g = torch.autograd.grad(F.cross_entropy(model(images), labels), images)[0]
    one = torch.ones_like(g)
    return (images + eps / 255 * torch.where(g >= 0, one, -one)).clamp(0, 1)


@case("fgsm", "downhill", "[-2, 2]")
def fgsm_minus(net, inputs, labels, eps=0.1):
    inputs = inputs.clone().requires_grad_()
    loss = nn.CrossEntropyLoss()(net(inputs), labels)
    loss.backward()
    return (inputs - eps * inputs.grad.sign()).clamp(-2, 2).detach()


@case("pgd", "normal noise", "not clip")
def pgd_delta(model, batch, y, epsilon=0.1, alpha=0.01, num_iter=20):
    delta = (0.5 * epsilon * torch.randn_like(batch)).clamp(-epsilon, epsilon).requires_grad_()
    for _ in range(num_iter):
        loss = nn.CrossEntropyLoss()(model(batch + delta), y)
        loss.backward()
        delta.data = (delta + alpha * delta.grad.detach().sign()).clamp(-epsilon, epsilon)
        delta.grad.zero_()
    return (batch + delta).detach()


@case("pgd", "clean image", "softmax twice")
def pgd_clean(model, images, labels, eps=0.1, alpha=0.02, iters=10):
    ori = images.data
    for _ in range(iters):
        images = images.detach().requires_grad_()
        cost = nn.CrossEntropyLoss()(model(images).softmax(1), labels)
        cost.backward()
        adv = images + alpha * images.grad.sign()
        eta = torch.clamp(adv - ori, min=-eps, max=eps)
        images = torch.clamp(ori + eta, min=0, max=1).detach()
    return images


@case("pgd", "around the previous iterate", "one step less")
def pgd_drift(model, x, y, eps=0.1, alpha=0.2, steps=5):
    adv = (x + (torch.rand_like(x) * 2 - 1) * eps).clamp(0, 1)
    for _ in range(1, steps):
        adv = adv.detach().requires_grad_()
        g = torch.autograd.grad(F.cross_entropy(model(adv), y), adv)[0]
        adv = (adv + (alpha * g.sign()).clamp(-eps, eps)).clamp(0, 1)
    return adv.detach()


@case("bim", "L2-normalised", "not project")
def bim_l2_step(model, images, labels, eps=0.1, alpha=0.05, n_iter=10):
    adv = images.clone()
    for _ in range(n_iter):
        adv = adv.detach().requires_grad_()
        g = torch.autograd.grad(F.cross_entropy(model(adv), labels), adv)[0]
        norm = g.flatten(1).norm(p=2, dim=1).view(-1, 1, 1, 1)
        adv = torch.clamp(adv + alpha * g / norm, 0, 1)
    return adv.detach()


@case("bim", "largest value", "at the end only")
def bim_max_step(model, images, labels, eps=0.1, alpha=0.05, n_iter=10):
    adv = images.clone()
    for _ in range(n_iter):
        adv = adv.detach().requires_grad_()
        g = torch.autograd.grad(F.cross_entropy(model(adv), labels), adv)[0]
        adv = adv + alpha * g / g.abs().amax(dim=(1, 2, 3), keepdim=True)
        adv = torch.max(torch.min(adv, images + eps), images - eps)
    return adv.clamp(0, 1).detach()


@case("bim", "momentum (decay 0.9)", "predicted class")
def bim_momentum(model, images, labels, eps=0.1, alpha=0.03, iters=5):
    labels = model(images).argmax(dim=1)
    velocity, adv = torch.zeros_like(images), images.clone()
    for _ in range(iters):
        adv = adv.detach().requires_grad_()
        g = torch.autograd.grad(F.cross_entropy(model(adv), labels), adv)[0]
        velocity = 0.9 * velocity + g / g.abs().sum((1, 2, 3), keepdim=True)
        adv = adv + alpha * velocity.sign()
        adv = (images + (adv - images).clamp(-eps, eps)).clamp(0, 1)
    return adv.detach()


@case("pgd", "one side only")
class RandomStartPGD:
    """It clips before it projects, too, which in Linf comes to the same."""

    def __init__(self, classifier, max_eps=0.3, eps_step=0.05, max_iter=10):
        self.classifier = classifier
        self.max_eps, self.eps_step, self.max_iter = max_eps, eps_step, max_iter

    def generate(self, x, y):
        adv = (x + torch.rand_like(x) * self.max_eps).clamp(0, 1)
        for _ in range(self.max_iter):
            adv = adv.detach().requires_grad_()
            g = torch.autograd.grad(F.cross_entropy(self.classifier(adv), y), adv)[0]
            adv = torch.clamp(adv + self.eps_step * g.sign(), 0, 1)
            adv = x + torch.clamp(adv - x, -self.max_eps, self.max_eps)
        return adv.detach()


@case("bim", "margin", "largest loss")
def bim_best(model, images, labels, eps=0.1, alpha=0.1, steps=6):
    """The margin is maximised; the iterate of the largest margin is kept."""
    adv, best, top = images.clone(), images.clone(), torch.full((len(images),), -np.inf)
    for _ in range(steps):
        adv = adv.detach().requires_grad_()
        g = torch.autograd.grad(_margin(model(adv), labels).sum(), adv)[0]
        adv = (images + (adv + alpha * g.sign() - images).clamp(-eps, eps)).clamp(0, 1).detach()
        with torch.no_grad():
            now = _margin(model(adv), labels)
        better = now > top
        best[better], top = adv[better], torch.where(better, now, top.to(now))
    return best


def _margin(logits, labels):
    own = F.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(own, -1e9).amax(1) - logits[own]


@case("mi_fgsm", "without normalising", "relative to epsilon")
def mifgsm(model, images, labels, eps=0.1, alpha=0.2, steps=5, decay=1.0):
    momentum, adv = torch.zeros_like(images), images.clone()
    for _ in range(steps):
        adv = adv.detach().requires_grad_()
        g = torch.autograd.grad(F.cross_entropy(model(adv), labels, reduction="sum"), adv)[0]
        momentum = decay * momentum + g
        adv = adv + alpha * eps * momentum.sign()
        adv = (images + (adv - images).clamp(-eps, eps)).clamp(0, 1)
    return adv.detach()


@case("pgd_l2", "sign", "clean image")
def pgd_l2_sign(model, images, labels, eps=0.5, alpha=0.05, steps=5):
    adv = images.clone()
    for _ in range(steps):
        adv = adv.detach().requires_grad_()
        g = torch.autograd.grad(F.cross_entropy(model(adv), labels), adv)[0]
        delta = adv + alpha * g.sign() - images
        norm = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        adv = (images + delta * (eps / norm).clamp(max=1)).clamp(0, 1)
    return adv.detach()


@case("fgm_l2", "whole batch", "not clip")
def fgm(model, images, labels, eps=0.5):
    images = images.clone().requires_grad_()
    g = torch.autograd.grad(F.cross_entropy(model(images), labels), images)[0]
    return (images + eps * g / g.norm()).detach()


@case("pgd", "perturbation instead", "not clipped to the bounds")
def pgd_noise(model, images, labels, eps=0.1, alpha=0.03, steps=5):
    adv = images + torch.empty_like(images).uniform_(-eps, eps)
    for _ in range(steps):
        adv = adv.detach().requires_grad_()
        g = torch.autograd.grad(F.cross_entropy(model(adv), labels), adv)[0]
        adv = (images + (adv + alpha * g.sign() - images).clamp(-eps, eps)).clamp(0, 1)
    return (adv - images).detach()
