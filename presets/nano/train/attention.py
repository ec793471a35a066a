"""Attention for training on a CPU, in place of PyTorch's own while `fast()` is in force.

Three products in bf16 and a softmax that is kept for the backward pass: the sequences here are
short, so the matrix of weights is small, and forward and backward together take half the processor
time of the tiled kernel, which computes everything twice. One opaque operator, so that compiling
the model leaves it alone. Knows the model only by where it calls attention.
"""
import contextlib

import torch


@torch.library.custom_op("nano::attention", mutates_args=())
def _forward(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
             bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """q, k, v: bf16 (batch, heads, tokens, head size), bias added to the scaled products.
    Returns the result and the weights."""
    weights = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)).add_(bias).softmax(-1)
    return torch.matmul(weights, v), weights


@_forward.register_fake
def _(q, k, v, bias):
    return q.new_empty(q.shape), q.new_empty(*q.shape[:3], k.shape[2])


@torch.library.custom_op("nano::attention_backward", mutates_args=())
def _backward(g: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
              weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g, scale = g.contiguous(), q.shape[-1] ** -0.5
    dv = torch.matmul(weights.transpose(-1, -2), g)
    d = torch.ops.aten._softmax_backward_data(torch.matmul(g, v.transpose(-1, -2)), weights, -1,
                                              weights.dtype)
    return torch.matmul(d, k).mul_(scale), torch.matmul(d.transpose(-1, -2), q).mul_(scale), dv


@_backward.register_fake
def _(g, q, k, v, weights):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3], output[1])


def _backward_of(ctx, g, _):
    return (*_backward(g, *ctx.saved_tensors), None)


_forward.register_autograd(_backward_of, setup_context=_keep)


def _dispatch(query, key, value, attn_mask=None, **_):
    """diffusers' dispatch_attention_fn: (batch, tokens, heads, head size), a mask of booleans."""
    q, k, v = (x.transpose(1, 2).bfloat16().contiguous() for x in (query, key, value))
    if attn_mask is None:
        bias = q.new_zeros(1, 1, 1, 1)
    else:
        bias = torch.where(attn_mask, 0.0, -30000.0).to(q.dtype)
    return _forward(q, k, v, bias)[0].transpose(1, 2)


@contextlib.contextmanager
def fast():
    from diffusers.models.transformers import transformer_hunyuan_video as module
    slow, module.dispatch_attention_fn = module.dispatch_attention_fn, _dispatch
    try:
        yield
    finally:
        module.dispatch_attention_fn = slow
