# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception``: imports the sub-command that is used, and prints errors as one sentence."""

from __future__ import annotations

import errno
import importlib
import sys
from dataclasses import dataclass
from keyword import iskeyword

import click
from rich.console import Console
from rich.markup import escape

from mt_perception import __version__
from mt_perception.errors import PerceptionError
from mt_perception.resources import install_command

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended, as shells expect it."""


_OF_THE_COMPUTER = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EIO, errno.ENAMETOOLONG, errno.ELOOP),
    )
)
"""Errors of files and disks that are no defect of this package."""


@dataclass(frozen=True)
class SubCommand:
    """A sub-command that is imported when it is used.

    Attributes:
        help: What the overview says about it.
        extra: The extra of the package whose dependencies it needs, or an empty string.
    """

    help: str
    extra: str = ''


SUB_COMMANDS = {
    'demo': SubCommand('Run the perception node on a sample video.', 'ros'),
    'run': SubCommand('Run the model on images, a video, a camera, a bag or a topic.'),
    'models': SubCommand('List the installed models and say which to use.'),
    'inspect': SubCommand('Show and check a model folder.'),
    'import': SubCommand('Make a model folder from ONNX networks of other projects.', 'import'),
    'evaluate': SubCommand('Measure models on bags, data sets and videos.'),
    'calibrate': SubCommand('Fit depth to known distances of one camera.'),
    'compare': SubCommand('Compare two evaluations: better, worse or noise.'),
    'replay': SubCommand('Evaluate the model in the real node, over DDS.', 'ros'),
    'serve': SubCommand('Run a remote host, to which robots offload.', 'serve'),
    'condition': SubCommand('Estimate how often a condition holds on a recording.'),
    'doctor': SubCommand('Check the installation; print a remedy for each fault.'),
    'benchmark': SubCommand('Measure the time of each stage and block.'),
    'dataset': SubCommand('Make a data set from recordings, with pseudo labels.', 'eval'),
    'train': SubCommand('Train a network by a recipe.', 'train'),
    'export': SubCommand('Write a trained network as a model folder.', 'train'),
    'quantize': SubCommand('Write a model folder that computes in 8 bits.', 'train'),
    'cascade': SubCommand('Add a second network and gates to a model.', 'train'),
    'cut': SubCommand('Split a trained network between robot and host, for offloading.', 'train'),
}


_EXTRA_OF = dict.fromkeys(('constriction', 'grpc', 'tritonclient'), 'offload')
"""Extras of packages that a command needs for some options only."""


class LazyGroup(click.Group):
    """Sub-commands by the name of their module and function in ``mt_perception.cli``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a new user needs them."""
        return list(SUB_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one sub-command."""
        if cmd_name not in SUB_COMMANDS:
            return None
        # `import` is a keyword of Python.
        name = f'{cmd_name}_' if iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f'mt_perception.cli.{name}')
        command = getattr(module, name)
        if not isinstance(command, click.Command):
            raise TypeError(f'{module.__name__}.{name} is no click command')
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, for which no sub-command is imported."""
        with formatter.section('Commands'):
            formatter.write_dl([(name, command.help) for name, command in SUB_COMMANDS.items()])


@click.group(
    cls=LazyGroup, context_settings={'help_option_names': ['-h', '--help'], 'show_default': True}
)
@click.version_option(__version__, prog_name='mt_perception')
def command_line() -> None:
    """Detections, metric depth and segmentation from one shared multitask network."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What was typed after ``mt_perception``; None takes it from the process.

    Returns:
        The exit status: 0, 1 for an expected error, 2 for wrong usage, 130 for Ctrl-C.
    """
    complaints = Console(stderr=True)
    try:
        status = command_line.main(arguments, prog_name='mt_perception', standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complaints.print('\nstopped', style='yellow')
        return INTERRUPTED
    except PerceptionError as error:
        complaints.print(
            f'[bold red]error:[/] {escape(str(error))}', highlight=False, soft_wrap=True
        )
        return 1
    except ModuleNotFoundError as error:
        complaints.print(f'[bold red]error:[/] {_missing(error)}', highlight=False, soft_wrap=True)
        return 1
    except OSError as error:
        if error.errno not in _OF_THE_COMPUTER:
            raise
        place = '' if error.filename is None else f'{error.filename}: '
        complaints.print(
            f'[bold red]error:[/] {escape(f"{place}{error.strerror}")}; check its name, that you '
            'may use it and that its disk has space',
            highlight=False,
            soft_wrap=True,
        )
        return 1
    return status if isinstance(status, int) else 0


def _missing(error: ModuleNotFoundError) -> str:
    package = (error.name or '').split('.')[0]
    if package == 'mt_perception':
        raise error
    if package in ('rclpy', 'vision_msgs'):
        return (
            f'this needs ROS 2, but {package} cannot be imported; source your ROS 2 '
            'installation, or see: mt_perception doctor'
        )
    names = [name for name in sys.argv[1:] if name in SUB_COMMANDS]
    extra = (SUB_COMMANDS[names[0]].extra if names else '') or _EXTRA_OF.get(package, '')
    command = install_command(extra) if extra else f'pip install {package}'
    return escape(f'{package} is not installed; {command}')
