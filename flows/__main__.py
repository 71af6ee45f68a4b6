"""The command line of the flows: `python -m flows --help`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError
from urllib.request import urlopen

import typer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import flows as flows  # sets the environment before Prefect is imported
from stages.lib.errors import ConfigError, StageError

HOST = "127.0.0.1"
PORT = 4200

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Run the pipeline through Prefect, and watch what its model sees in production.\n\n"
    "Nothing here is needed to reproduce a result: `dvc repro` does the same work. The watch keeps its state below "
    "FLOWS_HOME, `.watch` unless it is set, and reads `settings.yaml` there; flows/RUNBOOK.md says what an alarm means "
    "and what to do.",
)
BUILD, WATCH, ANSWER = "Build", "Watch", "Answer an alarm"
UI_PORT = 8000


@app.command(rich_help_panel=BUILD)
def build(
    stage: Annotated[list[str] | None, typer.Option(help="Only this stage and what it waits for.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Stages at work at the same time.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Run even what is up to date.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Send the results to the DVC remote.")] = False,
) -> None:
    """Bring the pipeline up to date.

    The run is recorded by the server of PREFECT_API_URL; else by the one that `python -m flows server`
    started on this machine; else by a temporary one, which takes half a minute to start and forgets most
    task runs. Ends with the exit code of the first stage that failed: 2 bad config, 3 gate failed,
    75 transient, 124 out of time, 128 + n ended by signal n.
    """
    from flows import dvc

    try:
        dvc.graph(Path.cwd()).named(stage or [])  # a mistyped name must not wait for a server to start
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None

    _use_server()
    from flows.build import BuildFailed
    from flows.build import build as build_flow

    try:
        done = build_flow(stages=stage, jobs=jobs, force=force, push=push)
    except BuildFailed as error:
        typer.echo(f"build failed: {error}", err=True)
        raise typer.Exit(error.code if error.code > 0 else 128 - error.code) from None
    for name, outcome in done.items():
        typer.echo(f"{outcome:>9}  {name}")


@app.command(rich_help_panel=BUILD)
def graph() -> None:
    """Print the graph of dvc.yaml as a Mermaid flowchart: the picture in the README."""
    from flows import dvc
    from flows.picture import mermaid

    typer.echo(mermaid(dvc.graph(Path.cwd())))


@app.command(rich_help_panel=BUILD)
def server(port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = PORT) -> None:
    """Start the Prefect server and its pages on http://127.0.0.1:4200; needed to look at past runs.

    It listens on this machine only, sends nothing out, and keeps its records in PREFECT_HOME.
    """
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    os.execv(sys.executable, command)


@app.command(rich_help_panel=BUILD)
def serve() -> None:
    """Run the deployments of flows/prefect.yaml on this machine, at their schedules, until Ctrl-C."""
    if not _use_server():
        typer.echo("no Prefect server: start `python -m flows server`, or set PREFECT_API_URL", err=True)
        raise typer.Exit(ConfigError.exit_code)
    from prefect import serve as serve_deployments

    from flows.deployments import read

    serve_deployments(*read(Path(__file__).with_name("prefect.yaml")))


@app.command(rich_help_panel=WATCH)
def settings() -> None:
    """Check the settings.yaml of FLOWS_HOME, and explain every key that it may hold, with what is in force."""
    from flows.home import Home
    from flows.settings import WatchSettings
    from stages.lib.explained import show

    home = Home.from_environment()
    with _told():
        show(str(home.settings), WatchSettings, WatchSettings.of(home).model_dump(mode="json"))
    typer.echo("the settings are valid" if home.settings.is_file() else "there is no such file: these are the defaults")


@app.command(rich_help_panel=WATCH)
def enrol(
    people: Annotated[Path, typer.Argument(help="Photographs of those who may pass, as PERSON/IMAGE.")],
    model: Annotated[str | None, typer.Option(help="An exported .onnx; default: the champion.")] = None,
) -> None:
    """Make a template of each person, so that captures that claim to be somebody get a match score.

    It takes the place of all templates that there were. Templates are of one model: enrol people anew after a
    promotion.
    """
    from flows.home import Home
    from flows.score import enrol_people

    with _told():
        typer.echo(enrol_people(Home.from_environment(), people, model))


@app.command(rich_help_panel=WATCH)
def score(
    source: Annotated[str | None, typer.Argument(help="CAMERA/IMAGE below a folder, or Parquet; none: inbox.")] = None,
    model: Annotated[str | None, typer.Option(help="An exported .onnx; default: the champion.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Delete captures once their rows are safe.")] = False,
) -> None:
    """Score new captures: a row each in the capture log, no pixels and no embeddings."""
    _use_server()
    from flows.score import score as score_flow

    with _told():
        typer.echo(score_flow(source=source, model=model, remove=remove))


@app.command(rich_help_panel=WATCH)
def baseline(
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day, UTC.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day, UTC.")],
    camera: Annotated[list[str] | None, typer.Option(help="As the log names it; default: every camera.")] = None,
) -> None:
    """Accept a stretch of captures as normal: what its cameras are compared with from then on.

    A camera that cannot have one keeps no other waiting; the exit code is 2 then.
    """
    from flows.baselines import accept_baseline
    from flows.home import Home
    from flows.settings import WatchSettings

    home, refused = Home.from_environment(), False
    start, end = since.replace(tzinfo=UTC), until.replace(tzinfo=UTC) + timedelta(days=1)
    with _told():
        how = WatchSettings.of(home)
        captures = how.captures(home)
        cameras = camera or sorted({name for _, name in captures.counts(start, end, 24)})
        if not cameras:
            raise ConfigError(f"no captures from {since:%Y-%m-%d} to {until:%Y-%m-%d}; see `python -m flows status`")
        for name in cameras:
            try:
                accepted = accept_baseline(captures, home, name, start, end, how.keep_embeddings)
                typer.echo(f"{name}: {len(accepted.faces())} faces are its baseline")
            except ConfigError as error:
                typer.echo(f"{name} is left as it was: {error}", err=True)
                refused = True
    if refused:
        raise typer.Exit(ConfigError.exit_code)


@app.command(rich_help_panel=WATCH)
def monitor() -> None:
    """Hold finished windows of captures against what is normal; alarms come with their price."""
    _use_server()
    from flows.monitor import monitor as monitor_flow

    with _told():
        new = monitor_flow()
    typer.echo("\n".join(new) or "no new alarm")


@app.command(rich_help_panel=WATCH)
def status() -> None:
    """Print the alarms that are on, and the newest windows of all cameras."""
    from flows.home import Home
    from flows.monitor import summary
    from flows.settings import WatchSettings

    home = Home.from_environment()
    with _told():
        typer.echo(summary(home, WatchSettings.of(home)))


@app.command(rich_help_panel=WATCH)
def page() -> None:
    """Write the watch as one HTML file, for people without a server."""
    from flows.home import Home
    from flows.settings import WatchSettings
    from flows.show import show_page

    home = Home.from_environment()
    with _told():
        typer.echo(show_page(home, WatchSettings.of(home)))


@app.command(rich_help_panel=WATCH)
def dashboard(
    port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = UI_PORT,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Start Evidently's pages too.")] = True,
) -> None:
    """Make Evidently's workspace anew from the drift store, and show it on http://127.0.0.1:8000."""
    from flows.home import Home
    from flows.settings import WatchSettings
    from flows.show import show_workspace

    home = Home.from_environment()
    with _told():
        typer.echo(show_workspace(home, WatchSettings.of(home)))
    if serve:
        command = [sys.executable, "-m", "evidently.cli", "ui", "--workspace", str(home.workspace), "--host", HOST]
        os.execv(sys.executable, [*command, "--port", str(port)])


