"""How the chart is broken, and which check has to notice."""

import dataclasses
import shutil

import checks
import mutation
from chart import LATEST

CONTAINER = "templates/_container.tpl"
SETTINGS = "templates/_settings.tpl"

# File, what stands there, what stands there instead, the check that has to notice.
MUTANTS = [
    ("files/rules.yaml", "for: 5m", "for: 6m", "rules_and_dashboards_are_copies_of_the_one_source"),
    ("values.schema.json", '"maximum": 1000000', '"maximum": 1000001', "the_schema_has_the_programs_own_schema"),
    ("values.schema.json", '"additionalProperties": false', '"additionalProperties": true', "the_schema_is_draft_07_and_closed"),
    ("values.yaml", "  # -- Annotations of the pods.\n", "", "the_readme_lists_every_value"),
    ("values.yaml", "revisionHistoryLimit: 5", "revisionHistoryLimit: 6", "the_readme_lists_every_value"),
    ("README.md", "username: entra", "user: entra", "the_example_in_the_readme_renders"),
    ("templates/service.yaml", "{{- end }}", "", "both_helms_find_nothing_to_lint"),
    (CONTAINER, "imagePullPolicy:", "imagePullPolicies:", "every_render_is_valid_in_every_kubernetes"),
    ("templates/routes.yaml", "  hostnames:", "  hosts:", "custom_resources_fit_their_definitions"),
    ("templates/monitor.yaml", "path: /metrics", "paths: /metrics", "custom_resources_fit_their_definitions"),
    ("values.yaml", "maxSurge: 1", "maxSurge: 2", "renders_are_as_golden"),
    ("values.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "every_object_is_hardened"),
    ("values.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "every_object_is_hardened"),
    ("values.yaml", "drop: [ALL]", "drop: [NET_RAW]", "every_object_is_hardened"),
    ("templates/deployment.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "every_object_is_hardened"),
    ("templates/tests/send.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "every_object_is_hardened"),
    ("templates/service.yaml", "targetPort: {{ $settings.http }}", "targetPort: bridge-http", "every_object_is_hardened"),
    (CONTAINER, "path: /readyz, port: {{ $settings.admin }}", "path: /readyz, port: bridge-admin", "every_object_is_hardened"),
    (SETTINGS, "| ceil) 5)", "| ceil) 0)", "the_grace_period_covers_the_longest_deadline"),
    (SETTINGS, '"entra" (dict "default" 15000', '"entra" (dict "default" 1500', "the_grace_period_covers_the_longest_deadline"),
    (SETTINGS, 'set $config "connectors"', 'set $config "connector"', "the_program_accepts_every_configuration"),
    (CONTAINER, "args: [serve,", "args: [check,", "the_program_starts_as_rendered_and_answers_the_test"),
    ("templates/tests/send.yaml", '"--password-file"', '"--passwords"', "the_program_starts_as_rendered_and_answers_the_test"),
    (SETTINGS, 'hasSuffix "_files" $key', 'hasSuffix "_filed" $key', "what_is_configured_stays_as_it_is_written"),
    (CONTAINER, 'printf "secrets/%s/%s" $secret .', 'printf "secret/%s/%s" $secret .', "every_file_that_is_named_is_mounted"),
    (SETTINGS, "gt (int $replicas) 1", "gt (int $replicas) 2", "several_replicas_share_their_calls"),
    (SETTINGS, 'if eq $settings.http $settings.admin', 'if false', "bad_values_are_refused_and_the_key_is_named"),
    (SETTINGS, 'connectors.%s.deadline:', 'deadline of %s:', "bad_values_are_refused_and_the_key_is_named"),
    ("templates/deployment.yaml", "priorityClassName", "priorityClass", "every_value_does_something"),
    (CONTAINER, "- restartPolicy: Always", "- restartPolicy: Always\n  tty: true", "the_container_is_the_same_wherever_it_runs"),
    ("templates/injection.yaml", 'path: "/spec/volumes/-"', 'path: "/spec/volumes/0"', "the_container_is_the_same_wherever_it_runs"),
    ("templates/_injection.tpl", "sortAlpha", "sortAlpha | rest", "the_container_is_the_same_wherever_it_runs"),
    ("templates/_names.tpl", ".Values.podSelector | default $own", "$own", "another_chart_includes_the_sidecar_in_two_lines"),
    ("templates/poddisruptionbudget.yaml", "connector-bridge.selectorLabels", "connector-bridge.labels", "selectors_find_the_pods"),
    ("templates/rules.yaml", "if not .alert", "if .alert", "alerts_come_out_as_they_are_tested"),
    ("templates/_names.tpl", 'printf "connector-bridge-%s" $name', "$name", "alerts_come_out_as_they_are_tested"),
    ("templates/dashboards.yaml", "| fromJson | toJson", '| fromJson | pick "uid" | toJson', "dashboards_come_out_as_they_are_tested"),
    ("templates/_routes.tpl", 'eq $mode "alwaysRender"', 'eq $mode "always"', "custom_resources_follow_render_mode"),
    ("templates/_routes.tpl", ">=1.36.0-0", ">=1.35.0-0", "custom_resources_follow_render_mode"),
    ("templates/_names.tpl", '"app.kubernetes.io/component" "bridge"', '"app.kubernetes.io/version" .Chart.AppVersion', "upgrades_and_roll_backs_keep_what_cannot_change"),
    (CONTAINER, '"connector-bridge.configuration" . | sha256sum', '"connector-bridge.image" . | sha256sum', "upgrades_and_roll_backs_keep_what_cannot_change"),
    ("templates/NOTES.txt", "{{ . }}/connectors/{{ $name }}", "{{ . }}/{{ $name }}", "notes_name_the_url_and_warn"),
    ("templates/NOTES.txt", "replicas: there is only one", "replicas", "notes_name_the_url_and_warn"),
    (".helmignore", "ci/", "cy/", "a_package_holds_what_is_needed_and_no_more"),
]


# That both versions render the same cannot be broken by one chart for both.
UNBREAKABLE = ["both_helms_render_the_same"]


def copied(chart, folder):
    """One version of Kubernetes shows a fault as well as all of them."""
    copy = folder / "helm/connector-bridge"
    shutil.copytree(chart.folder, copy)
    return copy, dataclasses.replace(chart, folder=copy, versions=(LATEST,))


def run(chart):
    return mutation.run(MUTANTS, checks.ALL, lambda folder: copied(chart, folder), UNBREAKABLE)
