"""Code that was written after the checker could explain the rest: eleven of fourteen at first."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.users_code import case


@case("pgd")
class TutorialPGD(nn.Module):
    def __init__(self, model, eps=8 / 255, alpha=2 / 255, steps=10):
        super().__init__()
        self.model = model
        self.eps = eps
        self.alpha = alpha
        self.steps = steps
        self.loss = nn.CrossEntropyLoss()

    def forward(self, images, labels):
        images = images.clone().detach()
        adv = images.clone().detach()
        adv = adv + torch.empty_like(adv).uniform_(-self.eps, self.eps)
        adv = torch.clamp(adv, 0, 1).detach()
        for _ in range(self.steps):
            adv.requires_grad = True
            cost = self.loss(self.model(adv), labels)
            grad = torch.autograd.grad(cost, adv)[0]
            adv = adv.detach() + self.alpha * grad.sign()
            delta = torch.clamp(adv - images, -self.eps, self.eps)
            adv = torch.clamp(images + delta, 0, 1).detach()
        return adv


@case("pgd", "starts from the clean image")
def pgd_attack(model, images, labels, eps=0.3, alpha=2 / 255, iters=40):
    loss = nn.CrossEntropyLoss()
    ori = images.data
    for _ in range(iters):
        images.requires_grad = True
        outputs = model(images)
        model.zero_grad()
        cost = loss(outputs, labels)
        cost.backward()
        adv = images + alpha * images.grad.sign()
        eta = torch.clamp(adv - ori, min=-eps, max=eps)
        images = torch.clamp(ori + eta, min=0, max=1).detach_()
    return images


@case("fgsm")
def fgsm_attack(image, epsilon, data_grad):
    return torch.clamp(image + epsilon * data_grad.sign(), 0, 1)


@case("saliency", "maximum over the channels")
def compute_saliency_maps(X, y, model):  # noqa: N803 - as the course has it
    model.eval()
    X = X.clone().requires_grad_()
    scores = model(X).gather(1, y.view(-1, 1)).squeeze()
    scores.backward(torch.ones_like(scores))
    return X.grad.abs().max(dim=1)[0]


@case("integrated_gradients", "one step more")
def ig_trapezoid_torch(model, input_tensor, target_class_idx, baseline=None, m_steps=50):
    if baseline is None:
        baseline = torch.zeros_like(input_tensor)
    alphas = torch.linspace(0, 1, m_steps + 1)
    grads = []
    for a in alphas:
        z = (baseline + a * (input_tensor - baseline)).requires_grad_()
        out = model(z)
        s = out[range(len(z)), target_class_idx].sum()
        grads.append(torch.autograd.grad(s, z)[0])
    g = torch.stack(grads)
    g = (g[:-1] + g[1:]) / 2
    return (input_tensor - baseline) * g.mean(0)


@case("integrated_gradients", "softmax probability")
def ig_sloppy(model, x, label, steps=30):
    total = torch.zeros_like(x)
    for k in range(steps):
        z = (x * k / steps).detach().requires_grad_()
        p = F.softmax(model(z), dim=1)
        p[torch.arange(len(x)), label].sum().backward()
        total += z.grad
    return x * total / steps


@case("layer_gradcam", "min-max")
class MinMaxCam:
    def __init__(self, model, target_layer):
        self.model = model
        self.g = None
        self.a = None
        target_layer.register_forward_hook(self.fwd)
        target_layer.register_full_backward_hook(self.bwd)

    def fwd(self, m, i, o):
        self.a = o.detach()

    def bwd(self, m, gi, go):
        self.g = go[0].detach()

    def __call__(self, x, class_idx=None):
        out = self.model(x)
        if class_idx is None:
            class_idx = out.argmax(1)
        self.model.zero_grad()
        out[torch.arange(len(x)), class_idx].sum().backward()
        w = self.g.mean(dim=(2, 3), keepdim=True)
        cam = F.relu((w * self.a).sum(1, keepdim=True))
        cam = F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False)
        cam = cam - cam.amin((2, 3), keepdim=True)
        cam = cam / (cam.amax((2, 3), keepdim=True) + 1e-8)
        return cam  # noqa: RET504


@case("occlusion", "softmax probability", "skips the clipped windows")
def occlusion_fall(model, image, label, occ_size=3, occ_stride=3, occ_pixel=0.5):
    h, w = image.shape[-2:]
    heat = torch.zeros(1, 1, h, w, dtype=image.dtype)
    count = torch.zeros_like(heat)
    with torch.no_grad():
        base = F.softmax(model(image), 1)[0, label]
        for i in range(0, h - occ_size + 1, occ_stride):
            for j in range(0, w - occ_size + 1, occ_stride):
                im = image.clone()
                im[:, :, i : i + occ_size, j : j + occ_size] = occ_pixel
                p = F.softmax(model(im), 1)[0, label]
                heat[:, :, i : i + occ_size, j : j + occ_size] += base - p
                count[:, :, i : i + occ_size, j : j + occ_size] += 1
    return heat / count.clamp(min=1)


@case("smooth_grad", "squared")
def smooth_grad_sq(model, x, target, stdev_spread=0.15, n=25):
    s = stdev_spread * (x.max() - x.min())
    t = torch.zeros_like(x)
    for _ in range(n):
        z = (x + torch.randn_like(x) * s).requires_grad_()
        t += torch.autograd.grad(model(z).gather(1, target[:, None]).sum(), z)[0] ** 2
    return t / n


@case("fgsm", "sign is reversed", "does not clip")
def fgsm_targeted_mess(net, imgs, lbls, eps):
    imgs = imgs.detach().clone().requires_grad_(True)
    F.nll_loss(F.log_softmax(net(imgs), 1), lbls).backward()
    return (imgs - eps * imgs.grad.sign()).detach()


@case("bim")
def bim(model, x, y, eps=8 / 255, n_iter=10):
    a = eps / n_iter
    adv = x.clone()
    for _ in range(n_iter):
        adv = adv.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(model(adv), y), adv)
        adv = adv + a * g.sign()
        adv = torch.max(torch.min(adv, x + eps), x - eps).clamp(0, 1)
    return adv.detach()


@case("input_x_gradient", "softmax probability", "absolute value", "summed over the channels")
def grad_times_input(model, x, y):
    x = x.clone().detach().requires_grad_()
    prob = torch.softmax(model(x), -1)
    prob.gather(1, y[:, None]).sum().backward()
    return (x * x.grad).abs().sum(1)


@case("guided_backprop")
class GuidedBackprop:
    def __init__(self, model):
        self.model = model
        for m in model.modules():
            if isinstance(m, nn.ReLU):
                m.register_full_backward_hook(lambda mod, gi, go: (torch.clamp(gi[0], min=0.0),))

    def generate(self, x, target):
        x = x.clone().requires_grad_()
        out = self.model(x)
        self.model.zero_grad()
        out.gather(1, target[:, None]).sum().backward()
        return x.grad
