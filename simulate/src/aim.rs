//! Troubles that aim at a moment: the n-th message of a kind, wherever a seed has it.

use pointsman_cutover::machine::Side;

use crate::{
    network::{MessageFault, name},
    trouble::{Intruder, Trouble},
    world::World,
};

/// What a message of the engine's says, and to which server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Said {
    pub(crate) what: &'static str,
    pub(crate) side: Side,
}

/// What happens at the last of so many messages.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    said: Said,
    left: u64,
    troubles: Vec<Trouble>,
}

impl Aim {
    fn new((what, side): (&'static str, Side), left: u64, troubles: Vec<Trouble>) -> Self {
        Self {
            said: Said { what, side },
            left,
            troubles,
        }
    }

    /// For the report of a run.
    pub(crate) fn words(&self) -> impl Iterator<Item = String> {
        let Said { what, side } = self.said;
        let left = self.left;
        let say = move |trouble| format!("{what} on {}, {left} times: {trouble:?}", name(side));
        self.troubles.iter().map(say)
    }
}

impl World {
    /// What was aimed at this message.
    pub(crate) fn aimed_at(&mut self, said: Said) -> Vec<Trouble> {
        let mut happening = Vec::new();
        self.aims.retain_mut(|aim| {
            if aim.said != said {
                return true;
            }
            aim.left -= 1;
            if aim.left == 0 {
                happening.append(&mut aim.troubles);
            }
            aim.left > 0
        });
        happening
    }

    /// One of the moments at which a rule is needed.
    pub(crate) fn plan_aims(&mut self) {
        let aims = match self.some(0..14) {
            0 | 1 => self.source_is_lifted_behind_its_proof(),
            2 | 3 => self.target_is_lifted_behind_its_proof(),
            4 => self.flip_gets_stuck(),
            5 => self.promotion_takes_its_time(),
            6 => self.engine_dies_behind_the_intent(),
            7 => self.error_is_taken_for_down(),
            8 => self.bystander_is_promoted(),
            9 | 10 => self.servers_part_at_a_fence(),
            11 => self.target_is_lifted_before_its_slots(),
            12 => self.source_lets_somebody_in(),
            _ => self.sessions_come_at_the_promotion(),
        };
        self.aims = aims;
    }

    /// Between the last proof of a fence and the opening of the other server. Then it may not answer.
    fn source_is_lifted_behind_its_proof(&mut self) -> Vec<Aim> {
        let side = Side::Source;
        let shuts = self.chance(20);
        let mut troubles = vec![Trouble::Lift { side, shuts }];
        if self.chance(30) {
            let lasts = self.some(200..9_000);
            troubles.push(Trouble::Cut { side, lasts });
        }
        let moment = self.one_of(&[PROMOTE, HISTORY, SLOT]);
        vec![Aim::new(moment, 1, troubles)]
    }

    fn target_is_lifted_behind_its_proof(&mut self) -> Vec<Aim> {
        let side = Side::Target;
        let shuts = self.chance(20);
        let moment = self.one_of(&[
            ("set its sequences", Side::Source),
            ("end the apply workers", Side::Source),
            ("give logins back", Side::Source),
            ("look who lost LOGIN", Side::Source),
        ]);
        let left = self.some(1..3);
        vec![Aim::new(moment, left, vec![Trouble::Lift { side, shuts }])]
    }

    /// The target is open, and its opening fails.
    fn flip_gets_stuck(&mut self) -> Vec<Aim> {
        let (side, lasts) = (Side::Target, self.some(1_000..9_000));
        let refused = || vec![Trouble::Message(MessageFault::Refuse)];
        match self.some(0..3) {
            // Once more with sessions of its own, so twice.
            0 => vec![Aim::new(PROBE, 1, refused()), Aim::new(PROBE, 3, refused())],
            1 => vec![Aim::new(
                PROBE,
                1,
                vec![Trouble::RefuseControl { side, lasts }],
            )],
            _ => vec![Aim::new(PROBE, 1, vec![Trouble::Cut { side, lasts }])],
        }
    }

    /// Longer than anybody waits for it.
    fn promotion_takes_its_time(&mut self) -> Vec<Aim> {
        let takes = self.some(4_500..13_000);
        let mut troubles = vec![Trouble::PromotionTakes { lasts: takes }];
        match self.some(0..4) {
            0 => troubles.push(Trouble::Message(MessageFault::LoseAnswer)),
            1 => troubles.push(Trouble::Cut {
                side: Side::Target,
                lasts: self.some(1_000..9_000),
            }),
            2 => troubles.push(Trouble::Message(MessageFault::Refuse)),
            _ => {}
        }
        vec![Aim::new(PROMOTE, 1, troubles)]
    }

