"""Every sentence, Japanese and English side by side. A test compares their placeholders."""

from __future__ import annotations

from hoshikage_server.messages.asking import ASKING
from hoshikage_server.messages.cache import CACHE
from hoshikage_server.messages.cli import CLI
from hoshikage_server.messages.client import CLIENT
from hoshikage_server.messages.doctor import DOCTOR
from hoshikage_server.messages.engine import ENGINE
from hoshikage_server.messages.entry_files import ENTRY_FILES
from hoshikage_server.messages.log import LOG
from hoshikage_server.messages.message import Message
from hoshikage_server.messages.models import MODELS
from hoshikage_server.messages.personas import PERSONAS
from hoshikage_server.messages.reasons import REASONS
from hoshikage_server.messages.registry import REGISTRY
from hoshikage_server.messages.requests import REQUESTS
from hoshikage_server.messages.rpc import RPC
from hoshikage_server.messages.server import SERVER
from hoshikage_server.messages.settings import SETTINGS
from hoshikage_server.messages.system import SYSTEM

CATALOGUE: dict[str, Message] = {
    **REQUESTS,
    **ENGINE,
    **SERVER,
    **CACHE,
    **CLI,
    **CLIENT,
    **PERSONAS,
    **LOG,
    **MODELS,
    **SETTINGS,
    **DOCTOR,
    **ENTRY_FILES,
    **REGISTRY,
    **ASKING,
    **REASONS,
    **RPC,
    **SYSTEM,
}
