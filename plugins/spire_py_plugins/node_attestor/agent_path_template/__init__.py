"""`agent_path_template` of node attestors: the part of Go's text/template that paths need (I16).

Text with actions in double braces. An action is a value, or begins or ends a part of the template
that depends on one: `if`, `else if`, `with`, `range`, `else`, `end`. A value is a field such as
`.Subject.CommonName`, a quoted text, a whole number, `true` or `false`, or a call of one of
`functions.py`; `|` hands a value on as the last argument, parentheses group. Within `with` and
`range`, `.` is what they hand on, and fields are `$.Subject.CommonName`.

Whatever else the language has is refused when the template is read, and so is a field that does
not exist: a template must not turn out wrong when an agent attests.
"""

from spire_py_plugins.node_attestor.agent_path_template.template import AgentPathTemplate
from spire_py_plugins.node_attestor.agent_path_template.values import InvalidTemplate

__all__ = ["AgentPathTemplate", "InvalidTemplate"]
