"""Validates what stdin holds against the official package's types; prints one line for each disagreement.

stdin: {"requests": [body], "wrong_requests": [body], "responses": [object], "events": [event], "base_url": URL of a replay}
"""

import json
import sys
from collections.abc import Iterator

import openai
from openai.types import responses
from openai.types.responses import response_create_params as params
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

# A field of a request that the package does not know is a mistake of ours.
for module in [module for name, module in sys.modules.items() if name.startswith("openai.types")]:
    for kind in vars(module).values():
        if is_typeddict(kind):
            kind.__pydantic_config__ = ConfigDict(extra="forbid")


def consume(value):
    """Iterables are validated only while they are read."""
    if isinstance(value, dict):
        return {key: consume(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)) or isinstance(value, Iterator) or type(value).__name__ == "ValidatorIterator":
        return [consume(inner) for inner in value]
    return value


def disagreement(adapter, value):
    try:
        consume(adapter.validate_python(value))
    except ValidationError as error:
        return " | ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:12])


def check(what, adapter, values):
    for number, value in enumerate(values):
        if found := disagreement(adapter, value):
            print(f"{what} {number} ({value.get('type', '')}): {found}")


given = json.load(sys.stdin)
streaming = TypeAdapter(params.ResponseCreateParamsStreaming)
whole = TypeAdapter(params.ResponseCreateParamsNonStreaming)
check("request", streaming, [body for body in given["requests"] if body["stream"]])
check("request", whole, [body for body in given["requests"] if not body["stream"]])
for number, body in enumerate(given["wrong_requests"]):
    if not disagreement(streaming, body):
        print(f"wrong request {number} was not noticed")
check("response", TypeAdapter(responses.Response), given["responses"])
check("event", TypeAdapter(responses.ResponseStreamEvent), given["events"])

# The package's own client reads a replay as it would read OpenAI's server.
client = openai.OpenAI(base_url=given["base_url"], api_key="none", max_retries=0)
last = None
for event in client.responses.create(model="m", input=[{"role": "user", "content": "hello"}], stream=True):
    last = event
if last is None or last.type != "response.completed" or last.response.output_text != "hello":
    print(f"the replay's stream ended with {last!r}")
answer = client.responses.create(model="m", input=[{"role": "user", "content": "again"}])
if answer.output_text != "again":
    print(f"the replay's whole answer is {answer!r}")
