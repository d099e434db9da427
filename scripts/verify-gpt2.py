#!/usr/bin/env python3
"""Compares Lockstep with Hugging Face's transformers on random small GPT-2s: reading, evaluating, training, exporting.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy transformers safetensors
    /tmp/venv/bin/python scripts/verify-gpt2.py [NUMBER] [LOCKSTEP]

Each of NUMBER (10) random configurations is saved by transformers, in one file or several, in F32, F16 or BF16; some settings are then
written under their other names, and some files with a tied head get a head of its own, equal or another. Then
  - `lockstep eval --init` must give transformers' loss within 1e-5;
  - `lockstep train text --init` for a few steps and `lockstep export` must give a directory that transformers loads with no tensor
    missing or left over, and whose loss is that of `lockstep eval --checkpoint` within 1e-5.
"""
import os, random, subprocess, sys, tempfile
import json
import numpy as np, torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
lockstep = sys.argv[2] if len(sys.argv) > 2 else ".build/release/lockstep"
torch.set_num_threads(1)


def run(*arguments):
    result = subprocess.run([lockstep, *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(arguments)}: {result.stderr}")
    return result.stdout


def loss(output):
    return float(output.split()[output.split().index("loss") + 1])


def expected_loss(model, tokens, context):
    windows = (len(tokens) - 1) // context
    x = torch.tensor(tokens[: windows * context].astype(np.int64)).reshape(windows, context)
    y = torch.tensor(tokens[1 : windows * context + 1].astype(np.int64)).reshape(-1)
    with torch.no_grad():
        logits = model.eval()(x).logits.float()
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y).item()


def rename_settings(folder):
    """Some settings by the names that transformers maps to GPT-2's own."""
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    for other, own in GPT2Config.attribute_map.items():
        if random.random() < 0.5:
            config[other] = config[own]
            # Both names with the same value are no contradiction.
            if random.random() < 0.7:
                del config[own]
    json.dump(config, open(path, "w"))
    return sum(name in config for name in GPT2Config.attribute_map)


def add_head(folder, kind):
    """A head beside a configuration that ties it, equal or another."""
    path = os.path.join(folder, "model.safetensors")
    if kind == "none" or not os.path.exists(path):
        return "none"
    tensors = load_file(path)
    embedding = tensors["transformer.wte.weight"]
    tensors["lm_head.weight"] = embedding.clone() if kind == "equal" else embedding.flip(0).contiguous()
    save_file(tensors, path, {"format": "pt"})
    return kind


for seed in range(count):
    random.seed(seed)
    torch.manual_seed(seed)
    heads = random.choice([1, 2, 3, 5])
    config = GPT2Config(
        vocab_size=random.randint(11, 300), n_positions=random.randint(8, 70), n_embd=heads * random.choice([2, 4, 8, 11]),
        n_layer=random.randint(1, 4), n_head=heads, n_inner=random.choice([None, 7, 64]),
        activation_function=random.choice(["gelu_new", "gelu", "gelu_pytorch_tanh"]),
        layer_norm_epsilon=random.choice([1e-5, 1e-3]), tie_word_embeddings=random.random() < 0.7,
        initializer_range=0.3, bos_token_id=None, eos_token_id=None, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:
                p += 0.1 * torch.randn_like(p)
    kind = random.choice([torch.float32, torch.float16, torch.bfloat16])
    tokens = np.random.default_rng(seed).integers(0, config.vocab_size, 6 * config.n_positions + 50).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        source, data, out, back = (os.path.join(folder, n) for n in ("source", "train.bin", "run", "back"))
        model.to(kind).save_pretrained(source, max_shard_size=random.choice(["5GB", "4KB"]))
        others = rename_settings(source)
        head = add_head(source, random.choice(["none", "equal", "another"])) if config.tie_word_embeddings else "its own"
        tokens.tofile(data)
        model = GPT2LMHeadModel.from_pretrained(source, dtype=torch.float32)
        context = random.randint(1, config.n_positions)
        got = loss(run("eval", "--init", source, "--data", data, "--context", str(context)))
        wanted = expected_loss(model, tokens, context)
        assert abs(got - wanted) < 1e-5 * max(1, wanted), (seed, got, wanted)

        context = max(2, config.n_positions // 2)
        run("train", "text", "--init", source, "--data", data, "--out", out, "--steps", "4", "--context", str(context),
            "--global-batch-size", "6", "--micro-batch-size", "3", "--learning-rate", "0.01", "--warmup-steps", "0",
            "-n", str(1 + seed % 3))
        trained = loss(run("eval", "--checkpoint", out, "--data", data, "--context", str(context)))
        run("export", "--checkpoint", out, "--out", back)
        loaded, report = GPT2LMHeadModel.from_pretrained(back, output_loading_info=True)
        left = {k: v for k, v in report.items() if v}
        assert not left, (seed, left)
        again = expected_loss(loaded, tokens, context)
        assert abs(trained - again) < 1e-5 * max(1, again), (seed, trained, again)
        assert abs(trained - expected_loss(model, tokens, context)) > 1e-4, "training changed nothing"
        shards = len([n for n in os.listdir(source) if n.endswith(".safetensors")])
    print(f"{seed}: {config.n_layer}x{config.n_head}x{config.n_embd} {config.activation_function} {kind}, {shards} file(s), {others} other names, head {head}: "
          f"{got:.6f} {wanted:.6f}, trained {trained:.6f} {again:.6f}")
print("all agree")