    fn engine_dies_behind_the_intent(&mut self) -> Vec<Aim> {
        let begins_again = self.some(1..100);
        let takes = self.some(10..2_000);
        let dies = Trouble::Die { begins_again };
        let late = Aim::new(
            PROMOTE,
            1,
            vec![Trouble::PromotionTakes { lasts: takes }, dies],
        );
        match self.some(0..3) {
            0 => vec![Aim::new(SLOT, 1, vec![dies])],
            1 => vec![Aim::new(("open it", Side::Target), 1, vec![dies])],
            _ => vec![late],
        }
    }

    /// In the bake the target serves, and refuses the control role.
    fn error_is_taken_for_down(&mut self) -> Vec<Aim> {
        let (side, lasts) = (Side::Target, self.some(2_000..6_000));
        let left = self.some(1..8);
        let troubles = vec![Trouble::RefuseControl { side, lasts }, Trouble::TakeForDown];
        vec![Aim::new(LOOK, left, troubles)]
    }

    fn bystander_is_promoted(&mut self) -> Vec<Aim> {
        let moment = self.one_of(&[
            ("write the fence marker", Side::Source),
            PROMOTE,
            SLOT,
            LOOK,
        ]);
        vec![Aim::new(moment, 1, vec![Trouble::PromoteBystander])]
    }

    /// Who is there when the target becomes a primary may write before its slots.
    fn sessions_come_at_the_promotion(&mut self) -> Vec<Aim> {
        let intrudes = Trouble::Intrude {
            side: Side::Target,
            who: Intruder::Superuser,
            lasts: self.some(50..500),
        };
        vec![Aim::new(PROMOTE, 1, vec![intrudes])]
    }

    /// What was acknowledged at last has not reached the other server.
    fn servers_part_at_a_fence(&mut self) -> Vec<Aim> {
        let side = match self.chance(50) {
            true => Side::Source,
            false => Side::Target,
        };
        // The longer ones outlast what the engine waits for them.
        let lasts = match self.chance(50) {
            true => self.some(20..1_500),
            false => self.some(3_000..9_000),
        };
        vec![Aim::new(
            ("close it", side),
            1,
            // Clients are still there until it arrives.
            vec![
                Trouble::Part { lasts },
                Trouble::Message(MessageFault::Late(LONG_ENOUGH)),
            ],
        )]
    }

    /// Whoever is let in right behind the promotion writes before the reverse slots are made.
    fn target_is_lifted_before_its_slots(&mut self) -> Vec<Aim> {
        let lifts = Trouble::Lift {
            side: Side::Target,
            shuts: false,
        };
        let late = Trouble::Message(MessageFault::Late(LONG_ENOUGH));
        vec![Aim::new(HISTORY, 1, vec![lifts, late])]
    }

    /// An alarm goes back, a superuser comes into the source that lets superusers in again, and the
    /// rollback is undone.
    fn source_lets_somebody_in(&mut self) -> Vec<Aim> {
        let intrudes = Trouble::Intrude {
            side: Side::Source,
            who: Intruder::Superuser,
            lasts: 300,
        };
        let begins_again = self.some(20..100);
        let dies = Trouble::Die { begins_again };
        vec![
            Aim::new(LOOK, self.some(2..8), vec![Trouble::Ring]),
            Aim::new(("give logins back", Side::Source), 1, vec![intrudes, dies]),
        ]
    }

    fn one_of(&mut self, moments: &[(&'static str, Side)]) -> (&'static str, Side) {
        let index = self.rng.usize(0..moments.len());
        moments[index]
    }
}

const PROMOTE: (&str, Side) = ("promote it", Side::Target);
const SLOT: (&str, Side) = ("make the reverse slot", Side::Target);
const HISTORY: (&str, Side) = ("read its timeline's history", Side::Target);
const LOOK: (&str, Side) = ("look at the reverse slots", Side::Target);
const PROBE: (&str, Side) = ("write the probe row", Side::Target);
/// In microseconds: a stranger has written by then.
const LONG_ENOUGH: u64 = 8_000;
