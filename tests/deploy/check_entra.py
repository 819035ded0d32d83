"""deploy/entra/api-connector, run against a local server that acts as Graph."""

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from checking import Note, answers, free_ports
from graph import CERTIFICATE, ID, TOKEN, Graph, error

URL = "https://bridge.example.com/connectors/approve-signup"
# What a careless program would change: quotes, a backslash, what a shell or a URL takes for its own.
PASSWORD = 'pä"ss\\n$(id)`id`%20 +&: end'
PKCS12 = b"\x30\x82\x0c\x45" + bytes(range(256)) * 12 + b"\n\0\n"
BASIC = {"@odata.type": "#microsoft.graph.basicAuthentication", "username": "entra", "password": PASSWORD}
PFX = base64.b64encode(PKCS12).decode()


@dataclasses.dataclass
class Said:
    code: int
    out: str
    err: str


class Desk:
    """A folder with files of secrets, and a server, for one run of the script after the other."""

    def __init__(self, deploy, graph, folder):
        self.script, self.graph, self.folder = deploy.root / "deploy/entra/api-connector", graph, folder
        self.shell = ["/bin/sh"]
        contents = {
            "token": TOKEN + "\n", "password": PASSWORD + "\n", "pfx": PKCS12, "pfx-password": "p fx\r\n",
            "key": "k/e+y ü\n", "client-secret": "the client secret & more\n", "empty": "", "blank": "\n",
            "latin1": "pässword".encode("latin-1"), "pem": "-----BEGIN CERTIFICATE-----\n", "two": "a b\n",
        }  # fmt: skip
        for name, content in contents.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        (folder / "tmp").mkdir()
        (folder / ".curlrc").write_text("trace-ascii = written-down\n")
        graph.secrets = [TOKEN, PASSWORD, PFX[:40], "p fx", "k/e+y", "k%2Fe", "client secret"]

    def run(self, *arguments, stdin="", token=True, **environment):
        """Names of files count in the folder."""
        environment = {
            "PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "tmp"), "HOME": str(self.folder),
            "GRAPH_URL": self.graph.url, "LOGIN_URL": self.graph.url,
            **({"GRAPH_TOKEN_FILE": "token"} if token else {}), **environment,
        }  # fmt: skip
        done = subprocess.run(
            [*self.shell, self.script, *arguments],
            input=stdin, capture_output=True, text=True, cwd=self.folder, env=environment, timeout=60,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def connector(self, **more):
        """One that is already there."""
        self.graph.connectors[ID] = {"displayName": "old", "targetUrl": URL, "authenticationConfiguration": BASIC, **more}

    def faults(self):
        """What the server found wrong, and what was left lying about."""
        left = [path.name for path in (self.folder / "tmp").iterdir()]
        obeys = ["curl reads ~/.curlrc"] if (self.folder / "written-down").exists() else []
        return self.graph.faults + [f"leaves {name} behind" for name in left] + obeys


@contextlib.contextmanager
def desk(deploy):
    with Graph() as graph, tempfile.TemporaryDirectory() as folder:
        yield Desk(deploy, graph, Path(folder))


CREATE = ["create", "--name", "approve-signup", "--url", URL]
USER = ["--user", "entra", "--password-file", "password"]
CREATED = {"displayName": "approve-signup", "targetUrl": URL}
PLACE = "/v1.0/identity/apiConnectors"
B2X = "/v1.0/identity/b2xUserFlows/B2X_1_signup/apiConnectorConfiguration"
B2C = "/beta/identity/b2cUserFlows/B2C_1_signup/apiConnectorConfiguration"
# Words of the command line, and the one request that they make: method, path, body.
REQUESTS = [
    (["list"], "GET", PLACE, None),
    (["show", ID], "GET", f"{PLACE}/{ID}", None),
    ([*CREATE, *USER], "POST", PLACE, {**CREATED, "authenticationConfiguration": BASIC}),
    (
        [*CREATE, "--pkcs12-file", "pfx"], "POST", PLACE,
        {**CREATED, "authenticationConfiguration": {
            "@odata.type": "#microsoft.graph.pkcs12Certificate", "pkcs12Value": PFX, "password": ""}},
    ),
    (
        [*CREATE, "--api-key-file", "key", *USER], "POST", PLACE,
        {**CREATED, "targetUrl": f"{URL}?code=k%2Fe%2By%20%C3%BC", "authenticationConfiguration": BASIC},
    ),
    (["update", ID, "--name", "n"], "PATCH", f"{PLACE}/{ID}", {"displayName": "n"}),
    (["update", ID, "--url", f"{URL}?a=b", "--api-key-file", "key"], "PATCH", f"{PLACE}/{ID}",
     {"targetUrl": f"{URL}?a=b&code=k%2Fe%2By%20%C3%BC"}),
    (["set-credential", ID, *USER], "PATCH", f"{PLACE}/{ID}", {"authenticationConfiguration": BASIC}),
    (
        ["set-credential", ID, "--pkcs12-file", "pfx", "--pkcs12-password-file", "pfx-password"],
        "PATCH", f"{PLACE}/{ID}",
        {"authenticationConfiguration": {
            "@odata.type": "#microsoft.graph.pkcs12Certificate", "pkcs12Value": PFX, "password": "p fx"}},
    ),
    (["add-certificate", ID, "--pkcs12-file", "pfx", "--pkcs12-password-file", "pfx-password"], "POST",
     f"{PLACE}/{ID}/uploadClientCertificate", {"pkcs12Value": PFX, "password": "p fx"}),
    (["attach", ID, "B2X_1_signup", "before-create"], "PUT", f"{B2X}/postAttributeCollection/$ref", PLACE),
    (["attach", ID, "B2X_1_signup", "after-federation"], "PUT", f"{B2X}/postFederationSignup/$ref", PLACE),
    (["attach", ID, "B2C_1_signup", "before-create"], "PUT", f"{B2C}/postAttributeCollection/$ref",
     "/beta/identity/apiConnectors"),
    (["attach", ID, "B2C_1_signup", "before-token"], "PUT", f"{B2C}/preTokenIssuance/$ref",
     "/beta/identity/apiConnectors"),
    (["detach", "B2X_1_signup", "before-create"], "PUT", f"{B2X}/postAttributeCollection/$ref", {}),
    (["flow", "B2X_1_signup"], "GET", f"{B2X}?$expand=postFederationSignup,postAttributeCollection", None),
    (["delete", ID], "DELETE", f"{PLACE}/{ID}", None),
]  # fmt: skip


def every_verb_sends_what_graph_documents(deploy):
    """And nothing secret is in an argument or the environment of a process meanwhile, in what is
    printed, or left in a file."""
    with desk(deploy) as here:
        for words, method, path, body in REQUESTS:
            here.connector()
            here.graph.requests.clear()
            said = here.run(*words)
            if isinstance(body, str):
                body = {"@odata.id": f"{here.graph.url}{body}/{ID}"}
            sent = [(each.method, each.path, each.body) for each in here.graph.requests]
            if said.code or sent != [(method, path, body)]:
                yield f"{words}: exit code {said.code}, {said.err}, sends {sent}"
            yield from (f"{words} prints {each[:3]}…" for each in here.graph.secrets if each in said.out + said.err)
        yield from here.faults()
        yield Note(f"{len(REQUESTS)} requests")


def every_verb_and_option_is_tried(deploy):
    usage = subprocess.run([deploy.root / "deploy/entra/api-connector", "help"], capture_output=True, text=True).stdout
    tried = {word for words, *_ in REQUESTS for word in words} | {"token", "--token-file"}
    tried |= {"--tenant", "--client-id", "--client-secret-file"}
    verbs = set(re.findall(r"^api-connector ([a-z-]+)", usage, re.M))
    yield from (f"{word} is not tried" for word in verbs | set(re.findall(r"--[a-z0-9-]+", usage)) if word not in tried)
    if len(verbs) < 11:
        yield f"the usage has {verbs} only"


def what_graph_answers_is_printed(deploy):
    with desk(deploy) as here:
        if here.run(*CREATE, *USER).out != f"{ID}\n":
            yield "create does not print the id alone"
        here.connector(targetUrl=f"{URL}?x=y&code=k%2Fe%2By")
        here.run("attach", ID, "B2X_1_signup", "before-create")
        for words, wanted in [
            (["list"], f"{ID}\told\t{URL}?x=y&code=***\tentra\n"),
            (["flow", "B2X_1_signup"], f"after-federation\t-\t\t\nbefore-create\t{ID}\told\t{URL}?x=y&code=***\n"),
            (
                ["add-certificate", ID, "--pkcs12-file", "pfx"],
                f"{CERTIFICATE['thumbprint']}\t2017-10-22T11:08:42Z\t2022-10-21T11:08:42Z\tactive\n",
            ),
            (["list"], f"{ID}\told\t{URL}?x=y&code=***\tcertificate\n"),
            (["detach", "B2X_1_signup", "before-create"], ""),
            (["flow", "B2X_1_signup"], "after-federation\t-\t\t\nbefore-create\t-\t\t\n"),
        ]:
            said = here.run(*words)
            if said.code or said.out != wanted:
                yield f"{words}: {said}"
        shown = json.loads(here.run("show", ID).out)
        if shown["targetUrl"] != f"{URL}?x=y&code=***" or shown["authenticationConfiguration"]["certificateList"] != [CERTIFICATE]:
            yield f"show: {shown}"
        yield from here.faults()


def a_list_goes_on_at_graph_only(deploy):
    with desk(deploy) as here:
        here.connector()
        here.graph.connectors = {f"{ID}{at}": here.graph.connectors[ID] for at in range(5)}
        here.graph.page_size = 2
        if len(here.run("list").out.splitlines()) != 5:
            yield "pages are missing"
        here.graph.answers.append((200, {}, {"value": [], "@odata.nextLink": "https://elsewhere.example/v1.0/x"}))
        said = here.run("list")
        if said.code != 1 or "elsewhere" not in said.err:
            yield f"follows a link to another host: {said}"
        yield from here.faults()


# What Graph answers, the exit code, and what the person reads. Whose answer is no error of Graph's
# gets by without.
REFUSED = [
    (error(400, "BadRequest", "Invalid URL.")[0:3], 1, ["400", "BadRequest: Invalid URL.", "(request-id 7f2c)"]),
    (error(401, "InvalidAuthenticationToken", "Expired."), 77, ["401", "InvalidAuthenticationToken: Expired.", "new one"]),
    (
        error(403, "Authorization_RequestDenied", "Insufficient privileges."), 77,
        ["403", "Insufficient privileges.", "APIConnectors.ReadWrite.All", "External ID User Flow Administrator"],
    ),
    (error(404, "ResourceNotFound", "Not there."), 1, ["404", "ResourceNotFound: Not there.", "tenant"]),
    (error(409, "Conflict", "In use."), 1, ["409", "Conflict: In use."]),
    (error(503, "ServiceUnavailable", "Later."), 75, ["503", "Later.", "not known"]),
    ((502, {}, "<html>Bad Gateway</html>"), 75, ["502", "does not say why"]),
    ((302, {"Location": "https://elsewhere.example/"}, None), 1, ["302", "does not say why"]),
]  # fmt: skip


def errors_are_told_and_end_with_their_code(deploy):
    with desk(deploy) as here:
        for answer, code, texts in REFUSED:
            here.graph.answers.append(answer)
            said = here.run(*CREATE, *USER)
            missing = [text for text in texts if text not in said.err]
            if said.code != code or missing or said.out:
                yield f"{answer[0]}: {said}, lacks {missing}"
        # Each was sent once: only Graph's 429 is sent again.
        if len(here.graph.requests) != len(REFUSED):
            yield f"{len(here.graph.requests)} requests"
        here.graph.requests.clear()
        for words in (["show", "no-such-id"], ["attach", ID, "B2X_1_other", "before-create"]):
            if here.run(*words).code != 1:
                yield f"{words} is not refused"
        (here.folder / "token").write_text("old-token")
        if here.run("list").code != 77:
            yield "an old token is not refused"
        unreachable = here.run("list", GRAPH_URL="http://127.0.0.1:1")
        if unreachable.code != 75 or "not known" not in unreachable.err:
            yield f"nobody listens: {unreachable}"
        yield from here.faults()


def too_many_requests_are_repeated_as_graph_asks(deploy):
    busy = error(429, "TooManyRequests", "Slow down.", Retry_After=0)
    with desk(deploy) as here:
        here.graph.answers.extend([busy, busy])
        said = here.run(*CREATE, *USER)
        if said.code or said.out != f"{ID}\n" or len(here.graph.requests) != 3:
            yield f"twice busy: {said}, {len(here.graph.requests)} requests"
        here.graph.requests.clear()
        here.graph.answers.extend([busy] * 3)
        said = here.run("list")
        if said.code != 75 or "Slow down" not in said.err or len(here.graph.requests) != 3:
            yield f"always busy: {said}, {len(here.graph.requests)} requests"
        here.graph.answers.extend([busy, (503, {}, None)])
        said = here.run("list")
        if said.code != 75 or "503: it does not say why" not in said.err:
            yield f"busy, and then an answer without a word: {said}"
        here.graph.answers.extend([error(429, "TooManyRequests", "Slow down.", Retry_After=3600)])
        if here.run("list").code != 75:
            yield "waits for an hour"
        yield from here.faults()


# Words that are refused before anything is sent, and what the person reads.
WRONG = [
    (["no-such-verb"], "api-connector list"),
    (["create", "--url", URL, *USER], "needs --name"),
    ([*CREATE], "--user and --password-file"),
    ([*CREATE, "--user", "entra"], "--user and --password-file"),
    ([*CREATE, *USER, "--pkcs12-file", "pfx"], "--user and --password-file"),
    ([*CREATE, "--user", "a:b", "--password-file", "password"], "colon"),
    ([*CREATE, "--user", "entra", "--password", "hunter2"], "secrets are given by files"),
    ([*CREATE, "--user", "entra", "--password-file", "missing"], "missing cannot be read"),
    ([*CREATE, "--user", "entra", "--password-file", "tmp"], "tmp cannot be read"),
    ([*CREATE, "--user", "entra", "--password-file", "empty"], "the password is empty"),
    ([*CREATE, "--user", "entra", "--password-file", "blank"], "the password is empty"),
    ([*CREATE, "--user", "entra", "--password-file", "latin1"], "the password is not UTF-8"),
    ([*CREATE, "--pkcs12-file", "pem"], "no PKCS #12 file"),
    ([*CREATE, "--pkcs12-file", "empty"], "no PKCS #12 file"),
    ([*CREATE, "--pkcs12-file", "pfx", "--pkcs12-password-file", "missing"], "cannot be read"),
    ([*CREATE, "--api-key-file", "empty", *USER], "the key is empty"),
    (["create", "--name", "n", "--url", "http://bridge.example.com/", *USER], "https://"),
    (["create", "--name", "n", "--url", f"{URL}?code=hunter2", *USER], "--api-key-file"),
    (["update", ID], "--name or --url"),
    (["update", ID, "--name", ""], "--name is empty"),
    (["update", ID, "--name", "n", "--api-key-file", "key"], "goes with --url"),
    (["update", ID, "--name", "n", *USER], "no option --user"),
    (["add-certificate", ID], "needs --pkcs12-file"),
    (["list", "--name", "n"], "no option --name"),
    (["list", ID], "list takes 0 words"),
    (["show"], "show takes 1 words"),
    (["show", "../b2xUserFlows"], "is no id"),
    (["attach", ID, "B2X_1_signup"], "attach takes 3 words"),
    (["attach", ID, "signup", "before-create"], "B2X_1_NAME"),
    (["attach", ID, "B2X_1_signup", "before-token"], "in Azure AD B2C only"),
    (["attach", ID, "B2X_1_signup", "custom"], "a step is"),
    (["detach", "B2X_1_signup", "postAttributeCollection"], "a step is"),
    (["list", "--token-file", "two"], "holds no access token"),
    (["list", "--token-file", "empty"], "holds no access token"),
    (["token", "--tenant", "t"], "--client-id"),
    (["show", ID, "--name"], "lacks its value"),
]


def wrong_command_lines_are_refused_before_anything_is_sent(deploy):
    with desk(deploy) as here:
        for words, text in WRONG:
            said = here.run(*words)
            if said.code != 64 or text not in said.err or said.out or "hunter2" in said.err:
                yield f"{words}: {said}"
        said = here.run("list", token=False)
        if said.code != 64 or "--token-file" not in said.err:
            yield f"no token: {said}"
        for variable in ("GRAPH_URL", "LOGIN_URL"):
            for url in ("http://graph.example.com", "http://127.0.0.1:1@graph.example.com", "https://u:hunter2@127.0.0.1"):
                said = here.run("list", **{variable: url})
                if said.code != 64 or "hunter2" in said.err:
                    yield f"{variable} may be {url}: {said}"
        yield from (f"sends {each.path}" for each in here.graph.requests)
        yield from here.faults()
        yield Note(f"{len(WRONG)} command lines")


def secrets_may_come_from_standard_input(deploy):
    with desk(deploy) as here:
        said = here.run(*CREATE, "--user", "entra", "--password-file", "-", stdin=f"{PASSWORD}\n")
        if said.code or here.graph.connectors[ID]["authenticationConfiguration"] != BASIC:
            yield f"the password: {said}"
        if here.run("list", "--token-file", "-", stdin=TOKEN, token=False).code:
            yield "the token"
        yield from here.faults()


def a_token_is_had_with_a_client_secret(deploy):
    words = ["token", "--tenant", "contoso.onmicrosoft.com".replace(".", "-"), "--client-id", "c"]
    with desk(deploy) as here:
        said = here.run(*words, "--client-secret-file", "client-secret", token=False)
        if said.code or said.out != f"{TOKEN}\n":
            yield f"{said}"
        said = here.run(*words, "--client-secret-file", "password", token=False)
        if said.code != 77 or "invalid_client: AADSTS7000215" not in said.err or "Trace" in said.err:
            yield f"a wrong secret: {said}"
        yield from here.faults()


def other_shells_do_the_same(deploy):
    """What is hardest for a shell: secrets in files, here-documents, and what ends in a subshell."""
    found = [shell for shell in (["bash"], ["bash", "--posix"], ["ksh"], ["busybox", "sh"]) if shutil.which(shell[0])]
    with desk(deploy) as here:
        for here.shell in found:
            for words, *_ in REQUESTS[2:5]:
                here.graph.connectors.clear()
                if here.run(*words).out != f"{ID}\n":
                    yield f"{here.shell}: {words}"
            for words, text in WRONG[7:13]:
                if here.run(*words).code != 64:
                    yield f"{here.shell}: {words} is taken"
        yield from here.faults()
    yield Note(", ".join(" ".join(shell) for shell in found))


def the_bridge_takes_what_the_script_sets(deploy):
    """Both read the same file, to the same bytes. And both of two passwords are taken, while Entra is
    given the new one."""
    listen, admin = free_ports(2)
    with desk(deploy) as here:
        (here.folder / "next").write_text("another\r")
        (here.folder / "bridge.yaml").write_text(
            f"listen: 127.0.0.1:{listen}\nadmin_listen: 127.0.0.1:{admin}\nnats: {{servers: ['nats://127.0.0.1:1']}}\n"
            "connectors:\n  approve-signup:\n    protocol: entra\n    step: before-create\n    grace: 0s\n"
            "    auth:\n      basic:\n      - {username: entra, password_file: password}\n"
            "      - {username: entra, password_file: next}\n      api_key_files: [key]\n"
        )
        command = [deploy.program, "serve", "--config", "bridge.yaml"]
        with subprocess.Popen(command, cwd=here.folder, stderr=subprocess.DEVNULL) as bridge:
            try:
                if not answers(f"http://127.0.0.1:{admin}/readyz"):
                    yield "the bridge does not start"
                here.run(*CREATE, "--api-key-file", "key", *USER)
                for file in ("password", "next"):
                    here.run("set-credential", ID, "--user", "entra", "--password-file", file)
                    status = called(here.graph.connectors[ID], listen)
                    if status != 200:
                        yield f"{file}: the bridge says {status}"
                here.graph.connectors[ID]["authenticationConfiguration"]["password"] = "wrong"
                if called(here.graph.connectors[ID], listen) != 401:
                    yield "the bridge takes anything"
            finally:
                bridge.terminate()


def called(connector, port):
    """The status that Entra would get, with what Graph holds about this connector."""
    basic = connector["authenticationConfiguration"]
    both = base64.b64encode(f"{basic['username']}:{basic['password']}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {both}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    path = connector["targetUrl"].removeprefix("https://bridge.example.com")
    connection.request("POST", path, b'{"email":"ada@example.com"}', headers)
    status = connection.getresponse().status
    connection.close()
    return status


def commands_in_the_readmes_are_right(deploy):
    """Every command line with api-connector is taken by a tenant that has what it names."""
    with desk(deploy) as here:
        (here.folder / "secrets").mkdir()
        for name, source in [("password", "password"), ("next-password", "two"), ("graph-token", "token"), ("client-secret", "client-secret")]:
            shutil.copy(here.folder / source, here.folder / "secrets" / name)
        count = 0
        for file in ("deploy/entra/README.md", "README.md"):
            for line in commands((deploy.root / file).read_text()):
                words = shlex.split(line.replace("$ID", ID), comments=True)
                words = words[: words.index(">")] if ">" in words else words
                words = [{"entra.pfx": "pfx", "secrets/entra.pfx": "pfx"}.get(word, word) for word in words]
                here.connector()
                said = here.run(*words[1:], GRAPH_TOKEN_FILE="secrets/graph-token")
                count += 1
                if said.code:
                    yield f"{file}: {line}: {said}"
        if count < 15:
            yield f"there are only {count}"
        yield from here.faults()
        yield Note(f"{count} commands")


def the_configuration_in_the_readme_is_right(deploy):
    blocks = re.findall(r"^```yaml\n(.*?)^```", (deploy.root / "deploy/entra/README.md").read_text(), re.S | re.M)
    for block in blocks:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(block)
            file.flush()
            done = subprocess.run([deploy.program, "check", "--config", file.name], capture_output=True, text=True)
        if done.returncode:
            yield f"{block}: {done.stderr}"
    if len(blocks) != 1:
        yield f"there are {len(blocks)}"


def commands(text):
    """Command lines with api-connector in blocks of shell, without what stands around them."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(deploy/entra/|\./)?api-connector [^)]*", line)
            if found and not line.startswith("#"):
                yield found[0]
