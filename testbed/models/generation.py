"""What a checkpoint says about generating: the tokens that end an output, and the processing that is not applied here.

Rule kept: the tokens that end an output are those at which transformers' own `generate()` stops, and this is the one
place that says which they are: policies, reference, record, check and speculation are all given them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GENERATION_CONFIG = "generation_config.json"

# What `generate()` does to logits or to the search unless a checkpoint leaves it alone, with the values that do
# nothing. Temperature, top-k and top-p are not here: an experiment states its own sampling.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "repetition_penalty": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ({}, []),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "exponential_decay_length_penalty": (),
    "guidance_scale": (1.0,),
    "remove_invalid_values": (False,),
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0.0,),
    "penalty_alpha": (0.0,),
    "watermarking_config": (),
}


def end_tokens(generation_config: Any, config: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an output, ascending: the generation configuration's, else the model's, else the tokenizer's.

    The first that names any decides, as in `generate()`; there may be one, several or none.
    """
    for source in (generation_config, config.get_text_config(decoder=True), tokenizer):
        named = getattr(source, "eos_token_id", None)
        if named is not None:
            return tuple(sorted({int(one) for one in (named if isinstance(named, list | tuple) else [named])}))
    return ()


def not_applied(generation_config: Any) -> str:
    """The checkpoint's own processing that is left out here, in words: `repetition_penalty 1.3`; empty for none."""
    found = []
    for name, neutral in NEUTRAL.items():
        value = getattr(generation_config, name, None)
        if value is not None and value not in neutral:
            found.append(f"{name} {value}")
    return ", ".join(found)


def left_alone(generation_config: Any) -> dict[str, Any]:
    """Settings under which `generate()` does what is done here: greedy, and nothing of `NEUTRAL`."""
    settings: dict[str, Any] = {"do_sample": False}
    for name, neutral in NEUTRAL.items():
        if getattr(generation_config, name, None) is not None:
            settings[name] = neutral[0] if neutral else None
    return settings
