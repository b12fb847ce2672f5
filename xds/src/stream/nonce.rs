//! What a client answers a response by.

use crate::cache::Sequence;

/// The sequence makes an ACK name its publish by itself; the number behind it keeps several
/// responses of one type and sequence apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Nonce {
    pub(crate) sequence: Sequence,
    /// From 0.
    pub(crate) repeat: u32,
}

impl Nonce {
    /// `instance` names this start of this server.
    pub(crate) fn text(self, instance: &str) -> String {
        let Self { sequence, repeat } = self;
        match repeat {
            0 => format!("{instance}-{sequence}"),
            repeat => format!("{instance}-{sequence}.{repeat}"),
        }
    }

    /// Reads what [`Nonce::text`] writes, and nothing else.
    pub(super) fn read(text: &str, instance: &str) -> Option<Self> {
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

/// Above 0, without sign and leading zeros.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.starts_with(|first| matches!(first, '1'..='9'));
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for repeat in [0, 1, 12] {
            let nonce = Nonce {
                sequence: 70.into(),
                repeat,
            };
            assert_eq!(Nonce::read(&nonce.text("a-1"), "a-1"), Some(nonce));
            assert_eq!(Nonce::read(&nonce.text("b-1"), "a-1"), None);
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
            assert_eq!(Nonce::read(text, "a"), None, "{text}");
        }
    }
}
