//! A sample's middle and its far end.

use serde::Serialize;

/// Median, 99th percentile and maximum of a sample, in the sample's unit.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    pub median: f64,
    /// Nearest rank; with less than 100 values that is the largest.
    pub p99: f64,
    pub max: f64,
}

impl Figure {
    /// `None` for an empty sample.
    #[must_use]
    pub fn of(sample: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = sample.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let at = |index: usize| sorted.get(index).copied().map(rounded);
        let upper = at(count / 2)?;
        let median = match count % 2 {
            0 => f64::midpoint(at(count / 2 - 1)?, upper),
            _ => upper,
        };
        Some(Self {
            median: rounded(median),
            p99: at((count * 99).div_ceil(100) - 1)?,
            max: at(count - 1)?,
        })
    }
}

/// The median of a sample; `None` if it is empty.
pub(super) fn median(sample: impl IntoIterator<Item = f64>) -> Option<f64> {
    Figure::of(sample).map(|figure| figure.median)
}

/// `value` with four decimals; more would be noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_a_hundred_values_is_the_last_but_one() {
        let figure = Figure::of((1..=100).rev().map(f64::from)).unwrap();
        assert_eq!((figure.median, figure.p99, figure.max), (50.5, 99.0, 100.0));
        assert!(Figure::of([]).is_none());
    }
}
