"""GPT-2 in PyTorch the way a fast training script writes it: the peer that Accrue is measured against.

Works on PyTorch 1.13 and on 2.x, where it uses the fused attention and the fused AdamW. Files carry Hugging Face's
names and layout (matrices [in, out]); `nn.Linear` keeps [out, in], so saving and loading transpose.
"""

import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import safetensors_file

HAS_FUSED_ATTENTION = hasattr(F, "scaled_dot_product_attention")
IGNORED_TARGET = -1


@dataclasses.dataclass
class Config:
    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    vocab: int = 256


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        self.c_attn = nn.Linear(config.width, 3 * config.width)
        self.c_proj = nn.Linear(config.width, config.width)
        if not HAS_FUSED_ATTENTION:
            future = torch.full((config.context, config.context), -math.inf).triu(1)
            self.register_buffer("future", future, persistent=False)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.c_attn(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if HAS_FUSED_ATTENTION:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q * (width // self.heads) ** -0.5) @ k.transpose(-1, -2)
            y = torch.softmax(scores + self.future[:length, :length], dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.width, 4 * config.width)
        self.c_proj = nn.Linear(4 * config.width, config.width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    """GPT-2 with the head tied to the token embedding, initialised as the paper says."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width)
        residual_std = 0.02 / math.sqrt(2 * config.layers)
        for name, p in self.named_parameters():
            if p.dim() >= 2:
                nn.init.normal_(p, std=residual_std if name.endswith("c_proj.weight") else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, tokens, targets):
        """Cross-entropy summed over the targets that are not -1; tokens and targets are int64 [batch, length]."""
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1),
                               ignore_index=IGNORED_TARGET, reduction="sum")


def make_adamw(model, learning_rate, beta1=0.9, beta2=0.95, weight_decay=0.1, eps=1e-8):
    """AdamW that decays matrices and embeddings only, in the fastest form that this PyTorch has for the device."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    options = {"lr": learning_rate, "betas": (beta1, beta2), "eps": eps}
    try:
        return torch.optim.AdamW(groups, fused=True, **options)
    except (TypeError, RuntimeError):  # 1.13 has no such argument; early 2.x only has it on a GPU
        return torch.optim.AdamW(groups, foreach=True, **options)


def train_update(model, optimizer, micro_batches, clip, autocast):
    """One update over a list of (tokens, targets). Returns the mean loss and the norm before clipping, as tensors."""
    target_count = sum((targets != IGNORED_TARGET).sum() for _, targets in micro_batches)
    optimizer.zero_grad(set_to_none=True)
    window_loss = 0.0
    for tokens, targets in micro_batches:
        with autocast:
            loss = model(tokens, targets) / target_count  # the count of the whole window, not of this micro-batch
        loss.backward()
        window_loss = window_loss + loss.detach()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip) if clip > 0 else None
    optimizer.step()
    return window_loss, norm


def is_transposed(name):
    """Whether the file's matrix is the transpose of ours: all but the embeddings."""
    return name.endswith(".weight") and not name.startswith(("wte", "wpe")) and "ln_" not in name


def to_arrays(model):
    """The parameters under the file's names, as float32 numpy arrays."""
    return {
        name: (p.t() if is_transposed(name) else p).detach().float().cpu().contiguous().numpy()
        for name, p in model.named_parameters()
    }


def from_arrays(model, arrays):
    """Copy arrays with the file's names into the model; every parameter must be there with the right shape."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name not in arrays:
                raise ValueError(f"the file has no tensor {name}")
            value = torch.tensor(arrays[name], dtype=p.dtype)
            value = value.t() if is_transposed(name) else value
            if value.shape != p.shape:
                raise ValueError(f"{name}: the model needs {list(p.shape)}, the file has {list(value.shape)}")
            p.copy_(value)


def save(model, path):
    # Transformers 4.30, for one, refuses a file whose metadata lacks this "format".
    safetensors_file.save(path, to_arrays(model), {"format": "pt", **dataclasses.asdict(model.config)})


def load(model, path):
    from_arrays(model, safetensors_file.load(path)[0])
