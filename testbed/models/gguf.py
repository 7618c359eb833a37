"""`python -m testbed.models.gguf FILE OUT`: a llama.cpp file as a folder in transformers format, weights in fp32.

`testbed.models.added` runs it in a separate process and gives it the libraries that read the format. What the
weights are is what transformers makes of them: the file's few bits, computed out; nothing is rounded again.
"""

from __future__ import annotations

import sys
from pathlib import Path

LEFT_OUT = ("quantization_config", "_model_name_or_path", "_name_or_path")  # of a configuration: what it once was


def convert(file: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **given)
    read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **given)
    plain = {key: value for key, value in read.config.to_dict().items() if key not in LEFT_OUT}
    model = type(read)(type(read.config)(**plain)).to(torch.float32)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
