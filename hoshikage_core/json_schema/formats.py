"""The formats of JSON Schema as patterns.

Each holds texts of the format only; where a format allows more than anybody writes (a host name of 127 labels, an IPv6
address that ends as IPv4), it holds what people write.
"""

from __future__ import annotations

_LABEL_31 = "[A-Za-z0-9](-?[A-Za-z0-9]){0,30}"
_LABEL_15 = "[A-Za-z0-9](-?[A-Za-z0-9]){0,14}"
_TOP = "[A-Za-z](-?[A-Za-z0-9]){0,15}"
# At most 253 characters, whether a few long labels or many short ones.
_HOST = rf"(({_LABEL_31}\.){{0,3}}|({_LABEL_15}\.){{4,7}}){_TOP}"
_DOMAIN = rf"({_LABEL_15}\.){{1,4}}{_TOP}"

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_H16 = "[0-9A-Fa-f]{1,4}"
_IPV6 = "|".join(
    [f"({_H16}:){{7}}{_H16}"]
    # "::" stands for at least two groups
    + [
        f"({_H16}(:{_H16}){{{left - 1}}})?::({_H16}(:{_H16}){{0,{5 - left}}})?"
        if left
        else f"::({_H16}(:{_H16}){{0,5}})?"
        for left in range(6)
    ]
    + [f"{_H16}(:{_H16}){{5}}::"]
)

_LEAP = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_YEAR = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE = (
    f"({_YEAR}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP}-02-29)"
)
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_N = "[0-9]{1,9}"
_CLOCK = f"T({_N}H({_N}M({_N}S)?)?|{_N}M({_N}S)?|{_N}S)"

_IPV4 = rf"{_OCTET}(\.{_OCTET}){{3}}"
# A network has zeros where its hosts differ.
_IPV4_NETWORK = rf"{_IPV4}/32|({_OCTET}\.){{3}}0/24|({_OCTET}\.){{2}}0\.0/16|{_OCTET}\.0\.0\.0/8|0\.0\.0\.0/0"

_PCHAR = r"([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"

FORMATS: dict[str, str] = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": f"^P(({_N}Y({_N}M({_N}D)?)?|{_N}M({_N}D)?|{_N}D)({_CLOCK})?|{_CLOCK}|{_N}W)$",
    "email": rf"^[A-Za-z0-9_+-](\.?[A-Za-z0-9_+-]){{0,31}}@{_DOMAIN}$",
    "hostname": f"^{_HOST}$",
    "ipv4": f"^{_IPV4}$",
    "ipv6": f"^({_IPV6})$",
    "uri": rf"^[a-z][a-z0-9+.-]{{0,15}}://({_HOST}|{_IPV4})(:[1-9][0-9]{{0,3}})?(/{_PCHAR}{{0,60}}){{0,7}}"
    rf"(\?{_PCHAR}{{0,100}})?(#{_PCHAR}{{0,40}})?$",
    "uuid": "^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$",
    # pydantic's own
    **{
        f"uuid{version}": f"^[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}$"
        for version in range(1, 9)
    },
    "ipvanyaddress": f"^({_IPV4}|{_IPV6})$",
    "ipv4network": f"^({_IPV4_NETWORK})$",
    "ipv4interface": f"^{_IPV4}/([12]?[0-9]|3[0-2])$",
    "base64": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    "base64url": "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2}==|[A-Za-z0-9_-]{3}=)?$",
}

INTEGER_BOUNDS: dict[str, tuple[int, int]] = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
"""OpenAPI's formats of integers."""

NUMBER_FORMATS = frozenset(["float", "double", "decimal"])
"""OpenAPI's formats that any number of ours has."""

TEXT_FORMATS = frozenset(["binary", "password", "path"])
"""OpenAPI's and pydantic's formats that any string has."""

OTHER_FORMATS = frozenset(
    [
        "idn-email",
        "idn-hostname",
        "iri",
        "iri-reference",
        "json-pointer",
        "regex",
        "relative-json-pointer",
        "uri-reference",
        "uri-template",
    ]
)
"""JSON Schema's formats that are not enforced."""
