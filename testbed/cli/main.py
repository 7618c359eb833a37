"""The command line: thin, one function per verb. Everything heavy is imported inside the verb, and help is plain text
(rich would be a third of its time), so that --help is instant.

The testbed's own errors are printed here, in one line, with the exit codes 2 (bad input), 3 (not valid), 4 (the
machine cannot) and 130 (interrupted).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli import capacity as cli_capacity
from testbed.cli import completion as cli_completion
from testbed.cli import export as cli_export
from testbed.cli import files as cli_files
from testbed.cli import images as cli_images
from testbed.cli import imports as cli_imports
from testbed.cli import loads as cli_loads
from testbed.cli import models as cli_models
from testbed.cli import plan as cli_plan
from testbed.cli import policies as cli_policies
from testbed.cli import runs as cli_runs
from testbed.cli import shell as cli_shell
from testbed.cli import shelves
from testbed.cli import sweep as cli_sweep
from testbed.cli import topologies as cli_topologies
from testbed.cli.catalogue import add
from testbed.cli.entry import INTERRUPTED
from testbed.cli.judged import Assertions, Judged, Junit, Retries
from testbed.cli.options import (
    Engine,
    Experiment,
    Fabric,
    FabricOption,
    Json,
    Nodes,
    NodesOption,
    gain_privilege,
    topology_names,
)
from testbed.cli.output import note, print_json, show
from testbed.cli.unexpected import explained
from testbed.cli.version import Version
from testbed.errors import BadInput, RunInvalid, TestbedError
from testbed.system.interrupt import Signals, interruptible

if TYPE_CHECKING:
    from testbed.results.rundir import Outcome

NAME = "testbed"  # in usage lines, however it was started

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _testbed(version: Version = False) -> None:
    """Emulation testbed for distributed speculative decoding."""


def main() -> None:
    """The same as `testbed.cli.entry.main`, for scripts that were installed when this was the entry point."""
    from testbed.cli.entry import main as start

    start()


def run_command() -> int:
    """Runs what the command line asks for, and takes it down whatever happens; returns the exit status."""
    try:
        with interruptible() as signals:
            return _status(signals)
    except KeyboardInterrupt:  # between the two
        return INTERRUPTED


def _status(signals: Signals | None = None) -> int:
    """Runs the verb; prints what went wrong, and in the clean-up after it, a line each; returns the exit status.

    After an interrupt that is all that is said by the status, whatever the way out of the verb has come to.
    """
    try:
        cli_completion.prepare()
        status = app(
            prog_name=NAME, standalone_mode=False
        )  # a verb's typer.Exit, and an interrupt, come back as a status
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except TestbedError as error:
        for line in (error, *getattr(error, "__notes__", ())):
            print(f"testbed: {line}", file=sys.stderr)
        return error.exit_code if signals is None or not signals.came else INTERRUPTED
    except Exception as error:
        if signals is not None and signals.came:
            return INTERRUPTED
        code = getattr(error, "exit_code", None)  # click's own usage errors
        if code is None or not hasattr(error, "show"):
            return explained(error)
        error.show()
        return int(code)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show what this machine can do and how to fix the rest.

    Also which fabric `--fabric auto` would choose, and why.
    """
    from testbed.cli.doctor import examine, render

    findings = examine()
    if as_json:
        print_json(findings)
    else:
        show(render(findings))


