//! A sample's middle and its upper end.

use serde::Serialize;

/// Median, 95th percentile and maximum of a sample, in the sample's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value, or the mean of the two.
    pub median: f64,
    /// The smallest value that at least 95 % of the sample do not exceed (nearest rank).
    pub p95: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// The spread of a sample; `None` if it is empty.
    #[must_use]
    pub fn of(sample: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = sample.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let at = |index: usize| sorted.get(index).copied();
        let upper = at(count / 2)?;
        let median = match count % 2 {
            0 => f64::midpoint(at(count / 2 - 1)?, upper),
            _ => upper,
        };
        let median = whole_micros(median);
        let rank = (count * 95).div_ceil(100);
        Some(Self {
            median,
            p95: at(rank - 1)?,
            max: at(count - 1)?,
        })
    }
}

/// Milliseconds without the digits below a microsecond, which nothing here measures.
fn whole_micros(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_values_have_the_nineteenth_as_their_95th_percentile() {
        let spread = Spread::of((1..=20).rev().map(f64::from)).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 10.5,
                p95: 19.0,
                max: 20.0
            }
        );
    }

    #[test]
    fn one_value_is_everything_and_none_is_nothing() {
        assert_eq!(
            Spread::of([7.0]),
            Some(Spread {
                median: 7.0,
                p95: 7.0,
                max: 7.0
            })
        );
        assert_eq!(Spread::of([]), None);
    }
}
