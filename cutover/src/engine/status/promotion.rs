//! What is known of a managed promotion, in words.

use crate::{engine::moment::moment, machine::PromotionStage, migration::Migration};

/// `headline`, and what a switch will mean to clients if an API promotes the target.
pub(super) fn announced(migration: &Migration, headline: &str) -> String {
    if migration.facts.promotion_outlook().is_none() {
        return headline.to_owned();
    }
    format!(
        "{headline}; an API promotes {}: new connections are refused from the end of the hold until \
         it is through, and {}; it cannot be called back",
        migration.target,
        how_long(migration)
    )
}

/// Since when, for how long, and what happens next.
pub(super) fn headline(migration: &Migration, stage: PromotionStage) -> String {
    let (source, target) = (&migration.source, &migration.target);
    let asked = migration.facts.asked_promotion();
    let asked = asked.map_or_else(
        || "at a time that is not on record".to_owned(),
        |asked| format!("at {}", moment(asked.at)),
    );
    let refused = migration
        .facts
        .hold_until()
        .map_or_else(String::new, |until| {
            format!("; new connections are refused from {} on", moment(until))
        });
    match stage {
        PromotionStage::Requesting => format!("the API is being asked to promote {target}"),
        PromotionStage::UnderWay => format!(
            "an API promotes {target}, asked for {asked}; {}{refused}; the switch goes on by itself \
             when it is through",
            how_long(migration)
        ),
        PromotionStage::Stalled => format!(
            "the promotion of {target} by an API, asked for {asked}, has not come through: {}; \
             {source} and {target} stay closed{refused}; the switch goes on by itself if it comes \
             through after all, and an operator decides: see the choices",
            migration.cause.as_deref().unwrap_or("no cause on record")
        ),
    }
}

fn how_long(migration: &Migration) -> String {
    let outlook = migration.facts.promotion_outlook();
    outlook.and_then(|outlook| outlook.typical).map_or_else(
        || "how long that takes is not known".to_owned(),
        |typical| format!("that usually takes {typical:?}"),
    )
}
