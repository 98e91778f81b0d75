# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The reference of the command line, generated from its definitions."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click

from mt_perception.cli.main import SUB_COMMANDS, command_line


def command_reference() -> str:
    """Return a Markdown section for each sub-command: usage, description and options."""
    context = click.Context(command_line, info_name='mt_perception')
    sections = []
    for name in SUB_COMMANDS:
        command = command_line.get_command(context, name)
        assert command is not None
        sections.append(_section(name, command))
    return '\n'.join(sections)


def _section(name: str, command: click.Command) -> str:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    usage = ' '.join(_argument(argument) for argument in arguments)
    extra = SUB_COMMANDS[name].extra
    needs = f' Needs the extra `{extra}`.' if extra else ''
    text = inspect.cleandoc(command.help or '').replace('\b\n', '')
    text = re.sub(r'(?<!\n)\n(?!\n)', ' ', text)
    lines = [
        f'## {name}',
        '',
        f'`mt_perception {name} [OPTIONS] {usage}`'.replace(' `', '`'),
        '',
        text + needs,
        '',
    ]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        lines += ['| option | value | default | meaning |', '|---|---|---|---|']
        lines += [_row(option) for option in options]
        lines.append('')
    return '\n'.join(lines)


# The texts of click itself differ between its versions; these are our own.
def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or argument.name or '').upper()
    name = f'{name}...' if argument.nargs != 1 and not name.endswith('...') else name
    return name if argument.required or name.startswith('[') else f'[{name}]'


def _row(option: click.Option) -> str:
    names = ', '.join(f'`{name}`' for name in (*option.opts, *option.secondary_opts))
    value = ''
    if not option.is_flag:
        choices = option.type.choices if isinstance(option.type, click.Choice) else ()
        value = ', '.join(map(str, choices)) or option.metavar or option.type.name.upper()
        if isinstance(option.type, (click.IntRange, click.FloatRange)):
            low, high = option.type.min, option.type.max
            value = value.removesuffix(' RANGE') + (
                f', {low} to {high}' if high else f', from {low}'
            )
    default = option.default
    if isinstance(default, Path) and default.is_absolute():
        default = default.name
    absent = default is None or default is False or default in ((), '') or callable(default)
    shown = '' if absent or option.multiple or 'UNSET' in repr(default).upper() else f'`{default}`'
    cells = (names, value, shown, option.help or '')
    return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'