@app.command()
def run(
    experiment: Experiment,
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. workload.requests=10")] = None,
    engine: Annotated[
        Engine, typer.Option("--engine", help="emulation: real models and sockets; simulation: virtual time.")
    ] = Engine.emulation,
    fabric: FabricOption = Fabric.auto,
    nodes: NodesOption = Nodes.auto,
    out: Annotated[Path, typer.Option("--out", help="Folder for run directories.")] = Path("runs"),
    seed: Annotated[int | None, typer.Option("--seed", help="Seed, in place of the experiment's.")] = None,
    pcap: Annotated[
        list[str] | None, typer.Option("--pcap", metavar="A:B", help="Capture the packets between these two nodes.")
    ] = None,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Do not measure the links during the run.")] = False,
    no_plan: Annotated[bool, typer.Option("--no-plan", help="No pilot first: dilation auto is 1.")] = False,
    table: Annotated[
        str | None, typer.Option("--table", help="Simulation: decode table name or path; default: one that fits.")
    ] = None,
    assertions: Assertions = None,
    retries: Retries = 0,
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Run one experiment; write a run directory with a report.

    An assertion is [POLICY.]METRIC[.p95] OPERATOR NUMBER [(95 %)]: with (95 %) the whole interval must satisfy it.
    """
    if engine is Engine.emulation:
        gain_privilege()
    elif pcap:
        raise BadInput("--pcap: a simulation has no packets; use --engine emulation, or leave it out")
    elif no_probe:
        raise BadInput("--no-probe: a simulation has no probe; use --engine emulation, or leave it out")
    elif no_plan:
        raise BadInput("--no-plan: a simulation has no pilot; use --engine emulation, or leave it out")
    elif retries:
        raise BadInput("--retries: a simulation comes out the same each time; use --engine emulation, or leave it out")
    elif nodes is Nodes.docker:
        raise BadInput("--nodes docker: a simulation has no containers; use --engine emulation")
    if table is not None and engine is Engine.emulation:
        raise BadInput("--table: an emulation runs the models themselves; use --engine simulation, or leave it out")
    from testbed.cli.progress import ConsoleProgress
    from testbed.experiment.document import read_experiment
    from testbed.results.assertions import sentence
    from testbed.results.table import render

    changes = [*(overrides or []), *([f"seed={seed}"] if seed is not None else [])]
    if table is not None:
        changes.append(f"outcomes={json.dumps({'table': table})}")
    document = read_experiment(experiment, changes)
    for line in document.choices():
        note(line)
    scenario = document.scenario()
    judged = Judged(scenario, assertions or (), retries, junit)

    def attempt() -> Outcome:
        with ConsoleProgress(total=scenario.workload.requests * scenario.repeats * len(scenario.policies)) as progress:
            if engine is Engine.simulation:
                from testbed.simulation import engine as simulation

                return simulation.run(scenario, simulation.Options(out=out), progress)
            from testbed.emulation import engine as emulation

            options = emulation.Options(
                fabric.value, out, tuple(pcap or ()), probe=not no_probe, nodes=nodes.value, plan=not no_plan
            )
            return emulation.run(scenario, options, progress)

    outcome, judgements = judged.run(attempt)
    if as_json:
        print_json({"directory": str(outcome.directory), **outcome.summary, **judged.as_dict(judgements)})
    else:
        show(render(outcome.summary, outcome.manifest["policies"]))
        for one in judgements:
            print(sentence(one))
        print(f"report: {outcome.directory / 'report.html'}")
    if status := judged.status(outcome, judgements):
        raise typer.Exit(status)


@app.command()
def report(
    run_directory: Annotated[Path, typer.Argument(help="Run directory, e.g. runs/latest.")],
) -> None:
    """Write a run's self-contained HTML report again."""
    from testbed.report import write_report

    print(write_report(run_directory))


@app.command()
def calibrate(
    run_directory: Annotated[Path, typer.Argument(help="Directory of an emulated run, e.g. runs/latest.")],
    table: Annotated[
        str | None, typer.Option("--table", help="Decode table; default: one that matches the run.")
    ] = None,
    ensemble: Annotated[
        int, typer.Option("--ensemble", min=0, max=1000, help="Simulations to test the run's repeats against; 0: none.")
    ] = 0,
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="Another run of the same experiment: more repeats; repeatable.")
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0.001, max=0.5, help="How far apart is still equal, as a share.")
    ] = 0.03,
    as_json: Json = False,
) -> None:
    """Simulate an emulated run and report the differences.

    Everything it needs is taken from the run's manifest. With --ensemble the run's repeats are tested for equivalence
    with simulations whose overhead a job lies between 0 and 0.6 ms.
    """
    from testbed.simulation import ensemble as equal
    from testbed.simulation.calibrate import calibrate as compare
    from testbed.simulation.calibrate import render

    if also and not ensemble:
        raise BadInput("--also gives repeats for --ensemble; add --ensemble 20")
    result = compare(run_directory, table)
    options = equal.EnsembleOptions(ensemble, margin)
    if ensemble:
        result["equivalence"] = equal.equivalences([run_directory, *(also or [])], options, table)
    if as_json:
        print_json({"directory": str(run_directory), **result})
    else:
        show(render(result), *([equal.render(result["equivalence"], options)] if ensemble else []))
    if not result["tokens_identical"]:
        raise RunInvalid(f"{run_directory}: the simulated tokens differ from the emulated tokens")


