"""How the files in deploy/ are broken, and which check has to notice."""

import dataclasses
import shutil
import subprocess

import checks
import mutation

SCRIPT = "deploy/entra/api-connector"
MAIN = "deploy/entra/terraform/main.tf"
COMPOSE = "deploy/compose.yaml"
SECRETS = "deploy/compose/make-secrets"

# File, what stands there, what stands there instead, the check that has to notice.
MUTANTS = [
    (SCRIPT, '--request "$method"', "--request POST", "every_verb_sends_what_graph_documents"),
    (SCRIPT, "--data @-", '--data "$body"', "every_verb_sends_what_graph_documents"),
    (SCRIPT, '--header @"$tmp/headers"', '--header "$(cat "$tmp/headers")"', "every_verb_sends_what_graph_documents"),
    (SCRIPT, "trap 'rm -rf \"$tmp\"' EXIT", ":", "every_verb_sends_what_graph_documents"),
    (SCRIPT, 'rtrimstr("\\n") |', "", "every_verb_sends_what_graph_documents"),
    (SCRIPT, "curl --disable", "curl", "every_verb_sends_what_graph_documents"),
    (SCRIPT, '($key | secret("the key") | @uri)', '($key | secret("the key"))', "every_verb_sends_what_graph_documents"),
    (SCRIPT, "step=postFederationSignup", "step=postFederationSignUp", "every_verb_sends_what_graph_documents"),
    (SCRIPT, "beta/identity/b2cUserFlows", "v1.0/identity/b2cUserFlows", "every_verb_sends_what_graph_documents"),
    (SCRIPT, "#microsoft.graph.pkcs12Certificate", "#microsoft.graph.pkcs12", "every_verb_sends_what_graph_documents"),
    (SCRIPT, "api-connector delete ID\n", "api-connector delete ID [--force]\n", "every_verb_and_option_is_tried"),
    (SCRIPT, "(.targetUrl | masked)", ".targetUrl", "what_graph_answers_is_printed"),
    (SCRIPT, "'' | \"$graph\"/*) ;;", "*) ;;", "a_list_goes_on_at_graph_only"),
    (SCRIPT, "(request-id", "(id", "errors_are_told_and_end_with_their_code"),
    (SCRIPT, '401) die 77', '401) die 1', "errors_are_told_and_end_with_their_code"),
    (SCRIPT, "${why:-it does not say why}", "$why", "too_many_requests_are_repeated_as_graph_asks"),
    (SCRIPT, '[ "$tries" -lt 3 ]', '[ "$tries" -lt 2 ]', "too_many_requests_are_repeated_as_graph_asks"),
    (SCRIPT, "*:*) die 64", "::) die 64", "wrong_command_lines_are_refused_before_anything_is_sent"),
    (SCRIPT, "*@*) die 64", "@) die 64", "wrong_command_lines_are_refused_before_anything_is_sent"),
    (SCRIPT, "http://127.0.0.1:*", "http://*", "wrong_command_lines_are_refused_before_anything_is_sent"),
    (SCRIPT, "*[!A-Za-z0-9_-]*", "*[!./A-Za-z0-9_-]*", "wrong_command_lines_are_refused_before_anything_is_sent"),
    (SCRIPT, 'cat > "$tmp/stdin"', ': > "$tmp/stdin"', "secrets_may_come_from_standard_input"),
    (SCRIPT, "grant_type=client_credentials", "grant_type=password", "a_token_is_had_with_a_client_secret"),
    (SCRIPT, ') || exit\n', ')\n', "other_shells_do_the_same"),
    (SCRIPT, 'if endswith("\\n") then', "if true then", "the_bridge_takes_what_the_script_sets"),
    (SCRIPT, "username: $user", 'username: "else"', "the_bridge_takes_what_the_script_sets"),
    ("deploy/entra/README.md", "$ID --pkcs12-file entra.pfx", "$ID --pkcs12 entra.pfx", "commands_in_the_readmes_are_right"),
    ("deploy/entra/README.md", "password_file: secrets/next", "password: secrets/next", "the_configuration_in_the_readme_is_right"),
    ("README.md", "attach $ID B2X_1_signup", "attach B2X_1_signup $ID", "commands_in_the_readmes_are_right"),
    (MAIN, "  resource_url =", "  url =", "terraform_files_name_what_their_provider_has"),
    (MAIN, "var.name", "var.display_name", "terraform_files_name_what_their_provider_has"),
    (MAIN, "    displayName", "    name", "terraform_sends_what_graph_documents"),
    (MAIN, '"PUT"', '"POST"', "terraform_sends_what_graph_documents"),
    (MAIN, '"@odata.id"', '"odata.id"', "terraform_sends_what_graph_documents"),
    (MAIN, "[body.authenticationConfiguration]", "[]", "terraform_sends_what_graph_documents"),
    (COMPOSE, "stop_grace_period", "stop_grace", "compose_file_follows_the_specification"),
    (COMPOSE, "condition: service_healthy", "condition: healthy", "compose_file_follows_the_specification"),
    (COMPOSE, "read_only: true", "read_only: false", "every_service_is_pinned_closed_and_local"),
    (COMPOSE, "grafana:13.2.3", "grafana:latest", "every_service_is_pinned_closed_and_local"),
    (COMPOSE, '"127.0.0.1:9093:9093"', '"9093:9093"', "every_service_is_pinned_closed_and_local"),
    (COMPOSE, "restart: on-failure", "restart: 'no'", "every_service_is_pinned_closed_and_local"),
    (COMPOSE, "DATABASE: /data", "NATS_PASSWORD: hunter2\n      DATABASE: /data", "every_service_is_pinned_closed_and_local"),
    (COMPOSE, "./prometheus/rules.yaml:", "./prometheus/rule.yaml:", "every_mounted_file_is_there"),
    (COMPOSE, "rules.yaml:ro", "rules.yaml", "every_mounted_file_is_there"),
    ("deploy/compose/worker.Dockerfile", "COPY requirements.txt", "COPY needs.txt", "every_mounted_file_is_there"),
    (SECRETS, "chmod 644", "chmod 600", "secrets_are_made_once_and_kept_from_others"),
    (SECRETS, "umask 077", "umask 022", "secrets_are_made_once_and_kept_from_others"),
    (SECRETS, '[ -s "secrets/$name" ] || ', "", "secrets_are_made_once_and_kept_from_others"),
    (".gitignore", "/deploy/compose/secrets", "", "secrets_are_made_once_and_kept_from_others"),
    ("deploy/compose/grafana/datasources.yaml", "isDefault: true", "isDefault: false", "grafana_is_given_what_its_dashboards_ask_for"),
    ("deploy/compose/grafana/datasources.yaml", "timeInterval: 5s", "timeInterval: 15s", "grafana_is_given_what_its_dashboards_ask_for"),
    ("deploy/compose/grafana/dashboards.yaml", "/etc/grafana/dashboards", "/dashboards", "grafana_is_given_what_its_dashboards_ask_for"),
    ("dashboards/identity.json", '"uid": "$datasource"', '"uid": "somewhere"', "grafana_is_given_what_its_dashboards_ask_for"),
    ("deploy/compose/bridge.yaml", "default: block", "default: bloc", "every_program_accepts_its_configuration"),
    ("deploy/compose/bridge.yaml", "hash_key_file: /run/secrets/hash-key", "replay_window: 45s", "every_program_accepts_its_configuration"),
    ("deploy/compose/nats.conf", "permissions.conf", "permission.conf", "every_program_accepts_its_configuration"),
    ("deploy/compose/prometheus.yaml", "scrape_timeout: 4s", "scrape_timeout: 40s", "every_program_accepts_its_configuration"),
    (COMPOSE, "nats://worker:", "nats://bridge:", "a_sign_up_goes_all_the_way"),
    ("deploy/compose/README.md", "secrets/entra-password", "secrets/hash-key", "a_sign_up_goes_all_the_way"),
    ("deploy/compose/prometheus.yaml", '"bridge:9090"', '"bridge:9091"', "a_sign_up_goes_all_the_way"),
    ("deploy/compose/prometheus.yaml", "  - /etc/prometheus/rules.yaml", "  - /etc/prometheus/*.yml", "a_sign_up_goes_all_the_way"),
    ("deploy/compose/README.md", "approvals.py approve ", "approvals.py refuse ", "a_sign_up_goes_all_the_way"),
]  # fmt: skip


def copied(deploy, folder):
    """What the checks read, in a repository of its own."""
    kept_out = shutil.ignore_patterns("secrets", "preview", "charts", "node_modules", "target")
    for name in ("deploy", "dashboards", "examples"):
        shutil.copytree(deploy.root / name, folder / name, ignore=kept_out)
    for name in ("README.md", ".gitignore"):
        shutil.copy(deploy.root / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder, dataclasses.replace(deploy, root=folder)


def run(deploy):
    return mutation.run(MUTANTS, checks.ALL, lambda folder: copied(deploy, folder))
