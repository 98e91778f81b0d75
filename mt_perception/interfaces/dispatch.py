# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Generates C source that returns type supports of one shared library.

rosidl_typesupport_c finds the Fast DDS type support of a message by opening another shared library
by name, and pip has no folder on the loader's path. Here all are linked into one library, so a
function is enough. rmw_fastrtps requests two: fastrtps_c to serialise, introspection_c to register
the type.
"""

from __future__ import annotations

import re

from mt_perception.interfaces.package import InterfacePackage

PROLOGUE = """\
#include <string.h>
#include "rosidl_runtime_c/message_type_support_struct.h"
#include "rosidl_typesupport_interface/macros.h"
#define SUPPORT(kind, message) \\
  ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(kind, {package}, msg, message)
typedef const rosidl_message_type_support_t Support;
extern const char * rosidl_typesupport_c__typesupport_identifier;
extern const char * rosidl_typesupport_fastrtps_c__identifier;
extern const char * rosidl_typesupport_introspection_c__identifier;
"""

MESSAGE = """
#include "{package}/msg/detail/{file}__type_support.h"
#include "{package}/msg/detail/{file}__functions.h"
extern Support * SUPPORT(rosidl_typesupport_fastrtps_c, {message})(void);
extern Support * SUPPORT(rosidl_typesupport_introspection_c, {message})(void);
static Support * find_{message}(Support * handle, const char * identifier)
{{
  if (!strcmp(identifier, rosidl_typesupport_fastrtps_c__identifier)) {{
    return SUPPORT(rosidl_typesupport_fastrtps_c, {message})();
  }}
  if (!strcmp(identifier, rosidl_typesupport_introspection_c__identifier)) {{
    return SUPPORT(rosidl_typesupport_introspection_c, {message})();
  }}
  return strcmp(identifier, handle->typesupport_identifier) ? 0 : handle;
}}
static rosidl_message_type_support_t handle_{message} = {{
  0, 0, find_{message},
  &{package}__msg__{message}__get_type_hash,
  &{package}__msg__{message}__get_type_description,
  &{package}__msg__{message}__get_type_description_sources
}};
Support * SUPPORT(rosidl_typesupport_c, {message})(void)
{{
  handle_{message}.typesupport_identifier = rosidl_typesupport_c__typesupport_identifier;
  return &handle_{message};
}}
"""


def dispatch_source(package: InterfacePackage) -> str:
    """The C file, with one function for each message."""
    parts = [PROLOGUE.format(package=package.name)]
    parts += [
        MESSAGE.format(package=package.name, message=message, file=snake_case(message))
        for message in package.messages
    ]
    return ''.join(parts)


def snake_case(name: str) -> str:
    """Rosidl's file name of a message: ``bounding_box2_d`` for ``BoundingBox2D``."""
    name = re.sub(r'(.)([A-Z][a-z]+)', r'\1_\2', name)
    return re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name).lower()
