"""A local server that answers like Microsoft Graph, as far as API connectors go. It remembers what
it was asked, and what was wrong with it."""

import collections
import contextlib
import dataclasses
import http.server
import json
import os
import re
import threading
import urllib.parse
from pathlib import Path

import jsonschema

SCHEMA = json.loads((Path(__file__).parent / "graph.schema.json").read_text())
TOKEN = "eyJ0eXAi.test-token_of~the.tests"
# As Graph's documentation shows them.
ID = "45715bb8-13f9-4bf6-927f-ef96c102d394"
CERTIFICATE = {
    "thumbprint": "0EB255CC895477798BA418B378255204304897AD",
    "notAfter": 1666350522,
    "notBefore": 1508670522,
    "isActive": True,
}
STEPS = {
    "v1.0/identity/b2xUserFlows": ("postFederationSignup", "postAttributeCollection"),
    # The last one is in the metadata of beta, but not in its documentation.
    "beta/identity/b2cUserFlows": ("postFederationSignup", "postAttributeCollection", "preTokenIssuance"),
}


def faults_of(body, name):
    """Where a body is not as this definition of the schema wants it. Values may be secrets: paths only."""
    schema = {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{name}: {each.json_path} breaks {each.validator}" for each in validator.iter_errors(body)]


@dataclasses.dataclass
class Request:
    method: str
    path: str
    body: object


class Graph:
    """Listens while it is used as a context."""

    def __init__(self):
        self.connectors = {}
        self.attached = {}
        self.requests = []
        self.faults = []
        # Answers to give before anything else: (status, headers, body).
        self.answers = collections.deque()
        # Texts that no process may show.
        self.secrets = []
        self.page_size = 100

    def __enter__(self):
        handler = type("Handler", (Handler,), {"graph": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def expect(self, body, name):
        self.faults += faults_of(body, name)

    def look_at_processes(self):
        """Arguments and environment of every process, for as long as the script waits for its answer."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                for file in ("cmdline", "environ"):
                    seen = (process / file).read_bytes()
                    for secret in self.secrets:
                        if secret.encode() in seen and int(process.name) != os.getpid():
                            self.faults.append(f"{file} of a process shows {secret[:3]}…")

    def answer(self, request, headers):
        self.look_at_processes()
        path, _, query = request.path.partition("?")
        if self.answers:
            return self.answers.popleft()
        if re.fullmatch("/[^/]+/oauth2/v2.0/token", path):
            return self.give_token(urllib.parse.parse_qs(request.body, strict_parsing=True))
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return error(401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
        wants_body = request.method not in ("GET", "DELETE")
        if wants_body != isinstance(request.body, dict):
            self.faults.append(f"{request.method} with {type(request.body).__name__} as its body")
            return error(400, "BadRequest", "Empty payload, or an unknown media type.")
        parts = path.strip("/").split("/")
        if parts[1:3] == ["identity", "apiConnectors"] and parts[0] in ("v1.0", "beta"):
            return self.connector(request, parts[3:], query)
        flows = "/".join(parts[:3])
        if flows in STEPS and len(parts) >= 5 and parts[4] == "apiConnectorConfiguration":
            return self.flow(request, flows, parts[3], parts[5:], query)
        return error(400, "BadRequest", f"Resource not found for the segment '{parts[-1]}'.")

    def give_token(self, form):
        if form.get("grant_type") != ["client_credentials"] or form.get("scope") != [f"{self.url}/.default"]:
            self.faults.append(f"a token is asked for by {sorted(form)}")
        if form.get("client_secret") != ["the client secret & more"]:
            said = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"}
            return 401, {}, said
        return 200, {}, {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN}

    def connector(self, request, rest, query):
        match request.method, rest:
            case "GET", []:
                return self.listed(query)
            case "POST", []:
                self.expect(request.body, "create")
                self.connectors[ID] = request.body
                return 201, {}, self.shown(ID)
        if not rest or rest[0] not in self.connectors:
            return error(404, "ResourceNotFound", "The API connector was not found.")
        match request.method, rest[1:]:
            case "GET", []:
                return 200, {}, self.shown(rest[0])
            case "PATCH", []:
                self.expect(request.body, "update")
                self.connectors[rest[0]] = {**self.connectors[rest[0]], **request.body}
                return 204, {}, None
            case "DELETE", []:
                del self.connectors[rest[0]]
                return 204, {}, None
            case "POST", ["uploadClientCertificate"]:
                self.expect(request.body, "uploadClientCertificate")
                self.connectors[rest[0]]["authenticationConfiguration"] = {
                    "@odata.type": "#microsoft.graph.pkcs12Certificate", **request.body,
                }  # fmt: skip
                return 200, {}, self.shown(rest[0])
        return error(405, "MethodNotAllowed", "The method is not allowed.")

    def listed(self, query):
        ids = sorted(self.connectors)
        begin = int(dict(urllib.parse.parse_qsl(query)).get("$skiptoken", 0))
        page = {"value": [self.shown(each) for each in ids[begin : begin + self.page_size]]}
        if begin + self.page_size < len(ids):
            page["@odata.nextLink"] = f"{self.url}/v1.0/identity/apiConnectors?$skiptoken={begin + self.page_size}"
        return 200, {}, page

    def shown(self, name):
        """A connector as Graph shows it: without its secrets."""
        connector = self.connectors[name]
        asked = connector["authenticationConfiguration"]
        if "username" in asked:
            shown = {**asked, "password": "******"}
        else:
            kind = "#microsoft.graph.clientCertificateAuthentication"
            shown = {"@odata.type": kind, "certificateList": [CERTIFICATE]}
        context = f"{self.url}/v1.0/$metadata#identity/apiConnectors/$entity"
        return {"@odata.context": context, "id": name, **connector, "authenticationConfiguration": shown}

    def flow(self, request, flows, flow, rest, query):
        if not flow.endswith("_signup"):
            return error(404, "ResourceNotFound", "The user flow was not found.")
        match request.method, rest:
            case "GET", []:
                if query != "$expand=postFederationSignup,postAttributeCollection":
                    self.faults.append(f"expands {query}")
                steps = {step: self.attached.get((flow, step)) for step in STEPS["v1.0/identity/b2xUserFlows"]}
                return 200, {}, {step: self.shown(name) for step, name in steps.items() if name}
            case "PUT", [step, "$ref"] if step in STEPS[flows]:
                self.expect(request.body, "reference")
                reference = request.body.get("@odata.id", "")
                prefix = f"{self.url}/{flows.split('/')[0]}/identity/apiConnectors/"
                if reference and not reference.startswith(prefix):
                    self.faults.append(f"attaches {reference}")
                self.attached[flow, step] = reference.removeprefix(prefix)
                return 204, {}, None
        return error(400, "BadRequest", "Resource not found for the segment.")


def error(status, code, message, **headers):
    """As Graph words its errors."""
    inner = {"date": "2026-11-20T10:00:00", "request-id": "7f2c", "client-request-id": "7f2c"}
    return status, headers, {"error": {"code": code, "message": message, "innerError": inner}}


class Handler(http.server.BaseHTTPRequestHandler):
    graph: Graph

    def respond(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        body = None
        if text:
            is_json = self.headers.get("Content-Type") == "application/json"
            body = json.loads(text) if is_json else text
        request = Request(self.command, self.path, body)
        self.graph.requests.append(request)
        status, headers, answer = self.graph.answer(request, self.headers)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        content = b"" if answer is None else answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        if content:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = respond

    def log_message(self, *_):
        pass
