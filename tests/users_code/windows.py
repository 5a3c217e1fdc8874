"""Occlusion as it is written: loops over windows, heat maps of windows."""

import numpy as np
import torch
import torch.nn.functional as F

from tests.users_code import case


def _walk(image, size, stride):
    height, width = image.shape[-2:]
    for top in range(0, height - size + stride, stride):
        for left in range(0, width - size + stride, stride):
            yield slice(top, top + size), slice(left, left + size)


@case("occlusion")
def occlusion_map(model, image, label, patch_size=4, stride=2):
    """Right, with a gray cover and one channel for all."""
    with torch.no_grad():
        clean = model(image)[0, label].item()
        heat, count = np.zeros(image.shape[-2:]), np.zeros(image.shape[-2:])
        for rows, columns in _walk(image, patch_size, stride):
            covered = image.clone()
            covered[:, :, rows, columns] = 0.5
            heat[rows, columns] += clean - model(covered)[0, label].item()
            count[rows, columns] += 1
    return heat / count


@case("occlusion", "softmax", "sums over the windows")
def occlusion_sum(model, images, labels, window=4, stride=2, fill=0.0):
    prob = lambda z: F.softmax(model(z), 1)[torch.arange(len(z)), labels]  # noqa: E731
    with torch.no_grad():
        clean, heat = prob(images), torch.zeros_like(images)
        for rows, columns in _walk(images, window, stride):
            covered = images.clone()
            covered[..., rows, columns] = fill
            heat[..., rows, columns] += (clean - prob(covered)).view(-1, 1, 1, 1)
    return heat


@case("occlusion", "softmax", "covered score itself", "one value a window")
def occlusion_grid(model, image, label, occ_size=4, occ_stride=2, occ_pixel=0.5):
    height, width = image.shape[-2:]
    rows = (height - occ_size) // occ_stride + 1
    columns = (width - occ_size) // occ_stride + 1
    heat = torch.zeros(rows, columns, dtype=image.dtype)
    for i in range(rows):
        for j in range(columns):
            covered = image.clone()
            top, left = i * occ_stride, j * occ_stride
            covered[:, :, top : top + occ_size, left : left + occ_size] = occ_pixel
            with torch.no_grad():
                heat[i, j] = model(covered).softmax(dim=1)[0, label]
    return heat


@case("occlusion", "overwrite", "[0, 1]")
class Occluder:
    def __init__(self, net, patch=4, stride=2):
        self.net, self.patch, self.stride = net, patch, stride

    def attribute(self, inputs, target, baselines=0.0):
        heat = torch.zeros_like(inputs)
        with torch.no_grad():
            clean = self.net(inputs).gather(1, target[:, None])
            for rows, columns in _walk(inputs, self.patch, self.stride):
                covered = inputs.clone()
                covered[..., rows, columns] = baselines
                drop = clean - self.net(covered).gather(1, target[:, None])
                heat[..., rows, columns] = drop.view(-1, 1, 1, 1)
        low, high = heat.amin((1, 2, 3), keepdim=True), heat.amax((1, 2, 3), keepdim=True)
        return (heat - low) / (high - low)


@case("occlusion", "skips the clipped windows", "relative|divides the fall")
def occlusion_relative(model, images, labels, size=3, stride=2, value=0.0):
    heat, count = torch.zeros_like(images), torch.zeros_like(images)
    height, width = images.shape[-2:]
    with torch.no_grad():
        clean = model(images).gather(1, labels[:, None])
        for top in range(0, height - size + 1, stride):
            for left in range(0, width - size + 1, stride):
                covered = images.clone()
                covered[..., top : top + size, left : left + size] = value
                drop = (clean - model(covered).gather(1, labels[:, None])) / clean
                heat[..., top : top + size, left : left + size] += drop.view(-1, 1, 1, 1)
                count[..., top : top + size, left : left + size] += 1
    return heat / count.clamp(min=1)


@case("occlusion", "channel means", "absolute")
def occlusion_mean(model, images, labels, size=3, stride=2):
    heat, count = torch.zeros_like(images[:, :1]), torch.zeros_like(images[:, :1])
    mean = images.mean((2, 3), keepdim=True)
    with torch.no_grad():
        clean = model(images).gather(1, labels[:, None])
        for rows, columns in _walk(images, size, stride):
            covered = images.clone()
            covered[..., rows, columns] = mean
            drop = (clean - model(covered).gather(1, labels[:, None])).abs()
            heat[..., rows, columns] += drop.view(-1, 1, 1, 1)
            count[..., rows, columns] += 1
    return heat / count
