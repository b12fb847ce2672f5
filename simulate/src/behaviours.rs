//! What every pair of servers does behind the ports, simulated or real.
//!
//! Each behaviour is one function against the ports. The same functions run on the simulated servers
//! (this crate's tests) and on PostgreSQL (`cutover/tests/behaviours.rs`): where a real server refuses
//! something, the simulated one does.

mod fence;
mod promotion;
mod proof;
mod simulated;
mod stage;
mod stream;

use std::{future::Future, pin::Pin};

use anyhow::Result;

pub use fence::*;
pub use promotion::*;
pub use proof::*;
pub use simulated::on_simulated_servers;
pub use stage::{Client, Stage};
pub use stream::*;

/// One behaviour, ready to run on a stage.
pub type Behaviour = for<'a> fn(&'a dyn Stage) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// Makes one test of each behaviour; `$run` runs it on a fresh pair.
#[macro_export]
macro_rules! every_behaviour {
    ($run:path) => {
        $crate::every_behaviour! { $run;
            a_closed_database_refuses_in_words_that_name_the_fence
            a_fence_leaves_nobody_who_was_there
            closing_twice_gives_the_settings_of_before
            an_older_leader_may_not_close
            a_newer_leader_ends_the_sessions_of_an_older_one
            a_leader_that_was_ended_opens_no_other_session
            an_opened_database_and_a_session_are_breaches
            the_closure_reaches_the_standby
            a_reopened_server_is_as_it_was
            what_is_kept_closed_stays_so
            a_leader_enters_a_closed_primary_and_shuts_the_door_behind_it
            nobody_wrote_is_proved_where_nobody_did
            a_strangers_commit_behind_the_marker_is_counted
            what_the_engine_itself_does_is_not_counted
            without_its_table_no_transaction_is_the_engines
            the_marker_reaches_the_standby
            an_open_database_is_not_promoted
            a_late_promotion_is_refused
            a_promotion_waits_for_the_marker
            a_promoted_server_names_its_fork
            a_session_on_the_standby_can_write_after_the_promotion
            a_standby_that_is_cut_off_hears_no_more
            a_standby_is_listed_and_told_from_others_by_its_slot
            commits_wait_for_a_standby_that_is_named_and_connected
            a_slot_is_made_once_and_found_again
            what_the_target_writes_arrives_on_the_source
            an_armed_source_lets_nobody_else_in
            the_fence_spares_the_slot_that_streams
            the_watch_tells_strangers_from_the_stream
        }
    };
    ($run:path; $($name:ident)*) => {
        $(
            #[test]
            fn $name() -> ::anyhow::Result<()> {
                $run(|stage| ::std::boxed::Box::pin($crate::behaviours::$name(stage)))
            }
        )*
    };
}