@app.command(rich_help_panel=ANSWER)
def release(
    fmr: Annotated[float, typer.Option(help="False match rate to run at; the model must state a threshold.")] = 1e-2,
    student: Annotated[str | None, typer.Option(help="Default: reference.student.")] = None,
) -> None:
    """Put the pipeline's model into production as the first release, and freeze what challengers are judged on."""
    from flows.home import Home
    from flows.retrain import first_release

    with _told():
        first = first_release(Home.from_environment(), Path.cwd(), fmr, student, typer.echo)
        typer.echo(f"release {first.number} ({first.version}) runs at cosine {first.threshold:.4f}")


@app.command(rich_help_panel=ANSWER)
def retrain(
    alarm: Annotated[str | None, typer.Option(help="Id of the alarm that asks for it.")] = None,
    student: Annotated[str | None, typer.Option(help="That is trained; default: the champion's.")] = None,
    change: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of params.yaml, such as distill.epochs=20.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Do not wait for the cool-down.")] = False,
) -> None:
    """Build a challenger, judge it against the champion on the frozen protocol, and promote or hold it."""
    _use_server()
    from flows.build import BuildFailed
    from flows.retrain import retrain as retrain_flow

    with _told():
        changes = dict(map(_change, change or []))
        try:
            typer.echo(retrain_flow(alarm=alarm, student=student, changes=changes, force=force))
        except BuildFailed as error:
            typer.echo(f"the challenger's build failed: {error}", err=True)
            raise typer.Exit(error.code if error.code > 0 else 128 - error.code) from None


