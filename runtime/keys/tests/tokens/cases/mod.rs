//! What must be true of tokens.

mod confined;
mod measure;
mod objects;
mod pins;
mod renewal;
mod sealing;
mod tls;
mod unplugged;

use crate::place::{Kind, Place};

/// Name, kinds of tokens, and the case.
pub type Case = (&'static str, &'static [Kind], fn(&mut Place));

const BOTH: &[Kind] = &[Kind::SoftHsm, Kind::Tpm];
const SOFTHSM: &[Kind] = &[Kind::SoftHsm];

macro_rules! cases {
    ($($module:ident::$name:ident $kinds:ident;)*) => {
        pub const ALL: &[Case] = &[$((stringify!($name), $kinds, $module::$name)),*];
    };
}

cases! {
    objects::keys_of_every_kind_sign_in_the_token_and_through_openssl BOTH;
    objects::keys_are_found_by_label_and_by_id BOTH;
    objects::what_is_missing_is_named BOTH;
    objects::a_label_is_taken_once_and_free_again_after_deletion BOTH;
    objects::certificates_are_stored_beside_their_key_and_replaced BOTH;
    objects::a_certificate_for_another_key_is_stored_nowhere BOTH;
    objects::an_initialised_token_is_not_erased_unless_told BOTH;
    objects::a_full_token_says_that_it_is_full SOFTHSM;
    objects::many_callers_share_one_bounded_queue SOFTHSM;
    tls::a_request_signed_in_the_token_is_accepted_by_openssl BOTH;
    tls::mutual_tls_works_on_both_sides_in_both_versions BOTH;
    tls::rsa_keys_do_tls_too BOTH;
    tls::openssl_s_server_accepts_the_tokens_client BOTH;
    tls::several_threads_use_one_key BOTH;
    tls::every_back_end_signs BOTH;
    tls::an_async_thread_goes_on_while_the_token_signs BOTH;
    pins::a_wrong_pin_is_tried_once_and_does_not_lock_the_token BOTH;
    pins::a_locked_pin_says_how_to_unlock_it BOTH;
    pins::the_pin_comes_from_a_credential_a_file_or_the_environment BOTH;
    unplugged::a_key_fails_while_its_token_is_away_and_works_again_afterwards BOTH;
    unplugged::operations_log_in_again_after_the_token_was_away BOTH;
    unplugged::another_users_c_finalize_is_survived BOTH;
    unplugged::a_token_that_comes_later_is_found BOTH;
    confined::no_way_out_is_open_to_a_private_key BOTH;
    confined::no_core_dump_is_made_of_a_process_that_forbids_it BOTH;
    confined::neither_key_nor_pin_is_in_any_file_log_or_argument BOTH;
    sealing::a_secret_is_opened_by_the_token_that_it_was_sealed_to BOTH;
    renewal::a_renewal_goes_on_after_a_power_loss_at_every_step BOTH;
    renewal::a_refused_certificate_leaves_the_old_key_alone BOTH;
}

/// Told to be run: they take long.
pub const MEASURES: &[Case] = &[(
    "measure_signatures_and_handshakes",
    BOTH,
    measure::measure_signatures_and_handshakes,
)];

/// Started as a process of its own by a case.
pub const HELPERS: &[Case] = &[("load", BOTH, pins::load)];
