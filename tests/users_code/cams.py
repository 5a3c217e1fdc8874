"""Grad-CAM with its hooks, its ReLUs, its upsampling and its scalings."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from tests.users_code import case


class Hooked:
    """What most Grad-CAM classes begin with."""

    def __init__(self, model, target_layer):
        self.model = model
        target_layer.register_forward_hook(self.save)

    def save(self, module, inputs, output):
        self.activations = output

    def look(self, x, class_idx, probability=False):
        out = self.model(x.clone().requires_grad_())
        out = out.softmax(1) if probability else out
        gradient = torch.autograd.grad(out[0, class_idx], self.activations)[0]
        return self.activations.detach(), gradient


def scaled(cam):
    cam = cam - cam.min()
    return cam / cam.max()


@case("layer_gradcam")
class GradCAM(Hooked):
    """Right: ReLU and bilinear, which it always does."""

    def __call__(self, x, class_idx):
        a, g = self.look(x, class_idx)
        cam = F.relu((g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True))
        return F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False)


@case("layer_gradcam", "[0, 1]")
class ScaledGradCAM(Hooked):
    def generate(self, x, class_idx):
        a, g = self.look(x, class_idx)
        cam = F.relu((g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True))
        return scaled(F.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False))


@case("layer_gradcam", "softmax", "sums the gradient|divided by each image's")
class SumGradCAM(Hooked):
    def generate_cam(self, image, target_class):
        a, g = self.look(image, target_class, probability=True)
        cam = (g.sum((2, 3), keepdim=True) * a).sum(1, keepdim=True)
        return cam / cam.abs().max()


@case("layer_gradcam", "position by position", "nearest")
def cam_by_place(model, images, labels, target_layer):
    kept = []
    handle = target_layer.register_forward_hook(lambda m, i, o: kept.append(o))
    score = model(images.clone().requires_grad_()).gather(1, labels[:, None]).sum()
    handle.remove()
    g = torch.autograd.grad(score, kept[0])[0]
    return F.interpolate((g * kept[0]).sum(1, keepdim=True), images.shape[2:]).detach()


@case("layer_gradcam", "softmax", "align_corners")
def cam_aligned(model, images, labels, layer):
    kept = []
    handle = layer.register_forward_hook(lambda m, i, o: kept.append(o))
    p = model(images.clone().requires_grad_()).softmax(1).gather(1, labels[:, None]).sum()
    handle.remove()
    w = torch.autograd.grad(p, kept[0])[0].mean(dim=(2, 3), keepdim=True)
    cam = (w * kept[0].detach()).sum(1, keepdim=True)
    return F.interpolate(cam, images.shape[2:], mode="bilinear", align_corners=True)


@case("layer_gradcam", "last convolution", "each image's")
class LastConvCAM:
    def __init__(self, model):
        self.model = model
        last = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
        last.register_forward_hook(lambda m, i, o: setattr(self, "a", o))

    def __call__(self, img, class_idx):
        out = self.model(img.clone().requires_grad_())
        g = torch.autograd.grad(out[0, class_idx], self.a)[0]
        cam = (g.mean((2, 3), keepdim=True) * self.a).sum(1, keepdim=True).detach()
        return cam / cam.abs().max()


@case("layer_gradcam", "Grad-CAM++", "[0, 1]")
class PlusPlus(Hooked):
    def __call__(self, x, class_idx):
        a, g = self.look(x, class_idx)
        share = 2 * g.pow(2) + a.sum((2, 3), keepdim=True) * g.pow(3)
        alpha = g.pow(2) / torch.where(share != 0, share, torch.ones_like(share))
        cam = ((alpha * g.relu()).sum((2, 3), keepdim=True) * a).sum(1, keepdim=True).relu()
        return scaled(cam)


@case("layer_gradcam", "maximum over the weighted channels|largest", "softmax")
def cam_largest(model, images, labels, target_layers):
    kept = []
    handle = target_layers[0].register_forward_hook(lambda m, i, o: kept.append(o))
    p = model(images.clone().requires_grad_()).softmax(1).gather(1, labels[:, None]).sum()
    handle.remove()
    w = torch.autograd.grad(p, kept[0])[0].mean(dim=(2, 3), keepdim=True)
    return (w * kept[0]).amax(1, keepdim=True).detach()
