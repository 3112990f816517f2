"""Where each option that `tests/e2e/test_options.py` does not play itself is shown to do what it says.

By option, the test in which another value of it is seen from outside: by a client, at a socket, or in
what a command prints.
"""

from __future__ import annotations

OVERLOAD = "e2e/test_overload.py::test_"
BOUNDS = "e2e/test_bounds.py::test_"
HOSTILE = "e2e/test_hostile_clients.py::test_"
PARKED = "e2e/test_parked_ends.py::test_"
SETTINGS = "e2e/test_settings.py::test_"
CLIENTS = "downstream/test_bounds_on_clients.py::test_"
EDGES = "downstream/test_http_edges.py::test_"
SERVE = "cli/test_serve_command.py::test_"
_CRAWL = HOSTILE + "bodies_that_crawl_heads_that_have_no_end_and_strangers_bytes_are_refused_by_name"
_NAMES = SETTINGS + "names_and_origins_are_served_where_they_are_allowed"
_EXPOSED = SERVE + "other_machines_are_let_in_only_with_keys_or_on_purpose"
_KEYS = SERVE + "pages_for_operators_need_a_key_where_keys_are_configured"
_LOG = SETTINGS + "the_log_is_of_the_level_and_in_the_form_that_are_set"
_ROOM = OVERLOAD + "what_a_server_has_no_room_for_is_refused_by_the_settings_name_until_there_is_room"
_PLACES = PARKED + "places_are_bounded_and_the_named_error_or_the_llm_takes_over"
_SEEN = "e2e/test_visibility.py::test_only_allowed_tools_are_seen_deny_wins_and_hidden_ones_do_not_exist"
_LANES = (
    "e2e/test_parked_scale.py::"
    "test_as_many_calls_as_a_stdio_server_has_lanes_are_parked_and_the_next_is_told_busy"
)
_ERA = "e2e/test_cells.py::test_a_server_of_both_eras_is_spoken_to_as_configured"
_DOWN = "cli/test_doctor_and_demo.py::test_the_doctor_names_each_server_that_is_down_and_what_to_do"
_OWN = "e2e/test_credentials.py::test_a_server_gets_its_own_credentials_and_nothing_of_a_clients"
_OFF = SETTINGS + "what_is_turned_off_is_not_there"
_PASSING = "e2e/test_extensions.py::test_a_policy_says_which_pass_for_all_servers_or_for_one"

