use std::time::Duration;

use crate::Settings;

/// How long one server may take for what it is asked. Its provider knows: a server that is asked
/// by SQL answers within seconds, others within minutes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budgets {
    /// Until its control session is open.
    pub attach: Duration,
    /// Until sessions have ended that were told to.
    pub end_sessions: Duration,
    /// Until it has received what the former writer had.
    pub catch_up: Duration,
    /// Until a guarded promotion is through: past it the server itself refuses. How long a
    /// managed one may take is in its [`PromotionOutlook`](super::PromotionOutlook).
    pub promote: Duration,
}

impl Budgets {
    /// Of a server that is asked by SQL, in the same region.
    pub const BY_SQL: Self = Self {
        attach: Duration::from_secs(2),
        end_sessions: Duration::from_secs(2),
        catch_up: Duration::from_secs(3),
        promote: Duration::from_secs(5),
    };

    /// All of its waits, one after the other.
    pub fn all(self) -> Duration {
        let Self {
            attach,
            end_sessions,
            catch_up,
            promote,
        } = self;
        [attach, end_sessions, catch_up, promote].iter().sum()
    }

    /// These, while nobody waits for the server: one that is busy may take longer until its
    /// session is open.
    #[must_use]
    pub fn unhurried(self) -> Self {
        Self {
            attach: self.attach * UNHURRIED,
            ..self
        }
    }

    /// These, but for what an operator has set.
    #[must_use]
    pub fn or_as_set(self, settings: &Settings) -> Self {
        Self {
            catch_up: settings.catch_up.unwrap_or(self.catch_up),
            promote: settings.promote.unwrap_or(self.promote),
            ..self
        }
    }
}

/// How many times as long a server may take while nobody waits for it.
const UNHURRIED: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_has_set_takes_the_place_of_what_the_provider_says() {
        let minutes = Budgets {
            catch_up: Duration::from_secs(120),
            ..Budgets::BY_SQL
        };
        let unset = Settings::default();
        assert_eq!(minutes.or_as_set(&unset), minutes);
        let set = Settings {
            catch_up: Some(Duration::from_secs(7)),
            ..unset
        };
        let expected = Budgets {
            catch_up: Duration::from_secs(7),
            ..minutes
        };
        assert_eq!(minutes.or_as_set(&set), expected);
    }
}
