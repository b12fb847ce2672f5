use envoy_types::pb::envoy::r#type::matcher::v3::{
    NodeMatcher, StringMatcher, string_matcher::MatchPattern,
};

/// The nodes that a request selects: those that match any of its matchers, or all if it has none.
#[derive(Debug)]
pub(super) struct Matcher(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    ignore_case: bool,
}

#[derive(Debug)]
enum Pattern {
    Any,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
}

/// Why a request's matchers are not supported.
#[derive(Debug, thiserror::Error)]
pub(super) enum MatcherError {
    #[error(
        "a request may have {} node_matchers, this one has {count}",
        Matcher::MAX
    )]
    TooMany { count: usize },
    #[error("node_metadatas are not matched here; use node_id")]
    Metadata,
    #[error("node_id is matched by exact, prefix, suffix or contains; {0} is not served")]
    Pattern(&'static str),
}

impl Matcher {
    const MAX: usize = 256;

    pub(super) fn read(matchers: &[NodeMatcher]) -> Result<Self, MatcherError> {
        let count = matchers.len();
        if count > Self::MAX {
            return Err(MatcherError::TooMany { count });
        }
        matchers
            .iter()
            .map(rule)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn matches(&self, id: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|rule| rule.matches(id))
    }
}

impl Rule {
    fn matches(&self, id: &str) -> bool {
        let folded;
        let id = if self.ignore_case {
            folded = id.to_ascii_lowercase();
            &folded
        } else {
            id
        };
        match &self.pattern {
            Pattern::Any => true,
            Pattern::Exact(text) => id == text,
            Pattern::Prefix(text) => id.starts_with(text.as_str()),
            Pattern::Suffix(text) => id.ends_with(text.as_str()),
            Pattern::Contains(text) => id.contains(text.as_str()),
        }
    }
}

fn rule(matcher: &NodeMatcher) -> Result<Rule, MatcherError> {
    if !matcher.node_metadatas.is_empty() {
        return Err(MatcherError::Metadata);
    }
    let Some(StringMatcher {
        ignore_case,
        match_pattern,
    }) = &matcher.node_id
    else {
        return Ok(Rule {
            pattern: Pattern::Any,
            ignore_case: false,
        });
    };
    let fold = |text: &String| match ignore_case {
        true => text.to_ascii_lowercase(),
        false => text.clone(),
    };
    let pattern = match match_pattern {
        Some(MatchPattern::Exact(text)) => Pattern::Exact(fold(text)),
        Some(MatchPattern::Prefix(text)) => Pattern::Prefix(fold(text)),
        Some(MatchPattern::Suffix(text)) => Pattern::Suffix(fold(text)),
        Some(MatchPattern::Contains(text)) => Pattern::Contains(fold(text)),
        Some(MatchPattern::SafeRegex(_)) => return Err(MatcherError::Pattern("safe_regex")),
        Some(MatchPattern::Custom(_)) => return Err(MatcherError::Pattern("custom")),
        None => return Err(MatcherError::Pattern("a matcher without a pattern")),
    };
    Ok(Rule {
        pattern,
        ignore_case: *ignore_case,
    })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StructMatcher};

    use super::*;

    fn by(pattern: MatchPattern, ignore_case: bool) -> NodeMatcher {
        NodeMatcher {
            node_id: Some(StringMatcher {
                ignore_case,
                match_pattern: Some(pattern),
            }),
            node_metadatas: Vec::new(),
        }
    }

    #[test]
    fn any_one_of_the_matchers_suffices() {
        let matcher = Matcher::read(&[
            by(MatchPattern::Exact("app-1".to_owned()), false),
            by(MatchPattern::Prefix("WEB-".to_owned()), true),
            by(MatchPattern::Suffix("-z".to_owned()), false),
        ])
        .unwrap();
        for (id, matches) in [
            ("app-1", true),
            ("app-11", false),
            ("web-3", true),
            ("a-z", true),
            ("a-Z", false),
        ] {
            assert_eq!(matcher.matches(id), matches, "{id}");
        }
        assert!(Matcher::read(&[]).unwrap().matches("anybody"));
    }

    #[test]
    fn unsupported_matchers_are_refused_with_a_message() {
        let regex = MatchPattern::SafeRegex(RegexMatcher::default());
        let metadata = NodeMatcher {
            node_metadatas: vec![StructMatcher::default()],
            ..NodeMatcher::default()
        };
        for (matchers, expected) in [
            (vec![by(regex, false)], "safe_regex is not served"),
            (vec![metadata], "use node_id"),
            (vec![NodeMatcher::default(); 257], "this one has 257"),
        ] {
            let error = Matcher::read(&matchers).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
