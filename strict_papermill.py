"""A papermill that is stricter than the default.

An unknown parameter is an error, the kernel is this Python's, Ctrl-C prints one sentence, and a cell's consecutive
prints are one output.

pyproject.toml registers the engine as an entry point. It takes the name of papermill's default engine too, so that it
is used wherever this project is installed.
"""

import os
import sys

import click
import papermill.parameterize
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, papermill_engines
from papermill.inspection import _infer_parameters as infer_parameters


class UnknownParameterError(click.ClickException, ValueError):
    """The notebook has no such parameter; the command line prints only this and exits with status 1."""


inject = papermill.parameterize.parameterize_notebook


def parameterize_notebook(nb: NotebookNode, parameters: dict, *arguments: object, **options: object) -> NotebookNode:
    """Inject parameters; raises UnknownParameterError before papermill runs or writes anything, --prepare-only too."""
    known = sorted(parameter.name for parameter in infer_parameters(nb))
    wanted = f"one of {', '.join(known)}" if known else "left out, as this notebook has none"
    for name in parameters:
        if name not in known:
            raise UnknownParameterError(f"parameter is {name!r}, but must be {wanted}.")
    return inject(nb, parameters, *arguments, **options)


# papermill.execute, which imports this function from there, loads the engines first
papermill.parameterize.parameterize_notebook = parameterize_notebook


class StrictEngine(NBClientEngine):
    """Executes a notebook in a kernel of this Python."""

    @classmethod
    def execute_notebook(cls, nb: NotebookNode, kernel_name: str, **options: object) -> NotebookNode:
        """Execute a notebook; "python3" is this Python even where another kernel of that name is found first."""
        own = os.path.join(sys.prefix, "share", "jupyter")  # noqa: PTH118
        others = os.environ.get("JUPYTER_PATH", "").split(os.pathsep)
        os.environ["JUPYTER_PATH"] = os.pathsep.join([own, *(path for path in others if path not in ("", own))])
        try:
            return super().execute_notebook(nb, kernel_name, **{"coalesce_streams": True} | options)
        except KeyboardInterrupt as error:
            raise click.ClickException(
                "Stopped. Run the same command again: training resumes after its last epoch."
            ) from error


papermill_engines.register(None, StrictEngine)
