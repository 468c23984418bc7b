"""The command line: one file a command, each imported only when it is called."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

import click

from edgekit.errors import EdgekitError

# name -> one line of help; the line is here so that `edgekit --help` imports no command.
_COMMANDS = {
    "optimize": "Take a model to one or more targets: compress, convert, quantize, verify, measure, report.",
    "search": "Search the recipes for the best files within budgets of size, latency, memory and accuracy.",
    "compress": "Make a Keras model smaller: prune, factorize, cluster, distill; convert nothing.",
    "sensitivity": "Show what each layer of a Keras model costs when a share of it is pruned.",
    "inspect": "Show what is inside a .tflite file.",
    "metadata": "Show or set the TFLite Metadata of a file: names, licence, normalization, labels.",
    "memory": "Show the memory that the tensors of a .tflite file need, and what sets it.",
    "check": "Say whether a model will run on a target, and what to change.",
    "recommend": "Say which techniques will pay for a model on a target, and which will not.",
    "vectors": "Make golden vectors of a .tflite file, or check a runtime or device against them.",
    "firmware": "Show flash and RAM of firmware from the linker's map: the model, its arena, the rest; and gate it.",
    "diff": "Write the delta from one version of a model to the next, to send instead of the whole file.",
    "patch": "Make the new version of a model from the old one and a delta.",
    "rewrite": "Write a .tflite file in operators that the target runs faster.",
    "split": "Cut a model into segments that run as a pipeline: on several cores, accelerators or boards.",
    "sbom": "Print the bill of materials of an artifact (CycloneDX).",
    "compile": "Compile a .tflite file for an Edge TPU or an Ethos-U, by the maker's compiler.",
    "package": "Package files for an Android or iOS app, a Linux board or a firmware build: model, code, self-test.",
    "verify": "Check a package: that no file was changed, who signed it, and that its models compute what they should.",
    "keygen": "Make a pair of keys to sign packages with.",
    "estimate": "Estimate latency on targets you do not own, from published figures.",
    "evaluate": "Measure the accuracy of a model on a data set.",
    "agree": "Compare simulation, file and device, and name the first operator where they part.",
    "benchmark": "Measure latency and memory of .tflite files.",
    "results": "Show, join and draw what `benchmark -o` wrote.",
    "profile": "Show where the time of a .tflite file goes, operator by operator.",
    "compare": "Compare two .tflite files: size, operators, outputs, latency.",
    "devices": "List your devices, and see what they are.",
    "targets": "List, show, validate and write targets.",
    "recipes": "List, show and validate recipes.",
    "doctor": "Check this environment; or explain, and repair, an int8 file that lost accuracy.",
    "completion": "Print the completion script for bash, zsh or fish.",
}


# What click says -> what to do, where its words leave that open.
_MENDS = {
    "unexpected extra argument": "put a path with spaces into quotes, and each value behind its option",
    "Missing option '--target'": "`edgekit targets list` has their names",
    "Missing option '--data'": "give the data that the model was trained on: .npz, class folders of images, .csv ...",
}


def _drop_output() -> None:
    """Let go what standard output still holds: it would fail again at the end of this process, with another code."""
    with suppress(OSError):  # an output in memory has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _LazyGroup(click.Group):
    """A group that imports a command's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; end as others do where `| head` has read enough, which click takes for a failed gate."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _drop_output()
            sys.exit(141)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgekit.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from edgekit.errors import did_you_mean

            raise click.UsageError(f"{error.message} {did_you_mean(args[0], _COMMANDS)}", ctx) from None


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgekit")
def cli() -> None:
    """Take a trained Keras model to edge devices: small, fast, measured and proven.

    Results go to standard output, talk to standard error; every result is JSON with --json.

    \b
    Exit codes: 0 done, 1 a gate or check failed, 2 wrong usage, 3 unusable input,
    4 something is not installed, 5 the model could not be run,
    70 a fault of edgekit's own, 130 interrupted, 141 nobody reads what it prints.
    """


def main() -> None:
    """Entry point: run a command, and turn errors into a message and an exit code."""
    from edgekit.terminal import colourless

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time-out of CI ends a command as Ctrl-C does
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter that the locale has not is shown by its number
    try:
        # gives the code of an early exit, such as that of --help
        ended = cli.main(standalone_mode=False, color=False if colourless() else None)
    except EdgekitError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        if mend := next((mend for said, mend in _MENDS.items() if said in error.format_message()), ""):
            _say(f"  mend: {mend}")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        sys.exit(130)
    except OSError as error:
        if error.filename is None:
            _drop_output()
        place = error.filename or "standard output, or a temporary file"
        _say(f"error: {place}: {error.strerror or error}\n  mend: check the space, the permissions and the path of it")
        sys.exit(3)
    except Exception:  # a traceback by itself would end with 1, as a missed gate does
        traceback.print_exc()
        sys.exit(70)
    sys.exit(ended if isinstance(ended, int) else 0)


def _say(text: str) -> None:
    """The last word, on a line of its own."""
    from edgekit.cli.common import progress, say

    progress("")
    say(text)