PROOFS: dict[str, str] = {
    "RawGateway.state_keys_env": (
        "security/test_request_state.py::test_keys_are_rotated_without_a_lost_round"
    ),
    "RawGateway.schema_url": "config/test_schema.py::test_a_shipped_file_names_its_schema",
    "RawCapabilities.paths": "e2e/test_levels.py::test_the_highest_place_that_speaks_decides",
    "RawDecisions.keep": SETTINGS + "as_many_decisions_are_kept_as_the_setting_says",
    "RawLogging.level": _LOG,
    "RawLogging.format": _LOG,
    "RawAuth.type": "config/test_schema.py::test_editors_find_nothing_wrong_with_files_that_load",
    "RawKey.principal": OVERLOAD
    + "a_server_is_sent_no_more_calls_than_it_may_be_and_the_rest_in_turn_by_key",
    "RawKey.key_env": _KEYS,
    "RawKey.sha256": SETTINGS + "a_key_is_known_by_its_digest",
    "RawHttp.host": _EXPOSED,
    "RawHttp.insecure": _EXPOSED,
    "RawHttp.port": SERVE + "a_port_that_is_taken_is_one_line",
    "RawHttp.allowed_hosts": _NAMES,
    "RawHttp.allowed_origins": _NAMES,
    "RawHttp.keepalive_seconds": EDGES + "a_quiet_stream_is_kept_alive",
    "RawHttp.workers": "e2e/test_workers.py::test_a_session_is_served_wherever_its_requests_arrive",
    "RawExternalMcp.config_file": SETTINGS + "the_servers_file_that_is_named_is_the_one_that_is_read",
    "RawLimits.max_sessions": EDGES + "sessions_are_bounded_and_idle_ones_end",
    "RawLimits.session_idle_seconds": EDGES + "sessions_are_bounded_and_idle_ones_end",
    "RawLimits.max_body_bytes": HOSTILE + "a_chunked_body_without_end_is_refused_and_then_cut_off",
    "RawLimits.max_message_bytes": BOUNDS + "a_servers_message_may_be_as_large_as_the_setting_says",
    "RawLimits.max_nesting": HOSTILE + "deep_nesting_passes_at_its_limit_and_is_refused_by_name_beyond_it",
    "RawLimits.max_headers": _CRAWL,
    "RawLimits.max_header_bytes": _CRAWL,
    "RawLimits.request_timeout_seconds": _CRAWL,
    "RawLimits.max_connections": HOSTILE + "connections_beyond_the_limit_are_told_so",
    "RawLimits.stalled_seconds": HOSTILE + "a_client_that_takes_nothing_of_a_large_result_is_disconnected",
    "RawLimits.max_backlog_messages": CLIENTS
    + "a_client_that_does_not_read_its_sse_stream_is_told_so_before_answers_pile_up",
    "RawLimits.max_backlog_bytes": SETTINGS
    + "as_much_waits_for_a_client_that_does_not_read_as_the_limit_says",
    "RawLimits.max_replay_bytes": CLIENTS
    + "what_is_kept_of_ended_streams_is_bounded_for_all_of_them_together",
    "RawLimits.max_subscriptions": CLIENTS + "subscriptions_are_bounded_for_each_client_by_itself",
    "RawLimits.max_listing_pages": BOUNDS + "a_listing_that_goes_on_for_ever_is_cut_and_the_setting_named",
    "RawLimits.max_listing_entries": BOUNDS + "as_many_tools_are_listed_as_the_setting_says",
    "RawLimits.max_instructions": BOUNDS + "instructions_are_cut_after_the_limit_and_the_setting_named",
    "RawLimits.page_size": "e2e/test_merged_listings.py::"
    "test_one_part_decides_for_the_whole_list_on_every_page",
    "RawLimits.max_calls": OVERLOAD + "health_is_told_and_an_overloaded_gateway_comes_back_by_itself",
    "RawLimits.max_calls_per_client": OVERLOAD + "a_client_on_the_sdk_is_shown_why_and_its_other_calls_go_on",
    "RawLimits.max_loop_lag_ms": OVERLOAD
    + "a_gateway_that_is_later_than_it_may_be_takes_no_more_calls_than_it_has",
    "RawLimits.max_call_seconds": PARKED + "nothing_outlives_the_time_of_a_whole_call",
    "RawLimits.max_parked_calls": _PLACES,
    "RawLimits.max_parked_calls_per_client": _PLACES,
    "RawLimits.parked_result_seconds": PARKED + "a_result_is_kept_for_its_time_and_then_it_is_start_again",
    "RawGateway.extensions": _PASSING,
    "RawExternalMcp.enabled": _OFF,
    "RawServer.name": SERVE + "one_line_says_where_it_is_and_how_its_servers_are_and_sigterm_ends_it",
    "RawServer.enabled": _OFF,
    "RawServer.extensions": _PASSING,
    "RawServer.isolation": "e2e/test_parked_calls.py::"
    "test_roots_are_asked_of_a_client_that_has_a_connection_of_its_own",
    "RawServer.max_lanes": _LANES,
    "RawServer.lane_idle_seconds": _LANES,
    "RawServer.start_timeout_seconds": SETTINGS + "a_server_has_as_long_to_start_as_its_entry_says",
    "RawServer.timeout_seconds": "e2e/test_deaths.py::test_a_hung_server_is_timed_out_by_its_own_setting",
    "RawServer.max_questions": "e2e/test_deaths.py::"
    "test_more_questions_than_a_call_may_ask_are_refused_by_the_settings_name",
    "RawServer.max_rounds": "e2e/test_url_elicitation.py::"
    "test_a_url_that_is_not_answered_is_asked_for_again_and_not_for_ever",
    "RawServer.max_concurrent_questions": "e2e/test_recursion.py::"
    "test_a_client_that_says_nothing_is_stopped_by_what_it_has_in_flight",
    "RawServer.max_concurrent_calls": _ROOM,
    "RawServer.max_queued_calls": _ROOM,
    "RawServer.type": "e2e/test_pass_through.py::"
    "test_listings_of_all_servers_are_one_with_every_page_of_each",
    "RawServer.command": _DOWN,
    "RawServer.args": _DOWN,
    "RawServer.url": _DOWN,
    "RawServer.endpoint": "e2e/test_deaths.py::"
    "test_a_server_killed_in_mid_call_is_an_honest_error_and_comes_back",
    "RawServer.cwd": SETTINGS + "a_server_runs_in_the_folder_that_its_entry_names",
    "RawServer.env": "upstream/test_transport_stdio.py::"
    "test_a_server_gets_a_safe_environment_and_what_is_configured",
    "RawServer.headers": _OWN,
    "RawServer.prefix": "e2e/test_visibility.py::test_a_hidden_tool_takes_no_name_from_another_server",
    "RawServer.allow": _SEEN,
    "RawServer.deny": _SEEN,
    "RawServer.era": _ERA,
}
