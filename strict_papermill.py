"""A papermill engine that is stricter than the default.

An unknown parameter is an error, Ctrl-C prints one sentence, and a cell's consecutive prints are one output.

pyproject.toml registers it as an entry point. It takes the name of papermill's default engine too, so that it is used
wherever this project is installed.
"""

import click
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, papermill_engines
from papermill.inspection import _infer_parameters as infer_parameters


class UnknownParameterError(click.ClickException, ValueError):
    """The notebook has no such parameter; the command line prints only this and exits with status 1."""


class StrictEngine(NBClientEngine):
    """Executes a notebook only with parameters that its parameters cell defines."""

    @classmethod
    def execute_notebook(cls, nb: NotebookNode, kernel_name: str, **options: object) -> NotebookNode:
        """Execute a notebook; raises UnknownParameterError before it runs or writes anything."""
        known = sorted(parameter.name for parameter in infer_parameters(nb))
        wanted = f"one of {', '.join(known)}" if known else "left out, as this notebook has none"
        for name in nb.metadata.papermill["parameters"]:
            if name not in known:
                raise UnknownParameterError(f"parameter is {name!r}, but has to be {wanted}.")
        try:
            return super().execute_notebook(nb, kernel_name, **{"coalesce_streams": True} | options)
        except KeyboardInterrupt as error:
            raise click.ClickException(
                "Stopped. Run the same command again: training resumes after its last epoch."
            ) from error


papermill_engines.register(None, StrictEngine)