@app.command()
def probe(
    topology: Annotated[str, typer.Argument(help="Topology name or file.", autocompletion=topology_names)],
    fabric: FabricOption = Fabric.auto,
    count: Annotated[int, typer.Option("--count", min=1, help="Probes per directed link.")] = 200,
    as_json: Json = False,
) -> None:
    """Bring up a network and measure every directed link.

    Each link is compared with its specification; nothing else runs.
    """
    gain_privilege()
    from testbed.emulation.probe_command import render, survey

    result = survey(topology, fabric.value, count, note=lambda text: None if as_json else note(text))
    if as_json:
        print_json(result.as_dict())
    else:
        show(render(result))
    if result.caution:
        note(f"testbed: {result.caution}")
    if result.reasons:
        for reason in result.reasons:
            print(f"testbed: not valid: {reason}", file=sys.stderr)
        raise typer.Exit(RunInvalid.exit_code)


@app.command()
def record(
    out: Annotated[Path, typer.Option("--out", help="Table to write (*.parquet).")],
    target: Annotated[str, typer.Option("--target", help="Target model.")] = "tiny-target",
    draft: Annotated[str, typer.Option("--draft", help="Draft model, or prompt-lookup.")] = "tiny-draft",
    prompts: Annotated[str, typer.Option("--prompts", help="Prompt set.")] = "prose",
    output_tokens: Annotated[int, typer.Option("--output-tokens", min=1, help="Longest output, in tokens.")] = 100,
    depth: Annotated[int, typer.Option("--depth", min=1, help="Tokens per draft rollout.")] = 17,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Do not stop at the end of text.")] = False,
    no_second_choice: Annotated[
        bool, typer.Option("--no-second-choice", help="Do not record rollouts from the drafter's second choice.")
    ] = False,
    temperature: Annotated[float, typer.Option("--temperature", help="Above 0: record sampled output.")] = 0.0,
    top_k: Annotated[int, typer.Option("--top-k", help="As workload.sampling.top_k.")] = 0,
    top_p: Annotated[float, typer.Option("--top-p", help="As workload.sampling.top_p.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the experiment whose draws are recorded.")] = 0,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Repeats of the experiment.")] = 1,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="An experiment that says all but --depth, also with a load.")
    ] = None,
) -> None:
    """Record a decode table for the simulation to replay.

    It holds what a model pair does at every output position.
    """
    from testbed.cli.record import record_experiment, record_to_file, sampled_from

    if experiment is not None:
        said = (target, draft, prompts, output_tokens, ignore_eos, temperature, top_k, top_p, seed, repeats)
        if said != ("tiny-target", "tiny-draft", "prose", 100, False, 0.0, 0, 1.0, 0, 1):
            raise BadInput("--experiment says models, prompts, lengths and sampling; leave those options out")
        print(record_experiment(experiment, depth, out, not no_second_choice, note))
        return
    print(
        record_to_file(
            target,
            draft,
            prompts,
            output_tokens,
            depth,
            out,
            ignore_eos=ignore_eos,
            second_choice=not no_second_choice,
            progress=note,
            sampling=sampled_from(temperature, top_k, top_p, seed, repeats),
        )
    )


@app.command()
def clean(
    run: Annotated[str | None, typer.Option("--run", help="Only this run or this attempt.")] = None,
) -> None:
    """Remove what crashed runs left behind, and nothing else.

    Exit status 1 if something could not be removed.
    """
    from testbed.containers.removal import remove_named
    from testbed.system.cleaning import clean as clean_up

    cleaned = clean_up(remove_named, attempt=run)
    for line in cleaned.said:
        print(line)
    for line in cleaned.failed:
        note(f"testbed: clean: {line}")
    if cleaned.failed:
        raise typer.Exit(1)
    if not cleaned.said:
        print("nothing to clean")


cli_plan.add_to(app)
cli_sweep.add_to(app)
cli_shell.add_to(app)
cli_capacity.add_to(app)
cli_files.add_to(app)
cli_completion.add_to(app)
add(app, shelves.Experiments())
topologies = add(app, shelves.Topologies(), cli_topologies.show_topology)
topologies.command()(cli_topologies.diff)
cli_imports.add_to(topologies, add(app, shelves.Traces()))
add(app, shelves.Prompts())
cli_loads.add_to(add(app, cli_loads.Loads()))
cli_models.add_to(add(app, shelves.Models()))
add(app, shelves.Devices())
cli_policies.add_to(add(app, cli_policies.Policies()))
add(app, shelves.Tables())
add(app, shelves.Metrics())
cli_runs.add_to(app)
cli_export.add_to(app)
cli_images.add_to(app)


if __name__ == "__main__":
    main()
