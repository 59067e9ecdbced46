"""Chat requests that are refused with 400: what is wrong, and the `code` and `param` that say so.

Where it is known what OpenAI answers (from reports in the issues of its clients), code and spelling of the param are
OpenAI's. Codes are those a client sees; None is null.
"""

from __future__ import annotations

from bad_conversations import BODIES, HISTORIES, MESSAGES, NO_JSON
from bad_fields import EXTENSIONS, FIRST, OTHERS, SAMPLING, SHAPES, TOOLS, TWICE

BAD = [*NO_JSON, *BODIES, *MESSAGES, *HISTORIES, *SAMPLING, *SHAPES, *TOOLS, *OTHERS, *EXTENSIONS, *TWICE, *FIRST]
