use crate::sequence::Sequence;

/// Identifies a response. The client repeats the nonce in its ACK or NACK.
///
/// The sequence tells which publish the answer is about. `repeat` tells apart several responses of
/// one type and sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Nonce {
    pub(crate) sequence: Sequence,
    /// Counted from 0.
    pub(crate) repeat: u32,
}

impl Nonce {
    /// The nonce on the wire. `instance` identifies this start of this server.
    pub(crate) fn text(self, instance: &str) -> String {
        let Self { sequence, repeat } = self;
        match repeat {
            0 => format!("{instance}-{sequence}"),
            repeat => format!("{instance}-{sequence}.{repeat}"),
        }
    }

    /// Parses what [`Nonce::text`] writes, and nothing else.
    pub(crate) fn parse(text: &str, instance: &str) -> Option<Self> {
        let numbers = text.strip_prefix(instance)?.strip_prefix('-')?;
        let (sequence, repeat) = match numbers.split_once('.') {
            Some((sequence, repeat)) => (sequence, number(repeat)?.try_into().ok()?),
            None => (numbers, 0),
        };
        Some(Self {
            sequence: number(sequence)?.into(),
            repeat,
        })
    }
}

/// Parses a number above 0, without a sign or leading zeros.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.starts_with(|first| matches!(first, '1'..='9'));
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_parses_only_in_its_own_format_and_instance() {
        for repeat in [0, 1, 12] {
            let nonce = Nonce {
                sequence: 70.into(),
                repeat,
            };
            assert_eq!(Nonce::parse(&nonce.text("a-1"), "a-1"), Some(nonce));
            assert_eq!(Nonce::parse(&nonce.text("b-1"), "a-1"), None);
        }
        for text in [
            "",
            "a",
            "a-",
            "a-0",
            "a-07",
            "a-+7",
            "a-7.",
            "a-7.0",
            "a-7.+1",
            "a-7.1.1",
            "a-7 ",
            "a7",
            "a-7.4294967296",
        ] {
            assert_eq!(Nonce::parse(text, "a"), None, "{text}");
        }
    }
}
