"""Mistakes about the full step."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trpo.scripts.exercises.mistakes.mistake import Mistake


def _full_step(
    product: Callable[[Tensor, float], Tensor],
    g: Tensor,
    x: Tensor,
    damping: float,
    max_kl: float,
    *,
    form: Callable[[Callable[[Tensor, float], Tensor], Tensor, Tensor, float], Tensor] = (
        lambda A, g, x, beta: x @ A(x, beta)
    ),
    scale: Callable[[float, Tensor], Tensor] = lambda delta, form: (2 * delta / form).sqrt(),
    along: Callable[[Tensor, Tensor], Tensor] = lambda g, x: x,
) -> Tensor:
    """Return `scale` times `along`, from δ and a quadratic `form`."""
    return scale(max_kl, form(product, g, x, damping)) * along(g, x)


FULL_STEP = {
    "two-missing": Mistake(
        "your step is 1/√2 of the right one: ½ sᵀFs = δ has a ½, so √(2δ / xᵀFx)",
        (partial(_full_step, scale=lambda delta, form: (delta / form).sqrt()),),
    ),
    "two-misplaced": Mistake(
        "your step is half of the right one: the 2 stands above, √(2δ / xᵀFx)",
        (partial(_full_step, scale=lambda delta, form: (delta / (2 * form)).sqrt()),),
    ),
    "root-missing": Mistake(
        "your step has no root: KL grows with the square of the step, so √(2δ / xᵀFx)",
        (partial(_full_step, scale=lambda delta, form: 2 * delta / form),),
    ),
    "root-of-half": Mistake(
        "your root covers a part of 2δ / xᵀFx alone",
        (
            partial(_full_step, scale=lambda delta, form: 2 * delta / form.sqrt()),
            partial(_full_step, scale=lambda delta, form: (2 * delta) ** 0.5 / form),
        ),
    ),
    "inverted": Mistake(
        "your scale is inverted: √(2δ / xᵀFx), so that a large δ makes a large step",
        (partial(_full_step, scale=lambda delta, form: (form / (2 * delta)).sqrt()),),
    ),
    "gradient-square": Mistake(
        "you have gᵀg in place of xᵀFx",
        (partial(_full_step, form=lambda A, g, x, beta: g @ g),),
    ),
    "euclidean-square": Mistake(
        "you have xᵀx in place of xᵀFx: that bounds a distance between parameters, not between "
        "distributions",
        (partial(_full_step, form=lambda A, g, x, beta: x @ x),),
    ),
    "gradient-times-x": Mistake(
        "you have xᵀg in place of xᵀFx: they are equal where x solves Fx = g exactly, and here it "
        "does not",
        (partial(_full_step, form=lambda A, g, x, beta: x @ g),),
    ),
    "fisher-of-gradient": Mistake(
        "you have gᵀFg in place of xᵀFx: the step goes along x",
        (partial(_full_step, form=lambda A, g, x, beta: g @ A(g, beta)),),
    ),
    "undamped": Mistake(
        "your quadratic form is undamped, xᵀFx: here it is xᵀ(F + βI)x, which errs on the safe "
        "side",
        (partial(_full_step, form=lambda A, g, x, beta: x @ A(x, 0.0)),),
    ),
    "sign": Mistake(
        "your step goes backwards: x is uphill for L, and L is maximised",
        (partial(_full_step, along=lambda g, x: -x),),
    ),
    "along-gradient": Mistake(
        "your step goes along g: it goes along x, the natural gradient",
        (
            partial(_full_step, along=lambda g, x: g),
            partial(_full_step, along=lambda g, x: g, form=lambda A, g, x, beta: g @ A(g, beta)),
        ),
    ),
    "unscaled": Mistake(
        "your step is x itself: it has to be scaled to δ",
        (partial(_full_step, scale=lambda delta, form: torch.ones_like(form)),),
    ),
}
