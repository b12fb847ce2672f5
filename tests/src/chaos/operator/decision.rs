//! What an operator does next.

use crate::chaos::plan::Ending;

/// Where an operator wants the migration to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::chaos) enum Goal {
    Prepared,
    /// Or the switch has been refused often enough.
    Bake,
    End,
}

/// What `status` says, and what the operator knows besides.
#[derive(Clone, Debug)]
pub(super) struct Standing<'a> {
    pub(super) state: &'a str,
    pub(super) offered: Vec<&'a str>,
    /// How often something was tried in this state.
    pub(super) tries: u32,
    pub(super) ending: Ending,
    /// By the operator's own word.
    pub(super) source_is_gone: bool,
    pub(super) target_is_gone: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    Nothing,
    Wait,
    Ask(&'static [&'static str]),
    Decide(&'static str),
}

impl Standing<'_> {
    pub(super) fn next(&self, goal: Goal) -> Next {
        let again = self.tries < TRIES;
        match (self.state, goal) {
            ("rolled_back" | "completed" | "cancelled", _)
            | ("prepared", Goal::Prepared)
            | ("baking", Goal::Bake | Goal::Prepared) => Next::Nothing,
            ("planned", Goal::Prepared | Goal::Bake) if again => Next::Ask(&["start"]),
            ("prepared" | "undone", Goal::Bake) if again => Next::Ask(&["switch"]),
            ("planned" | "prepared" | "undone", Goal::Prepared | Goal::Bake) => Next::Nothing,
            ("planned" | "prepared" | "undone" | "cancelling", _) => Next::Ask(&["cancel"]),
            ("completing", _) if self.source_is_gone => {
                Next::Ask(&["complete", "--source-is-gone"])
            }
            ("completing", _) => Next::Ask(&["complete"]),
            ("baking", Goal::End) => self.end_bake(),
            ("needs_operator" | "promotion_stalled", _) => self.decide(),
            _ => Next::Wait,
        }
    }

    /// As was meant, else in the other way; what is not lossless last, and what is kept on the target first.
    fn end_bake(&self) -> Next {
        if self.target_is_gone {
            return match self.offers(TARGET_IS_DOWN) {
                true => Next::Decide(TARGET_IS_DOWN),
                false => Next::Wait,
            };
        }
        if self.source_is_gone {
            return Next::Ask(&["complete", "--source-is-gone"]);
        }
        let verb = |ending| -> &'static [&'static str] {
            match ending {
                Ending::Rollback => &["rollback"],
                Ending::Complete => &["complete"],
            }
        };
        Next::Ask(match self.tries / TRIES {
            0 => verb(self.ending),
            1 => verb(self.ending.other()),
            2 => &["complete", "--accept-loss"],
            _ => &["rollback", "--accept-loss"],
        })
    }

    /// What proves something comes first. Words are given only when proofs have failed, or were given before.
    fn decide(&self) -> Next {
        let given = [
            (self.target_is_gone, TARGET_IS_DOWN),
            (self.source_is_gone, SOURCE_IS_DOWN),
        ];
        let given = given.into_iter().filter(|(is_gone, _)| *is_gone);
        let given = given.map(|(_, choice)| choice);
        let later = self.tries / TRIES;
        let proven = [("retry", 0), ("wait", 0), ("open-source", 1)];
        let proven = proven.into_iter().filter(|(_, from)| *from == later);
        let words = [SOURCE_IS_DOWN, TARGET_IS_DOWN].into_iter();
        let words = words.filter(|_| later >= 2);
        let mut wanted = given.chain(proven.map(|(choice, _)| choice)).chain(words);
        let found = wanted.find(|choice| self.offers(choice));
        found.map_or(Next::Wait, Next::Decide)
    }

    fn offers(&self, choice: &str) -> bool {
        self.offered.contains(&choice)
    }
}

pub(super) const TARGET_IS_DOWN: &str = "open-source-target-is-down";
pub(super) const SOURCE_IS_DOWN: &str = "open-target-source-is-down";
/// How often the same is tried.
const TRIES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(state: &'static str, tries: u32) -> Standing<'static> {
        Standing {
            state,
            offered: vec!["retry", "open-source", TARGET_IS_DOWN],
            tries,
            ending: Ending::Rollback,
            source_is_gone: false,
            target_is_gone: false,
        }
    }

    #[test]
    fn a_switch_that_was_undone_is_asked_for_again_and_given_up_in_the_end() {
        assert_eq!(
            standing("undone", 2).next(Goal::Bake),
            Next::Ask(&["switch"])
        );
        assert_eq!(standing("undone", 3).next(Goal::Bake), Next::Nothing);
        assert_eq!(
            standing("undone", 0).next(Goal::End),
            Next::Ask(&["cancel"])
        );
    }

    #[test]
    fn nothing_is_given_up_before_both_ways_were_refused() {
        let asked = |tries| standing("baking", tries).next(Goal::End);
        assert_eq!(asked(2), Next::Ask(&["rollback"]));
        assert_eq!(asked(5), Next::Ask(&["complete"]));
        assert_eq!(asked(8), Next::Ask(&["complete", "--accept-loss"]));
        assert_eq!(asked(9), Next::Ask(&["rollback", "--accept-loss"]));
    }

    #[test]
    fn proofs_come_before_words() {
        let decided = |tries| standing("needs_operator", tries).next(Goal::End);
        assert_eq!(decided(0), Next::Decide("retry"));
        assert_eq!(decided(3), Next::Decide("open-source"));
        assert_eq!(decided(6), Next::Decide(TARGET_IS_DOWN));
    }

    #[test]
    fn a_word_that_was_given_is_kept() {
        let kept = Standing {
            target_is_gone: true,
            ..standing("baking", 0)
        };
        assert_eq!(kept.next(Goal::End), Next::Decide(TARGET_IS_DOWN));
        let not_offered = Standing {
            offered: Vec::new(),
            ..kept
        };
        assert_eq!(not_offered.next(Goal::End), Next::Wait);
    }
}
