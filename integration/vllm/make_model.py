#!/usr/bin/env python3
"""Makes a model that vLLM can serve: random weights, and a tokenizer trained on this repository.

The model is a Qwen2 of any size. Its weights are random: it answers at once, with the
same noise each time, and never ends by itself before max_tokens. Its tokenizer is real
(byte-level BPE with a chat template that has tools), so that prompts have as many
tokens as those of real models, more or less.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ("README.md", "docs/*.md", "batch/*.go", "upstreams/*.go")
SEED = 7

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# ChatML, as Qwen has it; calls are those that vLLM's parser "hermes" reads.
CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}For a call write <tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>
{%- endif %}\
{%- for message in messages %}<|im_start|>{{ message['role'] }}
{%- if message['content'] is string %}{{ message['content'] }}
{%- elif message['content'] %}{%- for part in message['content'] %}{{ part['text'] }}{%- endfor %}
{%- endif %}<|im_end|>
{%- endfor %}\
{%- if add_generation_prompt %}<|im_start|>assistant
{%- if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{%- endif %}{%- endif %}"""


def make_tokenizer(directory: Path, vocabulary: int, max_length: int) -> Tokenizer:
    """Trains a tokenizer on the repository's text and writes it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = (path.read_text() for pattern in CORPUS for path in sorted(ROOT.glob(pattern)))
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD,
            "bos_token": None,
            "model_max_length": max_length,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    return tokenizer


def make_weights(directory: Path, size: argparse.Namespace, tokenizer: Tokenizer) -> int:
    """Writes the configuration and random weights, and returns how many there are."""
    end = tokenizer.token_to_id(END)
    write_json(
        directory / "config.json",
        {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": max(1, size.heads // 2),
            "vocab_size": tokenizer.get_vocab_size(),
            "max_position_embeddings": size.max_length,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "eos_token_id": end,
            "bos_token_id": None,
            "attention_dropout": 0.0,
            "use_sliding_window": False,
        },
    )
    write_json(directory / "generation_config.json", {"eos_token_id": end})

    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype=torch.float32)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() == 2:
                # Variance is kept from layer to layer, so that the answer depends on the prompt.
                weights.normal_(0, 1.0 if "embed" in name else weights.shape[1] ** -0.5)
        head = model.lm_head.weight
        head[[tokenizer.token_to_id(token) for token in (PAD, START, END)]] = 0  # unlikely
        head.mul_(3.0)
    model.to(torch.bfloat16).save_pretrained(directory)
    return sum(weights.numel() for weights in model.parameters())


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--intermediate", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--max-length", type=int, default=8192, help="in tokens")
    size = parser.parse_args()
    size.directory.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(size.directory, size.vocabulary, size.max_length)
    count = make_weights(size.directory, size, tokenizer)
    print(f"{size.directory}: {count / 1e6:.1f} M parameters, {tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
