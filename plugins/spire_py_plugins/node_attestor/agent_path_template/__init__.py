"""`agent_path_template` of node attestors: Go's text/template as SPIRE fills it (feature I16).

Text with actions in double braces. `lexer.py` takes it apart, `expressions.py` reads the values in
actions and `parser.py` what actions make of the text between them; `nodes.py` and `parts.py` are
what comes out of it, and fill it. `functions` has what templates may call: Go's own functions and
those of sprig's that SPIRE takes, each with the results that they have there.

Who writes a template is trusted, who attests is not: how much there is to do, how long texts get
and how deep values nest has bounds. A fault that shows without data is told when the template is
read, as a field that does not exist is: a template must not turn out wrong when an agent attests.
"""

from spire_py_plugins.node_attestor.agent_path_template.template import AgentPathTemplate
from spire_py_plugins.node_attestor.agent_path_template.values import BigInteger, InvalidTemplate

__all__ = ["AgentPathTemplate", "BigInteger", "InvalidTemplate"]
