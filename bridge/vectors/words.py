"""What the test vectors define, in words, and the traps that any method can fall into."""

from __future__ import annotations

from bridge.core.tags import Trap

HOW = (
    "networks.json lists each network's layers, in order, and `operations` says what they do; "
    "networks.safetensors has their weights by network/layer.part, images.safetensors three images "
    "a network. All numbers are float64 and the same in float32.",
    "METHOD.json lists the cases of a method, each a network with parameters; METHOD.safetensors "
    "has their tensors by id/name: `target` (a class an image), `expected`, and what the method "
    "would draw at random. `definitions` says what is to be computed.",
    "Begin with logits, gradient and loss_gradient: where these are wrong, all else will be.",
    "Compare by `tolerances`; or save the outputs by case id as .npz or .safetensors, and "
    "gradbridge check --outputs FILE --as METHOD --vectors FOLDER names the mistake.",
    "id/wrong are the prints of wrong answers, a row each, and `wrong` of the case their places in "
    "`mistakes` of the method; `traps` are what the case catches many with.",
)

OPERATIONS = {
    "layout": "images are (n, channels, rows, columns) in C order; `inputs` names earlier layers, "
    "x is the image; the last layer gives the logits",
    "normalise": "(x - mean) / std of each channel; pixels, epsilons, baselines are before it",
    "conv": "cross-correlation: the kernel is not flipped; zero padding; weight (out, in / groups, "
    "rows, columns); group g reads the g-th slice of the channels",
    "scale_shift": "x * scale + shift of each channel: batch norm in evaluation mode, with "
    "scale = gamma / sqrt(var + eps), shift = beta - mean * scale",
    "relu": "max(x, 0); its derivative at exactly 0 is 0; `same_as`: the same module object as "
    "another layer, which changes nothing in mathematics",
    "max_pool": "padding is minus infinity; windows that do not fit are dropped; the gradient goes "
    "to the first of equal maxima in row-major order",
    "average_pool": "no padding; windows that do not fit are dropped",
    "global_mean": "(n, c, h, w) -> (n, c)",
    "add": "the sum of two layers",
    "flatten": "(n, c, h, w) -> (n, c * h * w), C order",
    "linear": "x @ weight.T + bias",
}

TOLERANCES = {
    "gap": "of an image max |output - expected| over its scale: for attacks 1; else max |expected| "
    "of the image, of the batch where that is 0; a case passes if no image's gap is larger than "
    "its tolerance",
    "exact": "weights, images and draws have so few binary digits that every sum is exact, in "
    "float32 as in float64 and in any order (both were tried): equal to the bit",
    "close": "1e-9: two orders of summation differ by 1e-12, and weights moved by 1e-11 move the "
    "answer by less than 1e-10, so that no decision hangs by a thread",
    "conditioned": "eight times what the answer moves by when weights move by 1e-11, or when "
    "1 - p of a saturated softmax keeps the digits that float64 leaves it; as a power of ten",
    "float32": "1e-4, ten times the reference's own float32 error at least; null where float32 "
    "changes a decision (the sign of a tiny gradient): such outputs are not judged in float32",
}

SOFTMAX_TWICE = "it takes the loss on probabilities (softmax twice)"
TRAPS = {
    "relu-at-zero": Trap(
        "a ReLU's input is exactly 0: its derivative there is 0",
        ("its ReLU has derivative 0.5 at zero", "its ReLU has derivative 1 at zero"),
    ),
    "equal-maxima": Trap(
        "equal maxima in a pooling window: the first in row-major order gets the gradient",
        (
            "its max pool shares the gradient among equal maxima",
            "its max pool gives the gradient to the last of equal maxima",
        ),
    ),
    "pool-padding": Trap(
        "negative values at a padded border: padding is minus infinity, not 0",
        ("its max pool pads with zeros",),
    ),
    "kernel": Trap("a convolution is a cross-correlation", ("its convolution flips the kernel",)),
    "normalisation": Trap(
        "the network takes pixels and normalises inside", ("it does not normalise the pixels",)
    ),
    "softmax": Trap(
        "the logit is explained, not the probability; the loss takes logits",
        (
            "it explains the softmax probability instead of the logit",
            "it measures the fall of the probability instead of the logit",
            SOFTMAX_TWICE,
        ),
    ),
    "target": Trap(
        "each image has its own target, which need not be the predicted class",
        (
            "it explains the predicted class instead of the target",
            "it explains the first image's target for all images",
            "it steps away from the predicted class instead of the label",
            "it uses the first image's label for all images",
        ),
    ),
    "signs": Trap(
        "the sign is kept, or dropped where the definition says so",
        (
            "the absolute value is missing: it is the signed gradient",
            "it takes the absolute value",
            "it takes the absolute fall",
        ),
    ),
    "baseline-in-pixels": Trap(
        "a baseline is in pixel units: 0 is black, not the mean",
        ("its baseline is zero after normalisation (the mean), not in pixels",),
    ),
    "baseline-image": Trap(
        "the baseline is an image", ("its baseline is always 0", "its baseline is always 0.5")
    ),
    "clip": Trap("pixels stay in [0, 1]", ("it does not clip to the bounds",)),
    "project-then-clip": Trap(
        "project onto the ball first, then clip", ("it clips before it projects",)
    ),
    "last-iterate": Trap(
        "the last iterate, and no early stop",
        (
            "images that are fooled stop early",
            "it returns the iterate of largest loss, not the last",
        ),
    ),
    "targeted": Trap(
        "targeted steps go the other way",
        ("it steps downhill: the sign is reversed", "`targeted` is the other way round"),
    ),
    "sum-not-mean": Trap(
        "gradients are of each image's own loss or logit, not of a mean over the batch",
        ("it is divided by the batch size (a mean over the batch was differentiated)",),
    ),
}
# Traps that are known by a condition of the case, not by a wrong answer.
SATURATED, ZERO_GRADIENT = "saturated-softmax", "zero-norm"
CONDITIONS = {
    SATURATED: Trap(
        "1 - p is tiny: no epsilon in the logarithm, no probability computed before it", ()
    ),
    ZERO_GRADIENT: Trap("an image whose gradient is all zero: 0 / max(0, 1e-12) = 0, not NaN", ()),
}
