//! Whether the target is promoted within a hold, or clients are refused meanwhile.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::{Check, CheckContext, CheckSpec, Finding, Judgement};
use crate::ports::{Budgets, PromotionOutlook};

#[derive(Debug)]
pub(super) struct RefusalsWhilePromoting;

const SPEC: CheckSpec = CheckSpec::warn("C88", "process.refusals-while-promoting");

/// How long the target may take, beside how long clients are parked.
#[derive(Clone, Copy, Debug, Serialize)]
struct Times {
    hold: Duration,
    /// `None`: SQL promotes it.
    by_api: Option<PromotionOutlook>,
    catch_up: Duration,
    promote: Duration,
}

#[async_trait]
impl Check for RefusalsWhilePromoting {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let Budgets {
            catch_up, promote, ..
        } = ctx.target_budgets;
        let times = Times {
            hold: ctx.hold,
            by_api: ctx.promotion_by_api,
            catch_up,
            promote,
        };
        let judgement = judge(ctx.target.name.as_str(), &times);
        vec![SPEC.finding(ctx, "target", ctx.clock.monotonic(), Ok(judgement))]
    }
}

fn judge(target: &str, times: &Times) -> Judgement {
    let Times {
        hold,
        by_api,
        catch_up,
        promote,
    } = *times;
    let refused = format!(
        "new connections are parked for {hold:?} at most, and refused from then until it is through"
    );
    let judgement = match by_api {
        Some(PromotionOutlook {
            typical: Some(typical),
            ..
        }) if catch_up + typical <= hold => Judgement::pass(format!(
            "an API promotes {target}, usually within {typical:?}: new connections are parked for up to {hold:?}"
        )),
        Some(PromotionOutlook {
            typical, patience, ..
        }) => {
            let how_long = match typical {
                Some(typical) => format!("that usually takes {typical:?}"),
                None => "how long that takes is not known".to_owned(),
            };
            Judgement::warn(
                format!(
                    "an API promotes {target}, and {how_long}: {refused}; after {patience:?} an operator is \
                     asked, and it cannot be called back"
                ),
                "choose an hour in which applications may be refused for that long, and see that they \
                 go on trying",
            )
        }
        None if catch_up + promote <= hold => Judgement::pass(format!(
            "{target} is promoted by SQL, within {:?}: new connections are parked for up to {hold:?}",
            catch_up + promote
        )),
        None => Judgement::warn(
            format!(
                "{target} may take {catch_up:?} to catch up and {promote:?} to be promoted: {refused}"
            ),
            "raise hold.budget_ms, up to the connect timeout of the applications, or lower \
             switch.catch_up_ms and switch.promote_ms",
        ),
    };
    judgement.with(&[times])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    const SECOND: Duration = Duration::from_secs(1);

    fn judged(by_api: Option<PromotionOutlook>, promote: u32) -> (Grade, String) {
        let times = Times {
            hold: SECOND * 10,
            by_api,
            catch_up: SECOND * 3,
            promote: SECOND * promote,
        };
        let judgement = judge("green", &times);
        (judgement.grade, judgement.message)
    }

    fn api(typical: Option<Duration>) -> Option<PromotionOutlook> {
        Some(PromotionOutlook {
            typical,
            patience: SECOND * 600,
            look_every: SECOND,
        })
    }

    #[test]
    fn minutes_by_an_api_are_a_warning_that_says_how_many() {
        let (grade, message) = judged(api(Some(SECOND * 240)), 5);
        assert_eq!(grade, Grade::Warn);
        for words in ["usually takes 240s", "parked for 10s at most", "after 600s"] {
            assert!(message.contains(words), "{words}: {message}");
        }
    }

    #[test]
    fn what_nobody_knows_is_no_pass() {
        let (grade, message) = judged(api(None), 5);
        assert_eq!(grade, Grade::Warn);
        assert!(message.contains("is not known"), "{message}");
    }

    #[test]
    fn a_promotion_that_fits_into_the_hold_passes() {
        assert_eq!(judged(None, 5).0, Grade::Pass);
        assert_eq!(judged(api(Some(SECOND * 7)), 5).0, Grade::Pass);
    }

    #[test]
    fn a_promotion_by_sql_that_may_outlast_the_hold_is_a_warning() {
        assert_eq!(judged(None, 7).0, Grade::Pass);
        let (grade, message) = judged(None, 8);
        assert_eq!(grade, Grade::Warn);
        assert!(message.contains("8s to be promoted"), "{message}");
    }
}
