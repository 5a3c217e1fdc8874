"""What people call things: the role of a parameter by its name."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

# What everybody's code is given, whatever the method: the model, the images, their classes, the
# layer that is explained, the gradient of the loss where the code wants it made, the loss itself,
# Foolbox's criterion, zennit's gradient of the output.
COMMON: Mapping[str, str] = {
    "model": "model net network classifier f fmodel forward_func predict predictor victim cnn "
    "module model_fn clf mdl nn estimator surrogate backbone predict_fn logits_fn",
    "x": "x images image inputs input imgs img data input_tensor x_natural x_nat x_orig x0 clean "
    "batch samples sample input_image orig X xs xb ims im pics pic photos photo",
    "y": "y labels label target targets target_class class_idx class_index classes true_label gt "
    "cls c category target_category y_true target_label class_id pred_class label_idx lab "
    "target_index lbl lbls labs tgt tgts gts ys yb truth ground_truth",
    "layer": "layer target_layer target_layers layers conv_layer layer_name target_layer_name "
    "final_conv",
    "gradient": "data_grad gradient grad grads",
    "criterion": "criterion",
    "loss": "loss loss_fn loss_function criterion loss_func",
    "one-hot": "attr_output",
    # The logits of these images, of a model that was asked before (torchcam's habit).
    "scores": "scores logits",
    # The range of pixel values, in two numbers or as a pair.
    "low": "clip_min min_val minval x_min bound_min lower_bound",
    "high": "clip_max max_val maxval x_max bound_max upper_bound",
    "range": "clip_values clip_range bounds pixel_range value_range",
}
# By our own name of a parameter: the field's other words for it.
PARAMETERS: Mapping[str, str] = {
    "epsilon": "eps epsilons max_eps eps_max max_norm budget linf",
    "step_size": "alpha stepsize eps_iter eps_step step lr abs_stepsize a learning_rate",
    "steps": "iters num_steps n_iter nb_iter num_iter iterations max_iter n_iters niter "
    "num_iterations attack_steps n_steps k",
    "n_steps": "steps m_steps num_steps m n iterations n_iter num_iter resolution",
    "n_samples": "samples n nt_samples num_samples",
    "baseline": "baselines reference ref background fill fill_value value occlusion_value "
    "perturb_value mask_value baseline_image",
    "window": "window_size patch patch_size kernel kernel_size size sliding_window_shapes "
    "occlusion_size occ_size win",
    "stride": "strides step occ_stride",
    "relu": "use_relu relu_attributions",
    "upsample": "interpolate resize",
    "method": "rule quadrature",
    "random_start": "rand_init random_init rand_start rs",
    "stdev": "stdevs sigma noise_level std stdev_spread",
    "start": "x_init init",
    "restarts": "num_restarts n_restarts",
    "candidates": "num_classes n_classes nb_candidates",
    "momentum": "decay mu",
}
# Beginnings of words within a name: img_batch, source_image, attack_steps.
STEMS: Mapping[str, tuple[str, ...]] = {
    "x": ("image", "img", "input"),
    "y": ("label", "target", "class"),
    "model": ("model", "net"),
    "layer": ("layer",),
    "epsilon": ("eps",),
    "steps": ("steps", "iter"),
    "n_steps": ("steps",),
    "window": ("window", "patch"),
    "stride": ("stride",),
    "baseline": ("baseline",),
}
# Names that mean one image, or one class.
SINGLE = frozenset(
    "image img sample target_class class_idx class_index pred_class target_category class_id "
    "target_index".split()
)
PLACES = ("model", "x", "y")
SHORT = 3  # letters of a name that says nothing: f(m, a, b)


def roles(
    names: Iterable[str], parameters: Iterable[str], optional: Container[str] = ()
) -> dict[str, str]:
    """The role of each name that has one, each role once: by synonym, then by its words.

    What all code is given is not found in the words of an `optional` name: `multiply_by_inputs`.

    >>> roles(["net", "img_batch", "gt", "eps", "colour"], ["epsilon"])
    {'net': 'model', 'gt': 'y', 'eps': 'epsilon', 'img_batch': 'x'}
    """
    listed = list(names)
    found: dict[str, str] = {}
    # Ours before what all share: Foolbox's criterion is not everybody's.
    common = ["model", "x", "y", "layer", "gradient", "one-hot"]
    wanted = [*common, *parameters, "loss", "scores", "low", "high", "range"]
    for name in listed:
        role = next((r for r in wanted if r not in found.values() and _means(name, r)), "")
        if role:
            found[name] = role
    for name in listed:
        free = (
            r
            for r in wanted
            if r not in found.values()
            and _begins(name, r)
            and not (r in COMMON and name in optional)
        )
        role = "" if name in found else next(free, "")
        if role:
            found[name] = role
    return found


def _means(name: str, role: str) -> bool:
    known = f"{role} {COMMON.get(role, '')} {PARAMETERS.get(role, '')}"
    return _plain(name) in {_plain(word) for word in known.split()}


def _begins(name: str, role: str) -> bool:
    words = re.split(r"_+", name.lower())
    return any(
        word.startswith(stem) and "size" not in words
        for word in words
        for stem in STEMS.get(role, ())
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "")
