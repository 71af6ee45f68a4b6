"""The command line of the flows: `python -m flows --help`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.error import URLError
from urllib.request import urlopen

import typer

import flows as flows  # sets the environment before Prefect is imported
from stages.lib.errors import ConfigError

HOST = "127.0.0.1"
PORT = 4200

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Run the pipeline through Prefect: retries, logs, schedules and a page to look at.\n\n"
    "Nothing here is needed to reproduce a result: `dvc repro` does the same work.",
)


@app.command()
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


@app.command()
def graph() -> None:
    """Print the graph of dvc.yaml as a Mermaid flowchart: the picture in the README."""
    from flows import dvc
    from flows.picture import mermaid

    typer.echo(mermaid(dvc.graph(Path.cwd())))


@app.command()
def server(port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = PORT) -> None:
    """Start the Prefect server and its pages on http://127.0.0.1:4200; needed to look at past runs.

    It listens on this machine only, sends nothing out, and keeps its records in PREFECT_HOME.
    """
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    os.execv(sys.executable, command)


@app.command()
def serve() -> None:
    """Run the deployments of flows/prefect.yaml on this machine, at their schedules, until Ctrl-C."""
    if not _use_server():
        typer.echo("no Prefect server: start `python -m flows server`, or set PREFECT_API_URL", err=True)
        raise typer.Exit(ConfigError.exit_code)
    from prefect import serve as serve_deployments

    from flows.deployments import read

    serve_deployments(*read(Path(__file__).with_name("prefect.yaml")))


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
