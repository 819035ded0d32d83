"""All checks, in the order in which they run. Each is a function that yields faults; its name says
what holds."""

import check_compose as compose
import check_entra as entra
import check_laptop as laptop
import check_terraform as terraform

ALL = [
    entra.every_verb_sends_what_graph_documents,
    entra.every_verb_and_option_is_tried,
    entra.what_graph_answers_is_printed,
    entra.a_list_goes_on_at_graph_only,
    entra.errors_are_told_and_end_with_their_code,
    entra.too_many_requests_are_repeated_as_graph_asks,
    entra.wrong_command_lines_are_refused_before_anything_is_sent,
    entra.secrets_may_come_from_standard_input,
    entra.a_token_is_had_with_a_client_secret,
    entra.other_shells_do_the_same,
    entra.the_bridge_takes_what_the_script_sets,
    entra.commands_in_the_readmes_are_right,
    entra.the_configuration_in_the_readme_is_right,
    terraform.terraform_files_name_what_their_provider_has,
    terraform.terraform_sends_what_graph_documents,
    compose.compose_file_follows_the_specification,
    compose.every_service_is_pinned_closed_and_local,
    compose.every_mounted_file_is_there,
    compose.secrets_are_made_once_and_kept_from_others,
    compose.grafana_is_given_what_its_dashboards_ask_for,
    laptop.every_program_accepts_its_configuration,
    laptop.a_sign_up_goes_all_the_way,
]