@app.command(rich_help_panel=ANSWER)
def releases() -> None:
    """List every model that was promoted or held, and why."""
    from flows.home import Home
    from flows.releases import Releases

    with _told():
        book = Releases(Home.from_environment())
        champion, decided = book.champion(), {event.release: event for event in book.history()}
        for one in book.all():
            event = decided.get(one.number)
            mark = "champion" if champion and one.number == champion.number else event.what if event else ""
            typer.echo(f"{one.number:>4}  {one.version:<14} {mark:<11} {event.reason if event else one.reason}")


@app.command(rich_help_panel=ANSWER)
def rollback(reason: Annotated[str, typer.Option(help="For the history.")]) -> None:
    """Put the champion before back into production, its threshold included."""
    from flows.home import Home
    from flows.releases import Releases

    with _told():
        back = Releases(Home.from_environment()).roll_back(reason)
        typer.echo(f"release {back.number} ({back.version}) runs at cosine {back.threshold:.4f}")


@app.command(rich_help_panel=WATCH)
def demo() -> None:
    """Play the whole loop on computed people: ship, drift, alarm, retrain, promote; and a drift that is held.

    Takes a finished `dvc repro`, and about eight minutes on two cores. Its state is kept in .watch/demo.
    """
    _use_server()
    from flows.demo import play

    with _told():
        play(Path.cwd(), typer.echo)


def _change(told: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as YAML reads it."""
    key, equals, value = told.partition("=")
    wrong = ConfigError(f"--change {told}: write KEY=VALUE, such as distill.epochs=20")
    if not equals:
        raise wrong
    try:
        return key, YAML(typ="safe", pure=True).load(value)
    except YAMLError:
        raise wrong from None


@contextmanager
def _told() -> Iterator[None]:
    """Errors of ours are one line and their exit code."""
    try:
        yield
    except StageError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(error.exit_code) from None


def _use_server() -> bool:
    """Use the server that the settings name, or else the one on this machine if it answers."""
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    if get_current_settings().api.url is not None:
        return True
    local = f"http://{HOST}:{PORT}/api"
    try:
        urlopen(f"{local}/health", timeout=2).close()
    except (URLError, TimeoutError):
        return False
    os.environ["PREFECT_API_URL"] = local
    refresh_global_settings_context()
    return True


if __name__ == "__main__":
    app(prog_name="python -m flows")
