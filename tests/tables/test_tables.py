"""A decode table read back is the one that was written; what is not a table is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.tables import file as tables_file
from testbed.tables.file import METADATA_KEY
from testbed.tables.table import DecodeTable, load_provenance, load_table, make_table
from tests.table_examples import sampled_table, tiny_table


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table = tiny_table()
    table.write(tmp_path / "tiny.parquet")
    again = load_table(str(tmp_path / "tiny.parquet"))
    assert again == table


def test_a_table_without_second_choices_comes_back(tmp_path: Path) -> None:
    table = tiny_table(second_choice=False)
    table.write(tmp_path / "tiny.parquet")
    assert load_table(str(tmp_path / "tiny.parquet")) == table


def test_a_sampled_table_comes_back_with_a_row_for_every_request_s_position(tmp_path: Path) -> None:
    table = sampled_table()
    table.write(tmp_path / "sampled.parquet")
    assert load_table(str(tmp_path / "sampled.parquet")) == table
    rows = pq.read_table(tmp_path / "sampled.parquet").to_pandas()
    assert set(zip(rows.prompt_id, rows.request_seed, strict=True)) == {("a", 7), ("a", 8), ("b", 9)}


@pytest.mark.parametrize(
    ("sampling", "held"),
    [
        (Sampling(0.8, 0, 0.9, 7), True),
        (Sampling(0.8, 0, 0.9, 9), False),  # another prompt's
        (Sampling(0.7, 0, 0.9, 7), False),
        (Sampling(0.8, 5, 0.9, 7), False),
        (Sampling(0.8, 0, 1.0, 7), False),
        (Sampling(), False),
        (Sampling(seed=7), False),
    ],
)
def test_a_sampled_table_answers_for_its_own_law_and_seeds_only(sampling: Sampling, held: bool) -> None:
    assert (sampled_table().output("a", sampling) is not None) is held


def test_a_greedy_table_answers_whatever_the_seed_but_not_for_a_temperature() -> None:
    table = tiny_table()
    assert table.output("a", Sampling(seed=5)) is table.prompts["a"]
    assert table.output("a", Sampling(temperature=1.0)) is None


def test_where_a_table_comes_from_is_read_without_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, table in {"greedy": tiny_table(), "sampled": sampled_table()}.items():
        table.write(tmp_path / f"{name}.parquet")
        monkeypatch.setattr(pq, "read_table", None)
        assert load_provenance(str(tmp_path / f"{name}.parquet")) == table.provenance
        monkeypatch.undo()


def test_sampling_leaves_the_bytes_and_hashes_of_greedy_tables_alone() -> None:
    """The hash is that of the version that shipped the table."""
    assert load_table("tiny-prose").sha256.startswith("285c316ec5a4")
    assert b"sampling" not in msgspec.msgpack.encode(tiny_table().provenance)


def test_one_row_a_position_and_the_last_has_no_target_token(tmp_path: Path) -> None:
    table = tiny_table()
    table.write(tmp_path / "tiny.parquet")
    rows = pq.read_table(tmp_path / "tiny.parquet").to_pandas()
    for key, one in table.prompts.items():
        mine = rows[rows.prompt_id == key]
        assert list(mine.position) == list(range(len(one.tokens) + 1))
        assert list(mine.target_token[:-1]) == list(one.tokens)
        assert mine.target_token.isna().tolist() == [False] * len(one.tokens) + [True]
        assert list(mine.matched) == [one.matched(at) for at in mine.position]


def test_the_hash_is_of_the_values() -> None:
    table = tiny_table()
    key, one = next(iter(table.prompts.items()))
    changed = {**table.prompts, key: replace(one, entropies=(one.entropies[0] + 1e-12, *one.entropies[1:]))}
    assert make_table("tiny", table.provenance, table.prompts).sha256 == table.sha256
    assert make_table("tiny", table.provenance, changed).sha256 != table.sha256
    assert make_table("tiny", replace(table.provenance, note="x"), table.prompts).sha256 != table.sha256


def edited(tmp_path: Path, edit: Any) -> str:
    """The path of a written table whose arrow table went through `edit`."""
    path = tmp_path / "tiny.parquet"
    tiny_table().write(path)
    pq.write_table(edit(pq.read_table(path)), path)
    return str(path)


def test_a_changed_value_is_noticed(tmp_path: Path) -> None:
    def edit(arrow: pa.Table) -> pa.Table:
        values = arrow["draft_margin"].to_pylist()
        index = arrow.column_names.index("draft_margin")
        return arrow.set_column(index, "draft_margin", pa.array([values[0] + 1.0, *values[1:]]))

    with pytest.raises(BadInput, match="is damaged"):
        load_table(edited(tmp_path, edit))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="lacks the column 'rollout_tokens'"):
        load_table(edited(tmp_path, lambda arrow: arrow.drop_columns(["rollout_tokens"])))


def test_a_sampled_table_without_its_seeds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sampled.parquet"
    sampled_table().write(path)
    pq.write_table(pq.read_table(path).drop_columns([tables_file.SEED]), path)
    with pytest.raises(BadInput, match="lacks the column 'request_seed'"):
        load_table(str(path))
    table = sampled_table()
    with pytest.raises(BadInput, match="names no request seed"):
        make_table("sampled", table.provenance, {"a": table.prompts["a@7"]})


def test_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    def edit(arrow: pa.Table) -> pa.Table:
        index = arrow.column_names.index("rollout_tokens")
        return arrow.set_column(index, "rollout_tokens", pa.array(["x"] * len(arrow)))

    with pytest.raises(BadInput, match="is not a decode table, by the types of its columns"):
        load_table(edited(tmp_path, edit))


def test_missing_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        load_table(edited(tmp_path, lambda arrow: arrow.slice(0, len(arrow) - 2)))
    with pytest.raises(BadInput):
        load_table(edited(tmp_path, lambda arrow: pa.concat_tables([arrow, arrow])))


def test_another_format_is_refused(tmp_path: Path) -> None:
    def edit(arrow: pa.Table) -> pa.Table:
        header = msgspec.json.decode(arrow.schema.metadata[METADATA_KEY])
        return arrow.replace_schema_metadata({METADATA_KEY: msgspec.json.encode({**header, "format": 99})})

    with pytest.raises(BadInput, match="format 99, this version reads 1"):
        load_table(edited(tmp_path, edit))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a decode table"):
        load_table(edited(tmp_path, lambda arrow: arrow.replace_schema_metadata({})))
    text = tmp_path / "text.parquet"
    text.write_text("hello")
    with pytest.raises(BadInput, match="is not a decode table"):
        load_table(str(text))
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        load_table(str(tmp_path / "none.parquet"))


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'tiny-prose'"):
        load_table("tiny-pros")


BROKEN = {
    "no output": (lambda one: replace(one, tokens=(), entropies=(), top2_gaps=()), "no output tokens"),
    "entropies": (lambda one: replace(one, entropies=one.entropies[1:]), "3 output tokens with 2 entropies"),
    "states": (lambda one: replace(one, margins=one.margins[1:]), "need 4 drafter states"),
    "seconds": (lambda one: replace(one, second_tokens=()), "second choices"),
    "short rollout": (
        lambda one: replace(one, rollout_tokens=(one.rollout_tokens[0][:-1], *one.rollout_tokens[1:])),
        "position 0: a rollout of 3 tokens in a table of depth 4",
    ),
    "rollout that does not continue": (
        lambda one: replace(one, rollout_tokens=((*one.rollout_tokens[0][:-1], 99), *one.rollout_tokens[1:])),
        "position 0: the rollout agrees with the target but does not continue",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_table_that_breaks_a_rule_cannot_be_made(name: str) -> None:
    breaking, message = BROKEN[name]
    table = tiny_table()
    with pytest.raises(BadInput, match=message):
        make_table("tiny", table.provenance, {key: breaking(one) for key, one in table.prompts.items()})


def test_a_table_needs_its_suffix_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="give it that suffix"):
        tiny_table().write(tmp_path / "tiny.csv")
    with pytest.raises(BadInput, match="cannot be written"):
        tiny_table().write(tmp_path / "none" / "tiny.parquet")


def test_replaying_needs_no_torch() -> None:
    """The simulation must start fast and run where there is no torch."""
    code = (
        "import sys; import testbed.tables.replay, testbed.tables.synthetic; "
        "from testbed.tables.table import load_table; load_table('tiny-prose'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_shipped_table_is_of_the_shipped_pair() -> None:
    from testbed.models.load import model_hash
    from testbed.workload.prompts import load_prompts

    table: DecodeTable = load_table("tiny-prose")
    assert table.provenance.target_sha256 == model_hash("tiny-target")
    assert table.provenance.draft_sha256 == model_hash("tiny-draft")
    assert table.provenance.prompts_sha256 == load_prompts("prose").sha256
    assert list(table.prompts) == [prompt.id for prompt in load_prompts("prose").prompts]
    assert {len(one.tokens) for one in table.prompts.values()} == {100}
