"""What plain ``papermill`` leaves to be wished.

An unknown parameter is an error, Ctrl-C leaves a sentence, and what a cell prints is one output, however it arrives.

The class below is papermill's engine in every environment that this project is installed in (an entry point in
pyproject.toml), by name and, because papermill takes the engine named None where nobody asks for another, by default.
"""

import click
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, papermill_engines
from papermill.inspection import _infer_parameters as infer_parameters


class UnknownParameterError(click.ClickException, ValueError):
    """A parameter that the notebook does not have; the command line prints this alone and ends with status 1."""


class StrictEngine(NBClientEngine):
    """Executes a notebook as papermill does, but not with a parameter that its parameters cell does not define."""

    @classmethod
    def execute_notebook(cls, nb: NotebookNode, kernel_name: str, **options: object) -> NotebookNode:
        """Execute a notebook; raises UnknownParameterError before anything is run or written."""
        known = sorted(parameter.name for parameter in infer_parameters(nb))
        wanted = f"one of {', '.join(known)}" if known else "left out, as this notebook has none"
        for name in nb.metadata.papermill["parameters"]:
            if name not in known:
                raise UnknownParameterError(f"parameter is {name!r}, but has to be {wanted}.")
        try:
            return super().execute_notebook(nb, kernel_name, **{"coalesce_streams": True} | options)
        except KeyboardInterrupt as error:
            raise click.ClickException("Stopped. The same command goes on: a training after its last epoch.") from error


papermill_engines.register(None, StrictEngine)
