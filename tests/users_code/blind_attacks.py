"""Attacks written before the checker saw them: the judgement stands before the first run."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.users_code import case


@case("fgsm")
class FGSM(nn.Module):
    """Right: a torchattacks-like class with a forward and a device."""

    def __init__(self, model, eps=0.007):
        super().__init__()
        self.model = model
        self.eps = eps
        self.device = next(model.parameters()).device

    def forward(self, images, labels):
        images = images.clone().detach().to(self.device)
        labels = labels.clone().detach().to(self.device)
        loss = nn.CrossEntropyLoss()
        images.requires_grad = True
        cost = loss(self.model(images), labels)
        grad = torch.autograd.grad(cost, images, retain_graph=False, create_graph=False)[0]
        adv_images = images + self.eps * grad.sign()
        return torch.clamp(adv_images, min=0, max=1).detach()


@case("bim")
class ProjectedGradientDescent:
    """Right: an ART-like estimator, numpy in and out, no random start."""

    def __init__(self, estimator, norm=np.inf, eps=0.3, eps_step=0.1, max_iter=10, clip=(0, 1)):
        self.estimator, self.norm, self.eps = estimator, norm, eps
        self.eps_step, self.max_iter, self.clip = eps_step, max_iter, clip

    def generate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        adv = x.copy()
        for _ in range(self.max_iter):
            grad = self._loss_gradient(adv, y)
            adv = adv + self.eps_step * np.sign(grad)
            adv = np.clip(adv, *self.clip)
            adv = x + np.clip(adv - x, -self.eps, self.eps)
        return adv

    def _loss_gradient(self, x, y):
        t = torch.tensor(x, requires_grad=True)
        F.cross_entropy(self.estimator(t), torch.tensor(y), reduction="sum").backward()
        return t.grad.numpy()


@case("fgsm")
def fast_gradient_method(model_fn, x, eps, clip_min=None, clip_max=None, y=None, targeted=False):
    """Right: cleverhans' signature; the range is the caller's."""
    x = x.clone().detach().requires_grad_(True)
    if y is None:
        _, y = torch.max(model_fn(x), 1)
    loss = torch.nn.CrossEntropyLoss()(model_fn(x), y)
    if targeted:
        loss = -loss
    loss.backward()
    adv_x = x + eps * torch.sign(x.grad)
    if clip_min is not None or clip_max is not None:
        adv_x = torch.clamp(adv_x, clip_min, clip_max)
    return adv_x.detach()


@case("mi_fgsm")
class MIFGSM:
    """Right: the mean of |g| instead of the sum scales all of the momentum alike."""

    def __init__(self, model, eps=16 / 255, steps=10, decay=1.0):
        self.model, self.eps, self.steps, self.decay = model, eps, steps, decay

    def __call__(self, images, labels):
        alpha = self.eps / self.steps
        momentum = torch.zeros_like(images)
        adv = images.clone().detach()
        for _ in range(self.steps):
            adv.requires_grad = True
            cost = nn.CrossEntropyLoss()(self.model(adv), labels)
            grad = torch.autograd.grad(cost, adv)[0]
            grad = grad / torch.mean(torch.abs(grad), dim=(1, 2, 3), keepdim=True)
            momentum = momentum * self.decay + grad
            adv = adv.detach() + alpha * momentum.sign()
            delta = torch.clamp(adv - images, -self.eps, self.eps)
            adv = torch.clamp(images + delta, 0, 1).detach()
        return adv


@case("bim")
def kurakin(model, images, labels, eps=8 / 255):
    """Right: alpha = 1/255 and the paper's number of steps."""
    iters = int(min(eps * 255 + 4, 1.25 * eps * 255))
    adv = images.detach().clone()
    for _ in range(iters):
        adv.requires_grad_(True)
        F.cross_entropy(model(adv), labels).backward()
        with torch.no_grad():
            adv = adv + (1 / 255) * adv.grad.sign()
            adv = torch.max(torch.min(adv, images + eps), images - eps).clamp(0, 1)
    return adv.detach()


@case("fgsm", "log-softmax|nll|minus the logit|logit", "does not clip")
def attack(model, data, target, epsilon=0.1):
    """The MNIST tutorial's nll_loss, on a model without log-softmax; nothing is clipped."""
    data = data.detach().requires_grad_()
    output = model(data)
    loss = F.nll_loss(output, target)
    model.zero_grad()
    loss.backward()
    return (data + epsilon * data.grad.data.sign()).detach()


@case("pgd", "start is not clipped", "downhill|reversed")
class PGD:
    """The cost is negated, as for a targeted attack, and the start is not clipped."""

    def __init__(self, model, eps=8 / 255, alpha=2 / 255, steps=10, random_start=True):
        self.model, self.eps, self.alpha = model, eps, alpha
        self.steps, self.random_start = steps, random_start

    def __call__(self, images, labels):
        adv = images.clone().detach()
        if self.random_start:
            adv = adv + torch.empty_like(adv).uniform_(-self.eps, self.eps)
        for _ in range(self.steps):
            adv.requires_grad = True
            cost = -nn.CrossEntropyLoss()(self.model(adv), labels)
            grad = torch.autograd.grad(cost, adv)[0]
            adv = adv.detach() + self.alpha * grad.sign()
            delta = torch.clamp(adv - images, min=-self.eps, max=self.eps)
            adv = torch.clamp(images + delta, min=0, max=1).detach()
        return adv


