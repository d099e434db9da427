#!/usr/bin/env python3
"""Writes the files in Tests/HuggingFaceTests/Resources, by transformers and safetensors, and the logits that they give.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy transformers safetensors
    /tmp/venv/bin/python scripts/golden-gpt2.py
"""
import json, os, tempfile
import torch, transformers
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
tests = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Tests", "HuggingFaceTests")
folder = os.path.join(tests, "Resources")
body = "/// Written by scripts/golden-gpt2.py: change that, not this.\n\n/// Logits that transformers gives, (2, T, vocabulary).\nenum Golden {\n"


def make(name, kind, seed, **settings):
    global body
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(
        initializer_range=0.4, bos_token_id=None, eos_token_id=None, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    with tempfile.TemporaryDirectory() as saved:
        model.to(kind).save_pretrained(saved)
        model = GPT2LMHeadModel.from_pretrained(saved, dtype=torch.float32).eval()
        config = json.load(open(os.path.join(saved, "config.json")))
        tensors = load_file(os.path.join(saved, "model.safetensors"))
    json.dump(config, open(os.path.join(folder, f"{name}.config.json"), "w"), indent=1, sort_keys=True)
    length, vocabulary = settings["n_positions"], settings["vocab_size"]
    tokens = torch.tensor([(7 * i + 3) % vocabulary for i in range(2 * length)]).reshape(2, length)
    logits = model(tokens).logits.flatten().tolist()
    lines, line = [], ""
    for value in logits:
        item = f"{value:.7g}, "
        if len(line) + len(item) > 108:
            lines.append(line.rstrip())
            line = ""
        line += item
    body += f"    static let {name}: [Float] = [\n" + "".join(f"        {l}\n" for l in lines + [line.rstrip()]) + "    ]\n"
    return tensors


def path(file):
    return os.path.join(folder, file)


save_file(make("tied", torch.float32, 1, vocab_size=13, n_positions=6, n_embd=6, n_layer=2, n_head=2),
          path("tied.safetensors"), {"format": "pt"})
save_file(make("untied", torch.bfloat16, 2, vocab_size=11, n_positions=5, n_embd=8, n_layer=1, n_head=1, n_inner=5,
               activation_function="gelu", layer_norm_epsilon=1e-3, tie_word_embeddings=False),
          path("untied.safetensors"), {"format": "pt"})
# As the first GPT-2s on the hub: no "transformer.", the causal mask as a constant; here in two files.
tensors = make("sharded", torch.float16, 3, vocab_size=7, n_positions=4, n_embd=6, n_layer=2, n_head=3)
old = {name.removeprefix("transformer."): t for name, t in tensors.items()}
for layer in range(2):
    old[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(4, 4)).view(1, 1, 4, 4)
names = sorted(old)
shards = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
for i, (file, part) in enumerate(shards.items()):
    save_file({name: old[name] for name in part}, path(f"sharded{i + 1}.safetensors"), {"format": "pt"})
json.dump({"metadata": {"total_size": 0}, "weight_map": {name: file for file, part in shards.items() for name in part}},
          open(path("sharded.index.json"), "w"), indent=1, sort_keys=True)
with open(os.path.join(tests, "Golden.swift"), "w") as file:
    file.write(body + "}\n")
