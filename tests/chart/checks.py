"""All checks, in the order in which they run. Each is a function that yields faults; its name says
what holds."""

import check_files as files
import check_program as program
import check_renders as renders
import check_sidecar as sidecar
import check_values as values

ALL = [
    files.rules_and_dashboards_are_copies_of_the_one_source,
    files.the_schema_has_the_programs_own_schema,
    files.the_schema_is_draft_07_and_closed,
    files.the_readme_lists_every_value,
    files.the_example_in_the_readme_renders,
    files.both_helms_find_nothing_to_lint,
    renders.every_render_is_valid_in_every_kubernetes,
    renders.both_helms_render_the_same,
    renders.custom_resources_fit_their_definitions,
    renders.renders_are_as_golden,
    renders.every_object_is_hardened,
    renders.the_grace_period_covers_the_longest_deadline,
    program.the_program_accepts_every_configuration,
    program.the_program_starts_as_rendered_and_answers_the_test,
    program.what_is_configured_stays_as_it_is_written,
    renders.every_file_that_is_named_is_mounted,
    program.several_replicas_share_their_calls,
    values.bad_values_are_refused_and_the_key_is_named,
    values.every_value_does_something,
    sidecar.the_container_is_the_same_wherever_it_runs,
    sidecar.another_chart_includes_the_sidecar_in_two_lines,
    renders.selectors_find_the_pods,
    values.alerts_come_out_as_they_are_tested,
    values.dashboards_come_out_as_they_are_tested,
    values.custom_resources_follow_render_mode,
    values.upgrades_and_roll_backs_keep_what_cannot_change,
    values.notes_name_the_url_and_warn,
    files.a_package_holds_what_is_needed_and_no_more,
]