@case("bim", "predicted class", "does not project")
class BasicIterativeMethod:
    """ART's habit of taking the predicted labels; eps is never used."""

    def __init__(self, classifier, eps=0.3, eps_step=0.1, max_iter=10):
        self.classifier, self.eps = classifier, eps
        self.eps_step, self.max_iter = eps_step, max_iter

    def generate(self, x, y=None):
        with torch.no_grad():
            labels = self.classifier(torch.tensor(x)).argmax(1)
        adv = torch.tensor(x)
        for _ in range(self.max_iter):
            adv = adv.detach().requires_grad_()
            F.cross_entropy(self.classifier(adv), labels).backward()
            adv = torch.clamp(adv + self.eps_step * adv.grad.sign(), 0, 1)
        return adv.detach().numpy()


@case("mi_fgsm", "L2", "does not clip")
def mi_fgsm(model, x, y, eps=8 / 255, alpha=2 / 255, num_steps=10, mu=1.0):
    """The gradient is normalised by its L2 norm; nothing is clipped to the range."""
    g = torch.zeros_like(x)
    x_adv = x.clone()
    for _ in range(num_steps):
        x_adv = x_adv.detach().requires_grad_(True)
        grad = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)[0]
        norm = grad.view(len(x), -1).norm(p=2, dim=1).view(-1, 1, 1, 1)
        g = mu * g + grad / norm
        x_adv = x_adv + alpha * g.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps)
    return x_adv.detach()


@case("mi_fgsm", "ahead|Nesterov", "does not clip")
class NIFGSM:
    """Nesterov's point ahead, and no clipping to the range."""

    def __init__(self, model, eps=8 / 255, alpha=2 / 255, steps=10, decay=1.0):
        self.model, self.eps, self.alpha, self.steps, self.decay = model, eps, alpha, steps, decay

    def forward(self, images, labels):
        momentum = torch.zeros_like(images).detach()
        adv = images.clone().detach()
        for _ in range(self.steps):
            adv.requires_grad = True
            nes = adv + self.decay * self.alpha * momentum
            cost = nn.CrossEntropyLoss()(self.model(nes), labels)
            grad = torch.autograd.grad(cost, adv)[0]
            grad = self.decay * momentum + grad / grad.abs().mean(dim=(1, 2, 3), keepdim=True)
            momentum = grad
            adv = adv.detach() + self.alpha * grad.sign()
            adv = (images + torch.clamp(adv - images, -self.eps, self.eps)).detach()
        return adv

    __call__ = forward


@case("pgd", "Adam|another rule|other optimiser", "clean image")
def pgd_adam(model, x, y, eps=8 / 255, lr=0.01, steps=20):
    """Adam on delta, from zero."""
    delta = torch.zeros_like(x, requires_grad=True)
    opt = torch.optim.Adam([delta], lr=lr)
    for _ in range(steps):
        loss = -F.cross_entropy(model(x + delta), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        with torch.no_grad():
            delta.clamp_(-eps, eps)
            delta.copy_((x + delta).clamp(0, 1) - x)
    return (x + delta).detach()


@case("pgd")
def attack_pgd(model, x, y, epsilon=8 / 255, alpha=2 / 255, attack_iters=10, restarts=3):
    """Right: Wong's fast adversarial training, the worst of several restarts."""
    max_loss = torch.zeros(y.shape[0], dtype=x.dtype)
    max_delta = torch.zeros_like(x)
    for _ in range(restarts):
        delta = torch.zeros_like(x).uniform_(-epsilon, epsilon)
        delta.data = torch.max(torch.min(delta, 1 - x), 0 - x)
        delta.requires_grad = True
        for _ in range(attack_iters):
            output = model(x + delta)
            loss = F.cross_entropy(output, y)
            loss.backward()
            grad = delta.grad.detach()
            d = torch.clamp(delta + alpha * torch.sign(grad), -epsilon, epsilon)
            delta.data = torch.max(torch.min(d, 1 - x), 0 - x)
            delta.grad.zero_()
        all_loss = F.cross_entropy(model(x + delta), y, reduction="none").detach()
        max_delta[all_loss >= max_loss] = delta.detach()[all_loss >= max_loss]
        max_loss = torch.max(max_loss, all_loss)
    return x + max_delta


@case("deepfool_l2", "does not clip")
def deepfool(image, net, num_classes=10, overshoot=0.02, max_iter=50):
    """The authors' code: its own prediction, nothing clipped, the image last in a tuple."""
    f_image = net(image[None]).detach().numpy().flatten()
    order = f_image.argsort()[::-1][0:num_classes]
    label = order[0]
    pert_image = image.detach().clone()
    w = np.zeros(tuple(image.shape))
    r_tot = np.zeros(tuple(image.shape))
    loop_i = 0
    x = pert_image[None].requires_grad_()
    fs = net(x)
    k_i = label
    while k_i == label and loop_i < max_iter:
        pert = np.inf
        grad_orig = torch.autograd.grad(fs[0, order[0]], x, retain_graph=True)[0].numpy()[0]
        for k in range(1, len(order)):
            cur_grad = torch.autograd.grad(fs[0, order[k]], x, retain_graph=True)[0].numpy()[0]
            w_k = cur_grad - grad_orig
            f_k = (fs[0, order[k]] - fs[0, order[0]]).item()
            pert_k = abs(f_k) / np.linalg.norm(w_k.flatten())
            if pert_k < pert:
                pert, w = pert_k, w_k
        r_i = (pert + 1e-4) * w / np.linalg.norm(w)
        r_tot = r_tot + r_i
        pert_image = image + (1 + overshoot) * torch.from_numpy(r_tot)
        x = pert_image[None].detach().requires_grad_()
        fs = net(x)
        k_i = int(fs[0].argmax())
        loop_i += 1
    return (1 + overshoot) * r_tot, loop_i, label, k_i, pert_image[None]
