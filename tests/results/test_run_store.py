"""The run directory: what goes in comes out, the same rows give the same bytes (invariant 3), files appear whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from testbed.errors import BadInput
from testbed.results.store import FILES, RECORDS, RunDirectory, frame_of, load, schema_of, using
from tests.results.tiny_log import rows, run


def write(path: Path) -> RunDirectory:
    path.mkdir(parents=True, exist_ok=True)
    directory = RunDirectory(path)
    directory.write_manifest(run().manifest)
    for kind, of_kind in rows().items():
        directory.write_rows(kind, of_kind)
    return directory


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    write(tmp_path)
    loaded = load(tmp_path)
    assert loaded.manifest == run().manifest
    for kind, of_kind in rows().items():
        frame = getattr(loaded, kind)
        assert list(frame.columns) == list(RECORDS[kind].__struct_fields__)
        for name in frame.columns:
            read = [tuple(value) if isinstance(value, np.ndarray) else value for value in frame[name]]
            read = [None if value != value else value for value in read]  # pandas has NaN where a number is missing
            assert read == [getattr(row, name) for row in of_kind], (kind, name)


@pytest.mark.parametrize("kind", RECORDS)
def test_an_empty_table_keeps_its_schema(tmp_path: Path, kind: str) -> None:
    RunDirectory(tmp_path).write_rows(kind, [])
    frame = RunDirectory(tmp_path).read_rows(kind)
    assert frame.empty
    assert frame.dtypes.to_dict() == frame_of(kind, []).dtypes.to_dict()
    assert list(frame.columns) == schema_of(RECORDS[kind]).names


def test_invariant_3_same_rows_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    for kind in RECORDS:
        one, two = ((tmp_path / name / f"{kind}.parquet").read_bytes() for name in ("one", "two"))
        assert one == two, kind


def test_not_compared_is_null_and_stays_so(tmp_path: Path) -> None:
    requests = rows()["requests"]
    unknown = msgspec.structs.replace(requests[0], lossless=None)
    RunDirectory(tmp_path).write_rows("requests", [unknown, requests[1]])
    assert RunDirectory(tmp_path).read_rows("requests")["lossless"].tolist() == [None, True]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_summary({"valid": True})
    with pytest.raises(ValueError, match="JSON compliant"):
        directory.write_summary({"tpot_ms": float("nan")})
    assert directory.read_summary() == {"valid": True}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["SHA256SUMS", "summary.json"]


def test_a_directory_that_is_no_run_is_bad_input_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"manifest\.json: does not exist; is .* a finished run directory\?"):
        load(tmp_path)
    (tmp_path / "manifest.json").write_text("{,}")
    with pytest.raises(BadInput, match=r"manifest\.json:1: is not JSON"):
        load(tmp_path)


def written(path: Path) -> RunDirectory:
    directory = RunDirectory(path)
    directory.write_manifest(run().manifest)
    for kind, of_kind in rows().items():
        directory.write_rows(kind, of_kind)
    directory.write_summary({"validity": {"valid": True, "reasons": []}})
    return directory


def test_the_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    assert written(tmp_path).sealed
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len(FILES)


@pytest.mark.parametrize("name", ["requests.parquet", "manifest.json", "summary.json"])
def test_a_file_that_is_not_as_it_was_written_is_named(tmp_path: Path, name: str) -> None:
    directory = written(tmp_path)
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(raw.replace(raw[20:21], b"x", 1))
    with pytest.raises(BadInput, match=rf"{name}: is damaged or was changed: .*remove SHA256SUMS to read it anyway"):
        load(tmp_path)
        directory.read_summary()


def test_what_we_write_again_is_sealed_again(tmp_path: Path) -> None:
    directory = written(tmp_path)
    directory.write_manifest({**run().manifest, "note": "x"})
    assert load(tmp_path).manifest["note"] == "x"


def test_what_fails_with_a_directory_of_another_shape_is_bad_input_and_with_a_whole_one_a_defect(
    tmp_path: Path,
) -> None:
    written(tmp_path)
    with pytest.raises(KeyError), using(tmp_path):
        raise KeyError("nothing of the run's fault")
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(BadInput, match="is not a finished run of this version: 'x' is missing"), using(tmp_path):
        raise KeyError("x")
