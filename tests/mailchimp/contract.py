"""A transport adapter that lets no request out that breaks Mailchimp's published contract."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from openapi_core import Config, OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest
from openapi_core.exceptions import OpenAPIError

from pipeline.mailchimp.transport import DeadlineAdapter

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+]00:00)")
# Reads of journeys answer, though the contract does not name them (shared/mailchimp/journeys.md).
UNDOCUMENTED = re.compile(r"/3\.0/customer-journeys/journeys(/\d+(/steps(/\d+)?)?)?")
CONTRACT = Path(__file__).parents[2] / "../shared/mailchimp/marketing-openapi.json"


TAGS = "/3.0/lists/{list_id}/members/{subscriber_hash}/tags"
_ID = {"in": "path", "required": True, "schema": {"type": "string"}}
_STATUS = {"type": "string", "enum": ["active", "inactive"]}
_TAG = {"type": "object", "properties": {"name": {"type": "string"}, "status": _STATUS}, "required": ["name", "status"]}
_BODY = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": _TAG}, "is_syncing": {"type": "boolean"}},
    "required": ["tags"],
}
# Mailchimp documents this operation, and the copy of its contract leaves it out.
_TAGS: dict[str, Any] = {
    "post": {
        "parameters": [{"name": name, **_ID} for name in ("list_id", "subscriber_hash")],
        "requestBody": {"content": {"application/json": {"schema": _BODY}}},
        "responses": {"204": {"description": ""}},
    }
}


class ContractViolationError(AssertionError):
    """A request that Mailchimp does not promise to understand."""


@cache
def contract() -> tuple[OpenAPI, dict[str, Any]]:
    """The contract and its raw document; the official document itself fails strict validation, so that is off."""
    document = json.loads(CONTRACT.read_text())
    document["paths"].setdefault(TAGS, _TAGS)
    return OpenAPI.from_dict(document, config=Config(spec_validator_cls=None)), document


class ContractAdapter(DeadlineAdapter):
    """Checks every outgoing request and sends it on."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        check(request)
        return super().send(request, *args, **kwargs)


def check(request: requests.PreparedRequest) -> str:
    """The path template of a request that keeps the contract.

    Raises:
        ContractViolationError: if it does not.
    """
    parts = urlsplit(str(request.url))
    if request.method == "GET" and UNDOCUMENTED.fullmatch(parts.path):
        return parts.path
    body = request.body if isinstance(request.body, bytes) else None
    return _check(str(request.method), parts.path + (f"?{parts.query}" if parts.query else ""), body)


@cache
def _check(method: str, target: str, body: bytes | None) -> str:
    api, document = contract()
    url = document["servers"][0]["url"] + target
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    names = [name for name, _ in query]
    try:
        sent = {} if body is None else {"data": body, "headers": {"Content-Type": "application/json"}}
        request = requests.Request(method, url, auth=("any", "key"), **sent)
        api.unmarshal_request(RequestsOpenAPIRequest(request.prepare())).raise_for_errors()
    except OpenAPIError as error:
        raise ContractViolationError(f"{parts.path}: {error}") from error
    template = next(path for path in document["paths"] if _fits(path, parts.path))
    operation = document["paths"][template][method.lower()]
    unknown = set(names) - {one["name"] for one in operation["parameters"] if one["in"] == "query"}
    if unknown or len(names) > len(set(names)) or {"fields", "exclude_fields"} <= set(names):
        raise ContractViolationError(f"{template}: query {names}")
    if not all(_MOMENT.fullmatch(value) for name, value in query if name.startswith(("since", "before"))):
        raise ContractViolationError(f"{template}: a moment is not in whole seconds of UTC, which Mailchimp needs")
    return str(template)


def _fits(template: str, path: str) -> bool:
    pieces, wanted = path.strip("/").split("/"), template.strip("/").split("/")
    return len(pieces) == len(wanted) and all(a == b or b.startswith("{") for a, b in zip(pieces, wanted, strict=True))
