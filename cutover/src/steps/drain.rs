//! Those who were on their way in when the hold came get through before the fence.
//!
//! Up to its startup packet a connection is in no view of its server, and in authentication in
//! `pg_locks` alone. So three things are looked at: a login of the engine's own, which stands
//! behind the others in the server's accept queue; what the sidecars have open there, against what
//! has logged in; and who the server itself says is coming in.

use std::{fmt, time::Duration};

use pointsman_catalog::UnixMillis;
use serde::Serialize;

use super::{Failure, Run};
use crate::{
    machine::Direction,
    ports::{Arrivals, ConnectionAttempt, Monotonic},
};

/// What a drain has left when it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Drained {
    /// In authentication.
    logging_in: u64,
    /// Open by the sidecars' word, and not logged in.
    on_the_way: u64,
    /// Logged in since the hold began.
    newcomers: u64,
    /// A login of the engine's own got through behind the others.
    own_login: bool,
}

/// Waits, at most `login`, until nobody is on the way in on the server that is left; then, at
/// most `quiet`, until the sessions that have come since `hold_began`, on the server's clock, have
/// ended by themselves. Sessions that stay write on meanwhile.
pub(super) async fn run(
    run: &mut Run<'_>,
    direction: Direction,
    hold_began: UnixMillis,
    acknowledged: Monotonic,
) -> Result<Drained, Failure> {
    let login = run.settings.login.min(run.settings.hold_budget / 4);
    let server = run.leaving(direction).await?;
    let sessions = server.sessions()?;
    // Sidecars know no other databases.
    let databases = run.migration.databases.iter();
    let datnames: Vec<_> = databases.map(|database| database.datname.clone()).collect();
    let datname = datnames.first().map_or("postgres", String::as_str);
    let logins = run.clock().deadline(login);
    let began = run.clock().monotonic();
    let knock = run.clock().timeout(login, sessions.try_connect(datname));
    let own_login = matches!(knock.await, Ok(Ok(ConnectionAttempt::Accepted)));
    let told_after = told_after(run.clock().elapsed(began), run.ports.evidence.delay());
    let mut quiet = run.clock().deadline(run.settings.quiet);
    loop {
        let are_told = run.clock().elapsed(acknowledged) >= told_after;
        let arrivals = sessions.arrivals(hold_began, &datnames).await?;
        let drained = Drained::of(
            arrivals,
            run.routes().reported(direction).count(),
            own_login,
        );
        let coming = (drained.coming() || !are_told) && !logins.has_passed();
        if coming {
            quiet = run.clock().deadline(run.settings.quiet);
        } else if drained.newcomers == 0 || quiet.has_passed() {
            return Ok(drained);
        }
        run.clock().sleep(POLL).await;
    }
}

/// How long after the acknowledgements the sidecars' word counts. It takes `reports` until all of it
/// is in. Where a login of the engine's own took a few milliseconds, nobody else's lasts that long.
fn told_after(own_login: Duration, reports: Duration) -> Duration {
    reports.min(own_login * LOGINS)
}

impl Drained {
    fn of(arrivals: Arrivals, reported: u64, own_login: bool) -> Self {
        Self {
            logging_in: arrivals.logging_in,
            on_the_way: reported.saturating_sub(arrivals.logged_in),
            newcomers: arrivals.newcomers,
            own_login,
        }
    }

    fn coming(self) -> bool {
        self.logging_in > 0 || self.on_the_way > 0
    }
}

/// Nothing where nobody was left: `2 still logging in; 1 younger than the hold; `
impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, words) in [
            (self.logging_in.max(self.on_the_way), "still logging in"),
            (self.newcomers, "younger than the hold"),
        ] {
            if count > 0 {
                write!(f, "{count} {words}; ")?;
            }
        }
        Ok(())
    }
}

/// No client's login is so many times as long as one of the engine's own.
const LOGINS: u32 = 10;
/// A look costs the server some 0.3 ms.
const POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: Arrivals = Arrivals {
        logging_in: 0,
        logged_in: 5,
        newcomers: 0,
    };

    #[test]
    fn nobody_comes_in_when_the_server_knows_all_that_sidecars_have_open() {
        for reported in [0, 4, 5] {
            let drained = Drained::of(SHOWN, reported, true);
            assert!(!drained.coming());
            assert_eq!(drained.to_string(), "");
        }
    }

    #[test]
    fn a_server_that_is_slow_to_let_in_is_given_the_time_of_the_sidecars_reports() {
        let reports = Duration::from_millis(150);
        let quick = Duration::from_millis(4);
        assert_eq!(told_after(quick, reports), Duration::from_millis(40));
        assert_eq!(told_after(Duration::from_millis(15), reports), reports);
        assert_eq!(told_after(Duration::from_secs(2), reports), reports);
        assert_eq!(told_after(quick, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn whoever_is_left_is_counted_by_whichever_side_sees_more() {
        let in_authentication = Arrivals {
            logging_in: 1,
            newcomers: 3,
            ..SHOWN
        };
        let drained = Drained::of(in_authentication, 7, true);
        assert!(drained.coming());
        let expected = "2 still logging in; 3 younger than the hold; ";
        assert_eq!(drained.to_string(), expected);
    }
}
