use envoy_types::pb::io::prometheus::client::{Gauge, LabelPair, MetricType, Untyped};
use prost::{DecodeError, Message as _};

use super::{MetricFamily, MetricKind, MetricSample};
use crate::encoded_fields::for_each_field;

/// The metric families of a `StreamMetricsMessage`. Labels without a name or value, samples without
/// a value and families without samples are left out: few bytes can hold many of them.
///
/// # Errors
/// If it is not such a message.
pub(crate) fn metric_families(message: &[u8]) -> Result<Vec<MetricFamily>, DecodeError> {
    let mut families = Vec::new();
    for_each_field(message, FAMILY, |encoded| {
        families.extend(family(encoded)?);
        Ok(())
    })?;
    Ok(families)
}

fn family(encoded: &[u8]) -> Result<Option<MetricFamily>, DecodeError> {
    let mut samples = Vec::new();
    for_each_field(encoded, METRIC, |metric| {
        samples.extend(sample(metric)?);
        Ok(())
    })?;
    if samples.is_empty() {
        return Ok(None);
    }
    // Most families have one sample; spare capacity would be most of their memory.
    samples.shrink_to_fit();
    let head = FamilyHead::decode(encoded)?;
    Ok(Some(MetricFamily {
        kind: kind(head.metric_type()),
        name: head.name,
        samples,
    }))
}

pub(super) fn kind(metric_type: MetricType) -> MetricKind {
    match metric_type {
        MetricType::Counter => MetricKind::Counter,
        MetricType::Gauge => MetricKind::Gauge,
        MetricType::Summary | MetricType::Histogram | MetricType::GaugeHistogram => {
            MetricKind::Distribution
        }
        MetricType::Untyped => MetricKind::Untyped,
    }
}

fn sample(encoded: &[u8]) -> Result<Option<MetricSample>, DecodeError> {
    let Some((value, count)) = MetricHead::decode(encoded)?.value() else {
        return Ok(None);
    };
    let mut labels = Vec::new();
    for_each_field(encoded, LABEL, |label| {
        let LabelPair { name, value } = LabelPair::decode(label)?;
        let named = name.zip(value);
        labels.extend(named.filter(|(name, value)| !name.is_empty() && !value.is_empty()));
        Ok(())
    })?;
    labels.shrink_to_fit();
    Ok(Some(MetricSample {
        labels,
        value,
        count,
    }))
}

const FAMILY: u32 = 2;
const METRIC: u32 = 4;
const LABEL: u32 = 1;

/// `MetricFamily` without its metrics.
#[derive(Clone, PartialEq, prost::Message)]
struct FamilyHead {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    metric_type: i32,
}

/// `Metric` without its labels.
#[derive(Clone, PartialEq, prost::Message)]
struct MetricHead {
    #[prost(message, optional, tag = "2")]
    gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    counter: Option<CounterHead>,
    #[prost(message, optional, tag = "4")]
    summary: Option<DistributionHead>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Untyped>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<DistributionHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CounterHead {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

/// `Summary` and `Histogram`.
#[derive(Clone, PartialEq, prost::Message)]
struct DistributionHead {
    #[prost(uint64, optional, tag = "1")]
    count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sum: Option<f64>,
}

impl MetricHead {
    /// The value and its count.
    fn value(&self) -> Option<(f64, u64)> {
        let counter = self.counter.as_ref().and_then(|counter| counter.value);
        let gauge = || self.gauge.as_ref().and_then(|gauge| gauge.value);
        let untyped = || self.untyped.as_ref().and_then(|untyped| untyped.value);
        let distribution = |of: &Option<DistributionHead>| {
            let of = of.as_ref()?;
            Some((of.sum?, of.count?))
        };
        let single = counter.or_else(gauge).or_else(untyped);
        single
            .map(|value| (value, 1))
            .or_else(|| distribution(&self.summary))
            .or_else(|| distribution(&self.histogram))
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::{
        envoy::service::metrics::v3::StreamMetricsMessage,
        io::prometheus::client::{self as prometheus, Counter, Histogram, Metric, Summary},
    };

    use super::*;

    fn label(name: &str, value: &str) -> LabelPair {
        LabelPair {
            name: Some(name.to_owned()),
            value: Some(value.to_owned()),
        }
    }

    fn family_of(metric: Metric) -> prometheus::MetricFamily {
        prometheus::MetricFamily {
            name: Some("name".to_owned()),
            r#type: Some(MetricType::Counter as i32),
            metric: vec![metric],
            ..Default::default()
        }
    }

    fn families(metrics: Vec<Metric>) -> Vec<MetricFamily> {
        let message = StreamMetricsMessage {
            envoy_metrics: metrics.into_iter().map(family_of).collect(),
            ..Default::default()
        };
        metric_families(&message.encode_to_vec()).unwrap()
    }

    #[test]
    fn every_kind_of_value_is_found_with_its_count() {
        let counter = Metric {
            counter: Some(Counter {
                value: Some(3.0),
                ..Default::default()
            }),
            ..Default::default()
        };
        let gauge = Metric {
            gauge: Some(Gauge { value: Some(0.0) }),
            ..Default::default()
        };
        let summary = Metric {
            summary: Some(Summary {
                sample_count: Some(2),
                sample_sum: Some(5.0),
                ..Default::default()
            }),
            ..Default::default()
        };
        let histogram = Metric {
            histogram: Some(Histogram {
                sample_count: Some(4),
                sample_sum: Some(7.0),
                ..Default::default()
            }),
            ..Default::default()
        };
        let found = families(vec![counter, gauge, summary, histogram]);
        let values: Vec<_> = found
            .iter()
            .flat_map(|family| &family.samples)
            .map(|sample| (sample.value, sample.count))
            .collect();
        assert_eq!(values, [(3.0, 1), (0.0, 1), (5.0, 2), (7.0, 4)]);
        assert!(found.iter().all(|family| family.name == "name"));
        assert!(
            found
                .iter()
                .all(|family| family.kind == MetricKind::Counter)
        );
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let gauge = Metric {
            label: vec![LabelPair::default(), label("a", "b"), label("", "b")],
            gauge: Some(Gauge { value: Some(1.0) }),
            ..Default::default()
        };
        let found = families(vec![Metric::default(), gauge]);
        assert_eq!(found.len(), 1);
        let labels = &found[0].samples[0].labels;
        assert_eq!(labels[..], [("a".to_owned(), "b".to_owned())]);
    }
}
